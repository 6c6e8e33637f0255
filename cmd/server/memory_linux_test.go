package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
)

// A server with little memory rejects submissions that do not fit, and its memory stays below the limit.
func TestMemoryLimit(t *testing.T) {
	const limit = 384 << 20
	t.Setenv("GOMEMLIMIT", "263MiB") // divideMemory's heap for a cgroup of 384 MiB
	p := startProcess(t)
	body := []byte(`{"kind":"squares","start_after":"1h","numbers":[` + strings.Repeat("12345678901234567,", 388_000) + `1]}`)
	status := map[int]int{}
	for range 30 { // of 7 MiB each
		s, v := call(t, "POST", p.url("/v1/jobs"), "application/json", body)
		if status[s]++; s != http.StatusAccepted && (s != http.StatusServiceUnavailable || v["type"] != "/problems/queue-full") {
			t.Fatalf("got %d %v, want 202 or 503 with queue-full", s, v)
		}
	}
	if status[http.StatusAccepted] < 5 || status[http.StatusServiceUnavailable] == 0 {
		t.Errorf("got statuses %v, want some 202 and then 503", status)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := bytes.Cut(text, []byte("VmHWM:"))
	kB, err := strconv.ParseInt(string(bytes.Fields(after)[0]), 10, 64)
	if peak := kB << 10; err != nil || peak > limit {
		t.Errorf("got a peak of %d MiB (%v), want at most %d MiB", peak>>20, err, limit>>20)
	} else {
		t.Logf("peak %d MiB, answers %v", peak>>20, status)
	}
}
