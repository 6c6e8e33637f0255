//go:build race

package api_test

// raceOverhead is the memory that the race detector adds to that of 20 clients.
const raceOverhead = 1 << 20
