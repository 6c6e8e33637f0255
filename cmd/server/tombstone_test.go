package main

import (
	"fmt"
	"net/http"
	"testing"
)

// A deleted job is 410 for --tombstone-retention; with 0 it is not found immediately.
func TestTombstoneRetention(t *testing.T) {
	for retention, want := range map[string]int{"0s": http.StatusNotFound, "1h": http.StatusGone} {
		t.Run(retention, func(t *testing.T) {
			srv, stop := launch(t, "--data-dir", t.TempDir(), "--tombstone-retention", retention)
			defer stop()
			jobs := "http://" + srv.apiListener.Addr().String() + "/v1/jobs"
			status, v := call(t, "POST", jobs, "application/json", []byte(`{"kind":"squares","numbers":[1]}`), "Prefer", "wait=30")
			if status != http.StatusOK || v["state"] != "succeeded" {
				t.Fatalf("submit: got %d %v, want 200 and a job that has succeeded", status, v)
			}
			job := jobs + "/" + fmt.Sprint(v["id"])
			if status, v := call(t, "DELETE", job, "", nil); status != http.StatusNoContent {
				t.Fatalf("delete: got %d %v, want %d", status, v, http.StatusNoContent)
			}
			if status, v := call(t, "GET", job, "", nil); status != want {
				t.Errorf("after the deletion: got %d %v, want %d", status, v, want)
			}
		})
	}
}
