// Package journaltest has the conformance suite of every journal, Exercise, and Volatile: a journal in memory that
// passes it too, for the tests of other packages and for measuring the cost of durability.
package journaltest
