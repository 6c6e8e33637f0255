package tenant_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gather/internal/tenant"
)

func generate(t *testing.T, name string, change ...func(*tenant.Key)) (tenant.Key, string) {
	t.Helper()
	k, text, err := tenant.Generate(name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(&k)
	}
	return k, text
}

// A key in a file authenticates its text and nothing else.
func TestAuthenticate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	rate := func(k *tenant.Key) {
		k.Rate = &tenant.Rate{Jobs: 10, Window: tenant.Window(time.Minute)}
		k.MaxQueued = 7
	}
	acme, acmeText := generate(t, "acme", rate)
	reader, readerText := generate(t, "acme", rate, func(k *tenant.Key) { k.ReadOnly = true })
	other, _ := generate(t, "other")
	for _, k := range []tenant.Key{acme, reader, other} {
		if err := tenant.AddToFile(file, k); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	data, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(data), acmeText[len(acmeText)-64:]) {
		t.Errorf("the file has the secret: %s", data)
	}
	keys, err := tenant.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := tenant.NewStore(keys)
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := s.Authenticate(acmeText); !ok || p.Tenant != "acme" || p.ReadOnly || p.Revoked == nil {
		t.Errorf("%+v %t", p, ok)
	}
	if p, ok := s.Authenticate(readerText); !ok || p.Tenant != "acme" || !p.ReadOnly {
		t.Errorf("%+v %t", p, ok)
	}
	for _, text := range []string{
		"", "gather", "gather__", acmeText + "0", acmeText[:len(acmeText)-1], "Gather" + acmeText[6:], acme.ID, acme.SHA256,
		"gather_" + other.ID + acmeText[len("gather_")+len(acme.ID):], "gather_" + acme.ID + "_" + acme.SHA256,
	} {
		if p, ok := s.Authenticate(text); ok {
			t.Errorf("%q is authenticated as %+v", text, p)
		}
	}
	if s.MaxQueued("acme") != 7 || s.MaxQueued("other") != 0 || s.MaxQueued("nobody") != 0 {
		t.Error("quotas")
	}
	if p, ok := new(tenant.Store).Authenticate(acmeText); ok {
		t.Errorf("an empty store authenticates %+v", p)
	}
}

// An invalid file is rejected with all its errors.
func TestInvalidFiles(t *testing.T) {
	a, _ := generate(t, "acme", func(k *tenant.Key) { k.MaxQueued = 1 })
	b, _ := generate(t, "acme")
	b.ID, b.SHA256 = a.ID, "short"
	c, _ := generate(t, "x", func(k *tenant.Key) { k.Rate = &tenant.Rate{}; k.MaxQueued, k.MaxResultBytes = -1, -1 })
	c.Tenant = "no such/name"
	_, err := tenant.NewStore([]tenant.Key{a, b, c})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"keys[1]: id", "keys[1]: sha256", "keys[1]: rate, max_queued and max_result_bytes", "keys[2]: tenant", "keys[2]: rate:", "keys[2]: max_queued", "keys[2]: max_result_bytes"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"not JSON": `{`, "unknown": `{"keys":[],"x":1}`, "twice": `{"keys":[],"keys":[]}`, "window": `{"keys":[{"rate":{"jobs":1,"window":"soon"}}]}`,
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := tenant.ReadFile(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := tenant.ReadFile(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	for _, name := range []string{"", "a b", "a/b", "ä", strings.Repeat("x", 65)} {
		if _, _, err := tenant.Generate(name, time.Now()); err == nil {
			t.Errorf("tenant %q is accepted", name)
		}
	}
}

// A rate allows a burst and then refills; it reports the rest, and returned jobs are available again.
func TestRate(t *testing.T) {
	limited, _ := generate(t, "acme", func(k *tenant.Key) { k.Rate = &tenant.Rate{Jobs: 6, Window: tenant.Window(time.Minute)} })
	free, _ := generate(t, "free")
	s, err := tenant.NewStore([]tenant.Key{limited, free})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	take := func(n int, ok bool, left int, wait time.Duration) {
		t.Helper()
		a, got := s.Take("acme", n, now)
		if got != ok || a.Left != left || a.Wait.Round(time.Millisecond) != wait || a.Rate.Jobs != 6 {
			t.Errorf("%t %+v, want %t, %d left, %s", got, a, ok, left, wait)
		}
	}
	take(0, true, 6, 0)
	take(4, true, 2, 10*time.Second)
	take(3, false, 2, 10*time.Second)
	take(2, true, 0, 10*time.Second)
	take(1, false, 0, 10*time.Second)
	take(6, false, 0, time.Minute)
	s.Return("acme", 2, now)
	take(2, true, 0, 10*time.Second)
	now = now.Add(25 * time.Second)
	take(0, true, 2, 5*time.Second)
	take(7, false, 2, 35*time.Second) // more than the maximum: the time until the maximum is available
	s.Return("acme", 60, now)
	take(6, true, 0, 10*time.Second) // returning never exceeds the rate

	if a, ok := s.Take("free", 1_000_000, now); !ok || a != (tenant.Allowance{}) {
		t.Errorf("%+v", a)
	}
	s.Return("free", 1, now)

	// Reloading the same rate does not refill it; another rate starts full.
	if err := s.Replace([]tenant.Key{limited, free}); err != nil {
		t.Fatal(err)
	}
	take(1, false, 0, 10*time.Second)
	limited.Rate = &tenant.Rate{Jobs: 6, Window: tenant.Window(time.Hour)}
	if err := s.Replace([]tenant.Key{limited}); err != nil {
		t.Fatal(err)
	}
	take(6, true, 0, 10*time.Minute)
}

// Keys may be replaced while they are in use, and an invalid replacement keeps the old ones.
func TestReplace(t *testing.T) {
	a, aText := generate(t, "a")
	b, bText := generate(t, "b")
	s, err := tenant.NewStore([]tenant.Key{a})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2000 {
				if p, ok := s.Authenticate(aText); ok && p.Tenant != "a" {
					t.Errorf("the key of a is %+v", p)
				}
				s.Authenticate(bText)
				s.Take("a", 1, time.Now())
			}
		})
	}
	for i := range 200 {
		if err := s.Replace([]tenant.Key{[]tenant.Key{a, b}[i%2]}); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	if err := s.Replace([]tenant.Key{{}}); err == nil {
		t.Error("an invalid replacement is accepted")
	}
	if _, ok := s.Authenticate(bText); !ok {
		t.Error("an invalid replacement dropped the keys")
	}
}
