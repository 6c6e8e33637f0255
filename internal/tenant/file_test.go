package tenant_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"gather/internal/tenant"
)

// TestConcurrentAdds tests that no key is lost when many are added at the same time, and that no file is left beside.
func TestConcurrentAdds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	const n = 30
	var wg sync.WaitGroup
	for range n {
		key, _ := generate(t, "acme")
		wg.Go(func() {
			if err := tenant.AddToFile(path, key); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	keys, err := tenant.ReadFile(path)
	if err != nil || len(keys) != n {
		t.Errorf("%d keys, %v; want %d", len(keys), err, n)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v; want the key file only", files, err)
	}
}

// TestModes tests which files are refused, and that a file keeps its mode, so that a group that may read it still can.
func TestModes(t *testing.T) {
	for mode, want := range map[os.FileMode]bool{
		0o600: true, 0o400: true, 0o640: true, 0o644: true, 0o440: true, 0o660: false, 0o602: false, 0o666: false, 0o777: false,
	} {
		path := filepath.Join(t.TempDir(), "keys.json")
		key, _ := generate(t, "acme")
		if err := tenant.AddToFile(path, key); err != nil {
			t.Fatal(err)
		}
		if got := perm(t, path); got != 0o600 {
			t.Errorf("a new file has mode %#o, want 0600", got)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := tenant.ReadFile(path)
		if (err == nil) != want || !want && !strings.Contains(err.Error(), "chmod go-w") {
			t.Errorf("reading a file of mode %#o: %v, want success %t", mode, err, want)
		}
		other, _ := generate(t, "acme")
		if err := tenant.AddToFile(path, other); (err == nil) != want {
			t.Errorf("adding to a file of mode %#o: %v, want success %t", mode, err, want)
		}
		if got := perm(t, path); got != mode {
			t.Errorf("a file of mode %#o has mode %#o after a change", mode, got)
		}
	}
}

func perm(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

// TestLinks tests that a change writes nothing through links, and does not wait for a FIFO.
func TestLinks(t *testing.T) {
	dir := t.TempDir()
	path, victim := filepath.Join(dir, "keys.json"), filepath.Join(dir, "victim")
	key, _ := generate(t, "acme")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, path+".new"); err != nil { // the fixed name of earlier versions
		t.Fatal(err)
	}
	if err := tenant.AddToFile(path, key); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(victim); err != nil || string(data) != "precious" {
		t.Errorf("the file behind the link: %q, %v; want it as it was", data, err)
	}
	link := filepath.Join(dir, "link.json")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if keys, err := tenant.ReadFile(link); err != nil || len(keys) != 1 { // Kubernetes mounts secrets as links
		t.Errorf("reading through a link: %d keys, %v; want 1", len(keys), err)
	}
	if err := tenant.AddToFile(link, key); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("adding through a link: %v, want a refusal", err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tenant.ReadFile(fifo); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("reading a FIFO: %v, want a refusal", err)
	}
}

// TestRemoveFromFile tests that keys go all or none, and the last one never.
func TestRemoveFromFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	var ids []string
	for range 3 {
		key, _ := generate(t, "acme")
		ids = append(ids, key.ID)
		if err := tenant.AddToFile(path, key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tenant.RemoveFromFile(path, ids[0], "none"); !errors.Is(err, tenant.ErrNoSuchKey) {
		t.Errorf("an unknown id: %v, want %v", err, tenant.ErrNoSuchKey)
	}
	if _, err := tenant.RemoveFromFile(path, ids...); !errors.Is(err, tenant.ErrLastKey) {
		t.Errorf("all keys: %v, want %v", err, tenant.ErrLastKey)
	}
	if removed, err := tenant.RemoveFromFile(path, ids[2], ids[0]); err != nil || len(removed) != 2 || removed[0].ID != ids[2] {
		t.Errorf("two keys: %v, %v", removed, err)
	}
	keys, err := tenant.ReadFile(path)
	if err != nil || len(keys) != 1 || keys[0].ID != ids[1] {
		t.Errorf("left: %v, %v; want key %s", keys, err, ids[1])
	}
}

// TestRevoked tests that a request can see that its key was revoked, and only then.
func TestRevoked(t *testing.T) {
	stays, staysText := generate(t, "a")
	goes, goesText := generate(t, "b")
	loses, losesText := generate(t, "c")
	s, err := tenant.NewStore([]tenant.Key{stays, goes, loses})
	if err != nil {
		t.Fatal(err)
	}
	principal := func(text string) tenant.Principal {
		p, ok := s.Authenticate(text)
		if !ok {
			t.Fatal("a key is refused")
		}
		return p
	}
	a, b, c := principal(staysText), principal(goesText), principal(losesText)
	if err := s.Replace(nil); !errors.Is(err, tenant.ErrNoKeys) {
		t.Errorf("no keys: %v, want %v", err, tenant.ErrNoKeys)
	}
	stays.MaxQueued, loses.ReadOnly = 5, true
	if err := s.Replace([]tenant.Key{stays, loses}); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		principal tenant.Principal
		want      bool
	}{"kept": {a, false}, "removed": {b, true}, "made read-only": {c, true}, "authenticated after": {principal(losesText), false}} {
		got := false
		select {
		case <-test.principal.Revoked:
			got = true
		default:
		}
		if got != test.want {
			t.Errorf("%s: revoked is %t, want %t", name, got, test.want)
		}
	}
	if s.MaxQueued("a") != 5 {
		t.Error("a kept key did not get its new quota")
	}
}
