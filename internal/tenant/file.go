package tenant

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// file is the key file.
type file struct {
	Keys []Key `json:"keys"`
}

// ReadFile reads and checks a key file. Its error joins every fault of the file.
func ReadFile(path string) ([]Key, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	var f file
	if err := json.Unmarshal(data, &f, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	if err := check(f.Keys); err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return f.Keys, nil
}

// AddToFile adds a key to a key file, which it makes if there is none. The file is replaced as a whole, and only its
// owner may read it.
func AddToFile(path string, key Key) error {
	keys, err := ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	keys = append(keys, key)
	if err := check(keys); err != nil {
		return fmt.Errorf("key file %s: %w", path, err)
	}
	data, err := json.Marshal(file{Keys: keys}, jsontext.WithIndent("  "))
	if err != nil {
		return fmt.Errorf("key file %s: %w", path, err)
	}
	return replace(path, append(data, '\n'))
}

// replace writes a file so that a crash leaves the old one or the new one.
func replace(path string, data []byte) error {
	next, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	_, err = next.Write(data)
	if err == nil {
		err = next.Sync()
	}
	if err = errors.Join(err, next.Close()); err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	return nil
}

// check returns every fault of the keys, joined.
func check(keys []Key) error {
	var faults []error
	ids := make(map[string]bool, len(keys))
	first := make(map[string]Key, len(keys))
	for i, k := range keys {
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Errorf("keys[%d]: "+format, append([]any{i}, args...)...))
		}
		if k.ID == "" || ids[k.ID] {
			fault("id %q is empty, or there twice", k.ID)
		}
		ids[k.ID] = true
		if err := checkTenant(k.Tenant); err != nil {
			fault("%w", err)
		}
		if sum, err := hex.DecodeString(k.SHA256); err != nil || len(sum) != 32 {
			fault("sha256 is not 64 hexadecimal digits")
		}
		if k.Rate != nil && (k.Rate.Jobs < 1 || k.Rate.Window <= 0) {
			fault("rate: jobs and window must be more than 0")
		}
		if k.MaxQueued < 0 {
			fault("max_queued is less than 0")
		}
		other, known := first[k.Tenant]
		if !known {
			first[k.Tenant] = k
		} else if !sameRate(k.Rate, other.Rate) || k.MaxQueued != other.MaxQueued {
			fault("rate and max_queued must be those of key %s, which has the same tenant", other.ID)
		}
	}
	return errors.Join(faults...)
}

func sameRate(a, b *Rate) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}
