package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestPrivateFiles starts a server on a new and on an existing data directory: its files are accessible to its user
// only, and an existing directory that others can read keeps its mode and is warned about.
func TestPrivateFiles(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	const warning = "can access the data directory"
	dir := filepath.Join(t.TempDir(), "new", "data")
	p := startProcess(t, "--data-dir="+dir)
	if _, err := newClient(p).submit(t.Context(), `{"kind":"squares","numbers":[1]}`); err != nil {
		t.Fatal(err)
	}
	files := 0
	err := filepath.WalkDir(filepath.Dir(dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files++
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			t.Errorf("%s has mode %v, want none for group and others", path, mode)
		}
		return nil
	})
	if err != nil || files < 5 {
		t.Fatalf("%d files, error %v", files, err)
	}
	if log := p.log.String(); strings.Contains(log, warning) {
		t.Errorf("the log of a new directory has a warning:\n%s", log)
	}

	old := t.TempDir()
	if err := os.Chmod(old, 0o750); err != nil { //nolint:gosec // the case
		t.Fatal(err)
	}
	p = startProcess(t, "--data-dir="+old)
	if log := p.log.String(); !strings.Contains(log, warning) {
		t.Errorf("the log of a directory that its group can read has no %q:\n%s", warning, log)
	}
	if info, err := os.Stat(old); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("the directory: %v, error %v; want mode 0750", info, err)
	}
}
