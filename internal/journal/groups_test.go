package journal_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"gather/internal/job"
	"gather/internal/journal"
)

// goldenGroup is a record of a group of version 1, which every later version reads: 2 succeeded, 1 failed and 3 cancelled jobs.
const goldenGroup = "0104020628100680208040feffffffffffffffff01fcffffffffffffffff0190a9c7d5e8d7b0e6af01"

func TestGoldenGroup(t *testing.T) {
	data, err := hex.DecodeString(goldenGroup)
	must(t, err)
	if again, err := journal.GroupRecordAgain(data); err != nil || !bytes.Equal(again, data) {
		t.Errorf("it is read as %x, %v", again, err)
	}
}

func FuzzGroupRecord(f *testing.F) {
	data, err := hex.DecodeString(goldenGroup)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{data, nil, {0}, {1}, {2}, data[:len(data)-1], append(slices.Clip(data), 0)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		again, err := journal.GroupRecordAgain(data)
		switch {
		case err != nil:
			if !errors.Is(err, job.ErrVersion) && !errors.Is(err, job.ErrCorrupt) {
				t.Errorf("%x: %v, want ErrVersion or ErrCorrupt", data, err)
			}
		case len(again) > len(data): // a varint can be longer than necessary
			t.Errorf("%x becomes %x", data, again)
		}
	})
}
