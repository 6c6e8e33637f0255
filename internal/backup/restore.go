package backup

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// ErrIncomplete is returned for an archive that is truncated or modified.
var ErrIncomplete = errors.New("the backup is damaged or incomplete")

// Memory bounds of Restore.
const (
	maxSums   = 1 << 30
	maxMarker = 1 << 16
)

// Restore extracts an archive into dir, which must be empty or not exist, and syncs it to disk. Until all checksums
// have been verified a server does not start on the directory. Errors: ErrIncomplete, errors of r and of the disk.
func Restore(r io.Reader, dir string) error {
	if err := makeEmpty(dir); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	x := &extraction{root: root, sums: make(map[string]string), markers: make(map[string][]byte), dirs: map[string]bool{".": true}}
	err = x.run(tar.NewReader(bufio.NewReaderSize(r, 1<<20)))
	if err = errors.Join(err, root.Close()); err != nil {
		return fmt.Errorf("restore %s: %w", dir, err)
	}
	return nil
}

// makeEmpty creates a directory unless an empty one exists. The root of a file system may have a lost+found.
func makeEmpty(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.Name() != "lost+found" {
			return fmt.Errorf("%s is not empty", dir)
		}
	}
	return nil
}

// extraction is an archive being extracted.
type extraction struct {
	root *os.Root
	// sums has the checksums of the extracted files.
	sums map[string]string
	// markers are the files that make the directory a journal; they are written last.
	markers map[string][]byte
	dirs    map[string]bool
}

func (x *extraction) run(t *tar.Reader) error {
	for {
		h, err := t.Next()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrIncomplete, noEOF(err))
		}
		switch name := path.Clean(h.Name); {
		case h.Typeflag == tar.TypeDir:
		case h.Typeflag != tar.TypeReg || !fs.ValidPath(name):
			return fmt.Errorf("%w: it has %q, which is not a file of a backup", ErrIncomplete, h.Name)
		case name == sumsName:
			if err := x.compare(io.LimitReader(t, maxSums)); err != nil {
				return err
			}
			return x.finish()
		default:
			if err := x.extract(name, t); err != nil {
				return err
			}
		}
	}
}

// extract writes one file and records its checksum.
func (x *extraction) extract(name string, from io.Reader) (err error) {
	if x.sums[name] != "" {
		return fmt.Errorf("%w: it has %s twice", ErrIncomplete, name)
	}
	sum := sha256.New()
	from = readError{io.TeeReader(from, sum)}
	if strings.HasPrefix(name, "marker.") {
		data, err := io.ReadAll(io.LimitReader(from, maxMarker))
		if err != nil {
			return err
		}
		x.markers[name] = data
	} else if err := x.write(name, from); err != nil {
		return err
	}
	x.sums[name] = hex.EncodeToString(sum.Sum(nil))
	return nil
}

// write writes a file and syncs it to disk.
func (x *extraction) write(name string, from io.Reader) error {
	if dir := path.Dir(name); !x.dirs[dir] {
		if err := x.root.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		for ; !x.dirs[dir]; dir = path.Dir(dir) {
			x.dirs[dir] = true
		}
	}
	f, err := x.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// compare compares the checksums with the archive's.
func (x *extraction) compare(from io.Reader) error {
	lines, n := bufio.NewScanner(from), 0
	for lines.Scan() {
		sum, name, _ := strings.Cut(lines.Text(), "  ")
		if n++; x.sums[name] != sum {
			return fmt.Errorf("%w: %s does not match its SHA-256", ErrIncomplete, name)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	if n != len(x.sums) {
		return fmt.Errorf("%w: it has %d files, and %d checksums", ErrIncomplete, len(x.sums), n)
	}
	return nil
}

// finish syncs the directories to disk, and then makes the directory a journal.
func (x *extraction) finish() error {
	for dir := range x.dirs {
		if err := x.sync(dir); err != nil {
			return err
		}
	}
	for name, data := range x.markers {
		if err := x.write(name, bytes.NewReader(data)); err != nil {
			return err
		}
	}
	return x.sync(".")
}

func (x *extraction) sync(dir string) error {
	d, err := x.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readError wraps errors of the reader as errors of the archive.
type readError struct{ io.Reader }

func (r readError) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	return n, err
}

// noEOF converts io.EOF to an unexpected end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
