//go:build !race

package api_test

const raceOverhead = 0
