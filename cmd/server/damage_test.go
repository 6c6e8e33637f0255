package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDamagedDirectory flips one bit in the middle of the log of a killed server that was never restarted: the next start fails,
// and states what to do.
func TestDamagedDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startProcess(t, "--data-dir="+dir)
	c := newClient(p)
	for range 20 {
		if _, err := c.submit(t.Context(), numbersOrder(7).body); err != nil {
			t.Fatal(err)
		}
	}
	p.kill()
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("got logs %v, %v, want one", logs, err)
	}
	content, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(logs[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
	err = p.start()
	for _, want := range []string{"the data directory is damaged", "restore a backup or accept the loss: docs/operations.md"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}
