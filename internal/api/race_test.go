//go:build race

package api_test

// raceOverhead is the additional memory of 20 clients under the race detector.
const raceOverhead = 1 << 20
