// Package journaltest has what every journal must pass, Exercise, and Volatile: a journal in memory that passes it too,
// for the tests of other packages and for measuring what durability costs.
package journaltest
