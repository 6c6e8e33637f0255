// Package tenant has the API keys, the tenants that they belong to, and each tenant's rate of jobs.
//
// A key is "gather_<id>_<secret>" with a secret of 256 random bits. It is shown once, when it is created; the key file
// only has its SHA-256. A key is looked up by its id and compared in constant time.
//
// A Store is safe for concurrent use and may be reloaded at any time: a request uses the keys before or after a reload,
// never a mixture, and a tenant whose rate did not change keeps its usage. An invalid file is rejected with all errors
// listed, and the keys stay unchanged. The package starts no goroutine.
package tenant

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Default is the tenant of a server without keys.
const Default = "default"

const (
	prefix       = "gather"
	idBytes      = 6
	secretBytes  = 32
	maxTenantLen = 64
)

// A Key is an entry of the key file.
type Key struct {
	ID     string `json:"id"`
	Tenant string `json:"tenant"`
	// SHA256 is the hash of the whole key text, in hexadecimal.
	SHA256    string    `json:"sha256"`
	CreatedAt time.Time `json:"created_at"`
	// ReadOnly keys can read the tenant's jobs, but not submit, cancel or delete.
	ReadOnly bool `json:"read_only,omitzero"`
	// Operator keys can also pause and resume the jobs of all tenants.
	Operator bool `json:"operator,omitzero"`
	// Rate bounds the jobs that the tenant may submit; nil is no bound. All keys of a tenant have the same rate.
	Rate *Rate `json:"rate,omitzero"`
	// MaxQueued bounds the tenant's unfinished jobs; 0 is no bound.
	MaxQueued int `json:"max_queued,omitzero"`
	// MaxResultBytes bounds the stored results of the tenant's jobs; 0 is no bound.
	MaxResultBytes int64 `json:"max_result_bytes,omitzero"`
}

// A Rate is a number of jobs in a window of time; they may be submitted in one burst.
type Rate struct {
	Jobs   int    `json:"jobs"`
	Window Window `json:"window"`
}

// A Window is a duration in Go's notation in the key file: "1m".
type Window time.Duration

// MarshalText implements encoding.TextMarshaler.
func (w Window) MarshalText() ([]byte, error) { return []byte(time.Duration(w).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (w *Window) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	*w = Window(d)
	return err
}

// Generate creates a key for a tenant. The text is for the client; it cannot be recovered later.
func Generate(tenant string, now time.Time) (Key, string, error) {
	if err := checkTenant(tenant); err != nil {
		return Key{}, "", err
	}
	random := make([]byte, idBytes+secretBytes)
	rand.Read(random) // documented to never fail
	id := hex.EncodeToString(random[:idBytes])
	text := prefix + "_" + id + "_" + hex.EncodeToString(random[idBytes:])
	sum := sha256.Sum256([]byte(text))
	return Key{ID: id, Tenant: tenant, SHA256: hex.EncodeToString(sum[:]), CreatedAt: now.UTC().Truncate(time.Second)}, text, nil
}

// cutID returns the id in a key's text.
func cutID(text string) (string, bool) {
	rest, ok := strings.CutPrefix(text, prefix+"_")
	if !ok {
		return "", false
	}
	id, _, ok := strings.Cut(rest, "_")
	return id, ok && id != ""
}

func checkTenant(name string) error {
	bad := strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	})
	if bad || name == "" || len(name) > maxTenantLen {
		return fmt.Errorf("tenant %q: use 1 to %d letters, digits, '.', '_' or '-'", name, maxTenantLen)
	}
	return nil
}
