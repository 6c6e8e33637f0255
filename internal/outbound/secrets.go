package outbound

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
)

// secretName matches the names of secrets.
var secretName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$`)

// maxSecret bounds a secret, in bytes.
const maxSecret = 8 << 10

// secrets reads secrets from the files of a directory; nil has none.
type secrets struct{ root *os.Root }

func openSecrets(dir string) (*secrets, error) {
	if dir == "" {
		return nil, nil //nolint:nilnil // documented
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &secrets{root}, nil
}

func (s *secrets) Close() error {
	if s == nil {
		return nil
	}
	return s.root.Close()
}

// read returns a secret without the line break at its end: the file NAME, or TENANT/NAME if there are tenants. The error
// wraps ErrNoSecret, and never has the secret.
func (s *secrets) read(tenant, name string) (string, error) {
	if s == nil || !secretName.MatchString(name) {
		return "", fmt.Errorf("%w: %q", ErrNoSecret, clip(name))
	}
	f, err := s.root.Open(path.Join(tenant, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: %q", ErrNoSecret, name)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %q cannot be read", ErrNoSecret, name)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil || len(text) > maxSecret {
		return "", fmt.Errorf("%w: %q cannot be read", ErrNoSecret, name)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if !validHeaderValue(value) {
		return "", fmt.Errorf("%w: %q is not a valid header value", ErrNoSecret, name)
	}
	return value, nil
}
