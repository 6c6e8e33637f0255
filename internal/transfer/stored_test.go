package transfer_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"testing"

	"gather/internal/job"
	"gather/internal/transfer"
)

// The export is of an earlier version, whose details of sums that are NaN or infinite were not JSON:
//
//	"result":"NaN","details":{"dtype":"float64","shape":[],"hex":""NaN""}
//
// Its jobs are read as they should have been written, and can be imported.
func TestDetailsOfEarlierVersions(t *testing.T) {
	f, err := os.Open("testdata/nonfinite.export")
	must(t, err)
	defer f.Close()
	r, err := transfer.NewReader(f)
	must(t, err)
	got := map[string]int{}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		var log []job.Event
		for e, err := range rec.Job.Log() {
			must(t, err)
			log = append(log, e.Event)
		}
		details := rec.Job.View.Details
		if end, ok := log[len(log)-1].(job.Finished); !ok || string(end.Details) != string(details) {
			t.Errorf("the log ends with %+v, want details %s", log[len(log)-1], details)
		}
		if _, err := job.Rebuild(rec.Job.View, rec.Job.Spec, log); err != nil {
			t.Error(err)
		}
		var fields struct {
			Hex string `json:"hex"`
		}
		if err := json.Unmarshal(details, &fields); err != nil {
			t.Errorf("%v: %s", err, details)
		}
		got[fields.Hex]++
	}
	want := map[string]int{"NaN": 1, "Infinity": 3, "-Infinity": 1, "0x1.cp+01": 1}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for hex, n := range want {
		if got[hex] != n {
			t.Errorf("%d jobs with hex %s, want %d", got[hex], hex, n)
		}
	}
}
