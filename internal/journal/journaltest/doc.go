// Package journaltest provides Exercise, the conformance suite of journals, and Volatile, a journal in memory that passes it, for
// tests of other packages and for measuring the cost of durability.
package journaltest
