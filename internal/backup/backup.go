// Package backup copies the data directory of a running server as a tar archive, and restores it.
//
// A backup shows one instant: every durable job in its state, and the arrays of that instant. The last file of the
// archive, SHA256SUMS, has the checksums of all others in the format of sha256sum(1); an archive without it is
// incomplete. The extracted archive is a data directory.
package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"gather/internal/array"
	"gather/internal/journal"
)

const (
	// stagingName is the directory in the data directory with the copy of the journal while it is sent.
	stagingName = "backup.tmp"
	// sumsName is the last file of an archive.
	sumsName = "SHA256SUMS"
	// arraysName is the directory of the arrays in the data directory.
	arraysName = "arrays"
)

// Journal is the journal of a running server.
type Journal interface {
	// Checkpoint copies the journal to a new directory, and calls meanwhile at the instant of the copy.
	Checkpoint(ctx context.Context, dir string, meanwhile func()) error
}

// A Backup is a data directory at one instant.
type Backup struct {
	staging string
	arrays  *array.Snapshot
	taken   time.Time
}

// Clean removes the files of an interrupted backup from a data directory.
func Clean(dataDir string) error { return os.RemoveAll(filepath.Join(dataDir, stagingName)) }

// New starts a backup of a data directory; one at a time. It creates hard links of the journal's tables and a copy of
// the end of its log in the data directory, and keeps the files of deleted arrays until it is closed. Errors: errors of
// Checkpoint and of the disk.
func New(ctx context.Context, dataDir string, j Journal, arrays *array.Store) (*Backup, error) {
	if err := Clean(dataDir); err != nil {
		return nil, err
	}
	b := &Backup{staging: filepath.Join(dataDir, stagingName)}
	if err := os.Mkdir(b.staging, 0o700); err != nil {
		return nil, err
	}
	err := j.Checkpoint(ctx, b.journal(), func() { b.arrays, b.taken = arrays.Snapshot(), time.Now() })
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *Backup) journal() string { return filepath.Join(b.staging, "journal") }

// Close removes the files of the backup from the data directory.
func (b *Backup) Close() error {
	if b.arrays != nil {
		b.arrays.Close()
	}
	return os.RemoveAll(b.staging)
}

// Summary describes the written archive.
type Summary struct {
	Arrays int   `json:"arrays"`
	Bytes  int64 `json:"bytes"` // of all files
	// Damaged lists damaged arrays, which were omitted or copied unchanged, with the reason.
	Damaged []string `json:"damaged,omitempty"`
}

// Write writes the archive. Errors: errors of w and of the disk, and the cause of ctx; the archive is then incomplete,
// and Restore rejects it. Damaged arrays are not errors.
func (b *Backup) Write(ctx context.Context, w io.Writer) (Summary, error) {
	a := &archive{ctx: ctx, tar: tar.NewWriter(w), taken: b.taken, copied: make([]byte, 1<<20)}
	// A server does not start on a directory with the mark but without the last of the journal's files. So these are
	// first and last, and a partially extracted directory is never used.
	err := a.addFile(filepath.Join(b.journal(), journal.MarkName), journal.MarkName)
	if err == nil {
		err = a.addArrays(b.arrays)
	}
	if err == nil {
		err = a.addJournal(b.journal())
	}
	if err == nil {
		err = a.close()
	}
	if err != nil {
		return a.sum, fmt.Errorf("backup: %w", err)
	}
	return a.sum, nil
}

// archive is an archive being written.
type archive struct {
	ctx    context.Context //nolint:containedctx // of one Write
	tar    *tar.Writer
	taken  time.Time
	sums   bytes.Buffer
	sum    Summary
	copied []byte // a buffer
}

func (a *archive) addArrays(n *array.Snapshot) error {
	arrays := n.Arrays()
	dirs := map[string]bool{}
	for i := range arrays {
		s := &arrays[i]
		if s.Err != nil {
			a.damaged(s, fmt.Errorf("omitted: %w", s.Err))
			continue
		}
		if err := a.addDirs(dirs, arraysName, arraysName+"/"+s.Dir()); err != nil {
			return err
		}
		if err := a.addArray(s); err != nil {
			return fmt.Errorf("array %s of tenant %s: %w", s.Name, s.Tenant, err)
		}
	}
	return nil
}

// addDirs adds directories that the archive does not have, because tar(1) would create them with its own mode.
func (a *archive) addDirs(have map[string]bool, names ...string) error {
	for _, name := range names {
		if have[name] {
			continue
		}
		have[name] = true
		h := &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o700, ModTime: a.taken.Truncate(time.Second)}
		if err := a.tar.WriteHeader(h); err != nil {
			return err
		}
	}
	return nil
}

// addArray copies an array. A file that differs from the stored one is copied unchanged, and reported.
func (a *archive) addArray(s *array.SavedArray) error {
	files, err := s.Files()
	if err != nil {
		return err
	}
	for _, f := range files {
		from, err := f.Open()
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				s.Damaged("it is missing")
			}
			a.damaged(s, fmt.Errorf("omitted: %w", err))
			return nil
		}
		padded := &padder{Reader: from}
		sum, err := a.add(arraysName+"/"+f.Path, f.Bytes, padded)
		if err = errors.Join(err, from.Close()); err != nil {
			return err
		}
		switch {
		case errors.Is(padded.err, errShort):
			s.Damaged(errShort.Error())
			a.damaged(s, errShort)
		case padded.err != nil:
			a.damaged(s, padded.err)
		case f.SHA256 != "" && f.SHA256 != sum:
			s.Damaged(mismatch)
			a.damaged(s, errors.New(mismatch))
		}
	}
	a.sum.Arrays++
	return nil
}

const mismatch = "it does not match its SHA-256"

func (a *archive) damaged(s *array.SavedArray, err error) {
	a.sum.Damaged = append(a.sum.Damaged, fmt.Sprintf("array %s of tenant %s: %v", s.Name, s.Tenant, err))
}

var errShort = errors.New("its file is shorter than it was")

// padder continues with zeros where a file is unreadable, because its size is already in the archive.
type padder struct {
	io.Reader
	err error
}

func (p *padder) Read(b []byte) (int, error) {
	if p.err == nil {
		n, err := p.Reader.Read(b)
		if err == nil || n > 0 {
			return n, nil
		}
		if p.err = err; errors.Is(err, io.EOF) {
			p.err = errShort
		}
	}
	clear(b)
	return len(b), nil
}

// addJournal copies the files of a journal except the mark, in the order of their names.
func (a *archive) addJournal(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.Name() == journal.MarkName {
			continue
		}
		if err := a.addFile(filepath.Join(dir, f.Name()), f.Name()); err != nil {
			return err
		}
	}
	return nil
}

func (a *archive) addFile(path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	_, err = a.add(name, info.Size(), f)
	return err
}

// add adds a file of size bytes, and returns its SHA-256.
func (a *archive) add(name string, size int64, from io.Reader) (string, error) {
	if err := a.header(name, size); err != nil {
		return "", err
	}
	sum := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(a.tar, sum), contextReader{a.ctx, io.LimitReader(from, size)}, a.copied)
	if err == nil && n < size {
		err = fmt.Errorf("%s: %w", name, io.ErrUnexpectedEOF)
	}
	if err != nil {
		return "", err
	}
	text := hex.EncodeToString(sum.Sum(nil))
	fmt.Fprintf(&a.sums, "%s  %s\n", text, name)
	a.sum.Bytes += size
	return text, nil
}

func (a *archive) header(name string, size int64) error {
	return a.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: a.taken.Truncate(time.Second),
	})
}

// close adds the checksums and ends the archive.
func (a *archive) close() error {
	if err := a.header(sumsName, int64(a.sums.Len())); err != nil {
		return err
	}
	if _, err := a.sums.WriteTo(a.tar); err != nil {
		return err
	}
	return a.tar.Close()
}

// contextReader ends a copy when its context is done.
type contextReader struct {
	ctx context.Context //nolint:containedctx // of one copy
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}
