package tenant_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gather/internal/tenant"
)

// TestConcurrentAdds tests that concurrent additions lose no key and leave no temporary file.
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

// TestModes tests which files are rejected, and that a file keeps its mode.
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
		t.Errorf("the file behind the link: %q, %v; want it unchanged", data, err)
	}
	link := filepath.Join(dir, "link.json")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if keys, err := tenant.ReadFile(link); err != nil || len(keys) != 1 { // Kubernetes mounts secrets as links
		t.Errorf("reading through a link: %d keys, %v; want 1", len(keys), err)
	}
	if err := tenant.AddToFile(link, key); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("adding through a link: %v, want a rejection", err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tenant.ReadFile(fifo); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("reading a FIFO: %v, want a rejection", err)
	}
}

// TestOwner tests that a file keeps its owner and group, so that a server of another user can still read it.
func TestOwner(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can change the owner of a file")
	}
	path := filepath.Join(t.TempDir(), "keys.json")
	first, _ := generate(t, "acme")
	second, _ := generate(t, "acme")
	err := errors.Join(tenant.AddToFile(path, first), os.Chown(path, 65532, 65533), tenant.AddToFile(path, second))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || stat.Uid != 65532 || stat.Gid != 65533 {
		t.Errorf("after a change: got %+v, want user 65532 and group 65533", info.Sys())
	}
}

// TestFailedChange tests that a failed change leaves the file unchanged and no temporary file.
func TestFailedChange(t *testing.T) {
	twice, _ := generate(t, "acme")
	for name, c := range map[string]struct {
		change func(path string) error
		want   string
	}{
		"existing key": {func(path string) error { return tenant.AddToFile(path, twice) }, "duplicate"},
		"no place for the new file": {func(path string) error {
			return tenant.ChangeFile(path, func(keys []tenant.Key) ([]tenant.Key, error) {
				// A directory in its place, which cannot be replaced by a file.
				return keys[:0], errors.Join(os.Rename(path, path+".old"), os.Mkdir(path, 0o700))
			})
		}, "file exists"},
		"a file that is too large": {func(path string) error {
			if err := os.Truncate(path, 32<<20+1); err != nil {
				return err
			}
			other, _ := generate(t, "acme")
			return tenant.AddToFile(path, other)
		}, "has 33554433 bytes; at most 33554432"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keys.json")
			if err := tenant.AddToFile(path, twice); err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.change(path); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if hidden, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(hidden) > 0 {
				t.Errorf("got the files %q, %v; want no temporary file", hidden, err)
			}
			if after, err := os.ReadFile(path); err == nil && !bytes.HasPrefix(after, before) { // unless the test has replaced it
				t.Errorf("after the change: got %.300q, want %q", after, before)
			}
		})
	}
}

// TestRemoveFromFile tests that all keys are removed or none, and never the last one.
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

// TestRevoked tests that requests detect the revocation of their key, and only that.
func TestRevoked(t *testing.T) {
	stays, staysText := generate(t, "a")
	goes, goesText := generate(t, "b")
	loses, losesText := generate(t, "c")
	moves, movesText := generate(t, "d")
	changes, changesText := generate(t, "e")
	s, err := tenant.NewStore([]tenant.Key{stays, goes, loses, moves, changes})
	if err != nil {
		t.Fatal(err)
	}
	principal := func(text string) tenant.Principal {
		p, ok := s.Authenticate(text)
		if !ok {
			t.Fatal("a key is rejected")
		}
		return p
	}
	a, b, c, d, e := principal(staysText), principal(goesText), principal(losesText), principal(movesText), principal(changesText)
	if err := s.Replace(nil); !errors.Is(err, tenant.ErrNoKeys) {
		t.Errorf("no keys: %v, want %v", err, tenant.ErrNoKeys)
	}
	stays.MaxQueued, loses.ReadOnly, moves.Tenant = 5, true, "f"
	changes.SHA256 = goes.SHA256
	if err := s.Replace([]tenant.Key{stays, loses, moves, changes}); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		principal tenant.Principal
		want      bool
	}{
		"kept": {a, false}, "removed": {b, true}, "made read-only": {c, true}, "of another tenant": {d, true}, "with another secret": {e, true},
		"authenticated after": {principal(losesText), false}, "authenticated after, of another tenant": {principal(movesText), false},
	} {
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
	if p := principal(movesText); p.Tenant != "f" {
		t.Errorf("a key of another tenant: tenant %q, want f", p.Tenant)
	}
	if _, ok := s.Authenticate(changesText); ok {
		t.Error("the former secret of a key is accepted")
	}
	if s.MaxQueued("a") != 5 {
		t.Error("a kept key did not get its new quota")
	}
}

// A key file of the first version, with all members of a key, can be read. See job.Format.
func TestGoldenKeys(t *testing.T) {
	keys, err := tenant.ReadFile("testdata/v1/keys.json")
	if err != nil {
		t.Fatal(err)
	}
	want := tenant.Key{
		ID: "4f1c2a9b7d3e", Tenant: "acme", SHA256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		CreatedAt: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC), ReadOnly: true,
		Rate: &tenant.Rate{Jobs: 100, Window: tenant.Window(time.Minute)}, MaxQueued: 50, MaxResultBytes: 1 << 20,
	}
	if len(keys) != 1 || !reflect.DeepEqual(keys[0], want) {
		t.Errorf("got %+v, want %+v", keys, want)
	}
}

// A key file with the settings of tenants can be read, and changes of keys keep them.
func TestGoldenSettings(t *testing.T) {
	const golden = "testdata/v1/settings.json"
	want := map[string]tenant.Settings{
		"acme": {
			HTTPAllow: &[]string{"api.example", "10.1.0.0/16"}, HTTPRate: "50/s", HTTPInFlight: 20,
			WebhookSecrets: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
			Webhooks: []tenant.Webhook{{
				URL: "https://hooks.example/x", Events: []string{"job.failed"},
				Secrets: []string{"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="},
			}},
		},
		"closed": {HTTPAllow: &[]string{}},
	}
	before, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, before, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{golden, path} {
		content, err := tenant.LoadFile(path)
		if err != nil || !reflect.DeepEqual(content.Tenants, want) {
			t.Errorf("%s: got %+v, %v; want %+v", path, content.Tenants, err, want)
		}
	}
	key, _ := generate(t, "other")
	if err := tenant.AddToFile(path, key); err != nil {
		t.Fatal(err)
	}
	if content, err := tenant.LoadFile(path); err != nil || len(content.Keys) != 2 || !reflect.DeepEqual(content.Tenants, want) {
		t.Errorf("after a change: got %+v, %v; want two keys, and %+v", content, err, want)
	}
}
