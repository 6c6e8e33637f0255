package journaltest_test

import (
	"testing"

	"go.uber.org/goleak"

	"gather/internal/journal/journaltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestVolatile reopens the Volatile of a directory, because Exercise expects it to survive Close.
func TestVolatile(t *testing.T) {
	disks := map[string]*journaltest.Volatile{}
	journaltest.Exercise(t, func(_ *testing.T, dir string) journaltest.Journal {
		if disks[dir] == nil {
			disks[dir] = &journaltest.Volatile{}
		}
		disks[dir] = disks[dir].Reopen()
		return disks[dir]
	})
}
