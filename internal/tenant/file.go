package tenant

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A File is the content of a key file.
type File struct {
	Keys []Key `json:"keys"`
	// Tenants has the settings of tenants, by name. The package stores them, and does not use them.
	Tenants map[string]Settings `json:"tenants,omitzero"`
}

// Settings are the settings of a tenant.
type Settings struct {
	// HTTPAllow has the hosts and networks to which requests of the tenant may be sent; nil for the server's list.
	HTTPAllow *[]string `json:"http_allow,omitzero"`
	// HTTPRate and HTTPInFlight bound the tenant's requests on each server; "" and 0 for no bound.
	HTTPRate     string `json:"http_rate,omitzero"`
	HTTPInFlight int    `json:"http_in_flight,omitzero"`
	// WebhookSecrets sign the requests to webhooks: several while one is being replaced.
	WebhookSecrets []string `json:"webhook_secrets,omitzero"`
	// Webhooks are called when any job of the tenant ends.
	Webhooks []Webhook `json:"webhooks,omitzero"`
}

// A Webhook is a webhook of a tenant.
type Webhook struct {
	URL string `json:"url"`
	// Events are the ends of jobs for which it is called, such as "job.failed"; all if it is empty.
	Events []string `json:"events,omitzero"`
	// Secrets are used instead of the tenant's.
	Secrets []string `json:"secrets,omitzero"`
}

// maxFileSize bounds a key file, to about 100 000 keys.
const maxFileSize = 32 << 20

// othersMayWrite are permissions that a key file must not have, because write access allows creating keys.
const othersMayWrite = 0o022

// ReadFile reads the keys of a key file; see LoadFile.
func ReadFile(path string) ([]Key, error) {
	content, err := LoadFile(path)
	return content.Keys, err
}

// LoadFile reads a key file and validates its keys. It rejects a file that its group or others may write. Its error joins all
// errors of the keys.
func LoadFile(path string) (content File, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO is rejected below, and must not block before
	if err != nil {
		return content, fmt.Errorf("key file: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return content, fmt.Errorf("key file: %w", err)
	case !info.Mode().IsRegular():
		return content, fmt.Errorf("key file %s: is not a regular file", path)
	case info.Mode()&othersMayWrite != 0:
		return content, fmt.Errorf("key file %s: has mode %#o, so that users other than its owner can add keys: chmod go-w it", path, info.Mode().Perm())
	case info.Size() > maxFileSize:
		return content, fmt.Errorf("key file %s: has %d bytes; at most %d", path, info.Size(), maxFileSize)
	}
	err = json.UnmarshalRead(f, &content, json.RejectUnknownMembers(true))
	if err == nil {
		err = check(content.Keys)
	}
	if err != nil {
		return File{}, fmt.Errorf("key file %s: %w", path, err)
	}
	return content, nil
}

// Errors of changes to a key file.
var (
	// ErrNoSuchKey is returned if the file has no key with the id.
	ErrNoSuchKey = errors.New("no such key")
	// ErrLastKey is returned for the removal of the last key, because a server rejects a file without keys and keeps
	// its old ones.
	ErrLastKey = errors.New("it is the last key, and servers reject a file without keys: create another key first")
)

// AddToFile adds a key to a key file with ChangeFile.
func AddToFile(path string, key Key) error {
	return ChangeFile(path, func(keys []Key) ([]Key, error) { return append(keys, key), nil })
}

// RemoveFromFile removes all keys with the ids, or none, and returns them. Errors: ErrNoSuchKey, ErrLastKey, errors of
// ChangeFile.
func RemoveFromFile(path string, ids ...string) (removed []Key, err error) {
	err = ChangeFile(path, func(keys []Key) ([]Key, error) {
		for _, id := range ids {
			i := slices.IndexFunc(keys, func(k Key) bool { return k.ID == id })
			if i < 0 {
				return nil, fmt.Errorf("%w: %q", ErrNoSuchKey, id)
			}
			removed = append(removed, keys[i])
			keys = slices.Delete(keys, i, i+1)
		}
		if len(keys) == 0 {
			return nil, ErrLastKey
		}
		return keys, nil
	})
	return removed, err
}

// ChangeFile replaces the keys of a key file by the result of change, keeps the settings of its tenants, and creates the file if it is missing. Changes by
// several processes are serialized. The file is replaced atomically: a crash leaves the old or the new one. It keeps
// its mode, which is 0600 for a new file. A symbolic link is rejected, because its target would not change. An error of
// change is returned unchanged, and nothing is written.
func ChangeFile(path string, change func([]Key) ([]Key, error)) error {
	dir := filepath.Dir(path)
	lock, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	defer func() { _ = lock.Close() }() // also unlocks
	// Lock the directory, not the file, which is replaced by each change.
	if err := lockFile(lock); err != nil {
		return fmt.Errorf("key file: lock %s: %w", dir, err)
	}
	mode := fs.FileMode(0o600)
	var content File
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("key file: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("key file %s: is not a regular file", path)
	default:
		mode = info.Mode().Perm()
		if content, err = LoadFile(path); err != nil {
			return err
		}
	}
	if content.Keys, err = change(content.Keys); err != nil {
		return err
	}
	if err := check(content.Keys); err != nil {
		return fmt.Errorf("key file %s: %w", path, err)
	}
	data, err := json.Marshal(content, jsontext.WithIndent("  "))
	if err != nil {
		return fmt.Errorf("key file %s: %w", path, err)
	}
	if err := replace(path, append(data, '\n'), mode, info); err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	if err := lock.Sync(); err != nil {
		return fmt.Errorf("key file: sync %s: %w", dir, err)
	}
	return nil
}

// replace writes a temporary file and renames it. With old the new file keeps owner and group, so that the server can
// still read it.
func replace(path string, data []byte, mode fs.FileMode, old fs.FileInfo) (err error) {
	next, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // exclusive, 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(next.Name())
		}
	}()
	_, err = next.Write(data)
	if err == nil && old != nil {
		err = keepOwner(next, old)
	}
	if err == nil {
		err = next.Chmod(mode)
	}
	if err == nil {
		err = next.Sync()
	}
	if err = errors.Join(err, next.Close()); err != nil {
		return err
	}
	return os.Rename(next.Name(), path)
}

// check returns all errors of the keys, joined.
func check(keys []Key) error {
	var faults []error
	ids := make(map[string]bool, len(keys))
	first := make(map[string]Key, len(keys))
	for i, k := range keys {
		addError := func(format string, args ...any) {
			faults = append(faults, fmt.Errorf("keys[%d]: "+format, append([]any{i}, args...)...))
		}
		if k.ID == "" || ids[k.ID] {
			addError("id %q is empty or duplicate", k.ID)
		}
		ids[k.ID] = true
		if err := checkTenant(k.Tenant); err != nil {
			addError("%w", err)
		}
		if sum, err := hex.DecodeString(k.SHA256); err != nil || len(sum) != 32 {
			addError("sha256 is not 64 hexadecimal digits")
		}
		if k.Operator && k.ReadOnly {
			addError("operator and read_only exclude each other")
		}
		if k.Rate != nil && (k.Rate.Jobs < 1 || k.Rate.Window <= 0) {
			addError("rate: jobs and window must be more than 0")
		}
		if k.MaxQueued < 0 {
			addError("max_queued is less than 0")
		}
		if k.MaxResultBytes < 0 {
			addError("max_result_bytes is less than 0")
		}
		other, known := first[k.Tenant]
		if !known {
			first[k.Tenant] = k
		} else if !k.sameLimits(&other) {
			addError("rate, max_queued and max_result_bytes must equal those of key %s of the same tenant", other.ID)
		}
	}
	return errors.Join(faults...)
}

// sameLimits reports whether keys have the same limits, as all keys of a tenant must.
func (k *Key) sameLimits(o *Key) bool {
	return sameRate(k.Rate, o.Rate) && k.MaxQueued == o.MaxQueued && k.MaxResultBytes == o.MaxResultBytes
}

func sameRate(a, b *Rate) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}
