package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gather/internal/array"
	"gather/internal/array/arraytest"
	"gather/internal/backup"
	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/journal/journaltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// data is an open data directory.
type data struct {
	dir     string
	journal *journal.Journal
	arrays  *array.Store
}

func open(t *testing.T, dir string) *data {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Config{Dir: dir})
	must(t, err)
	arrays, err := array.Open(array.Config{Dir: filepath.Join(dir, "arrays")})
	must(t, err)
	t.Cleanup(func() { must(t, j.Close()) })
	return &data{dir: dir, journal: j, arrays: arrays}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (d *data) submit(t *testing.T) job.ID {
	t.Helper()
	id := job.NewID()
	s := job.Submitted{Spec: []byte("{}"), Job: job.Job{
		ID: id, Tenant: "t", Kind: "squares", Priority: job.Normal, State: job.Queued, Tasks: 1,
		Progress: job.Progress{Total: 1}, CreatedAt: time.Now().UTC(), Retention: time.Hour,
	}}
	must(t, journaltest.Append(t.Context(), d.journal, job.Batch{Entries: []job.Entry{{ID: id, Events: []job.Event{s}}}}))
	return id
}

// take makes a backup and calls meanwhile between the instant of the backup and its writing.
func (d *data) take(t *testing.T, meanwhile func()) ([]byte, backup.Summary) {
	t.Helper()
	b, err := backup.New(t.Context(), d.dir, d.journal, d.arrays)
	must(t, err)
	meanwhile()
	var out bytes.Buffer
	sum, err := b.Write(t.Context(), &out)
	must(t, errors.Join(err, b.Close()))
	return out.Bytes(), sum
}

// wantArray compares an array with the uploaded file.
func (d *data) wantArray(t *testing.T, name string, want []byte) {
	t.Helper()
	h, err := d.arrays.Acquire(t.Context(), "t", name)
	if err != nil {
		t.Errorf("array %s: %v, want its content", name, err)
		return
	}
	defer h.Close()
	got := make([]byte, len(want))
	if _, err := h.ReadAtContext(t.Context(), got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("array %s: %v, equal: %t, want the uploaded content", name, err, bytes.Equal(got, want))
	}
}

// A backup shows one instant: later changes of jobs and arrays are not in it.
func TestInstant(t *testing.T) {
	d := open(t, t.TempDir())
	first, second := arraytest.File(t, 100_000, 1), arraytest.File(t, 100_000, 2)
	for _, name := range []string{"kept", "replaced", "deleted"} {
		arraytest.MustPut(t, d.arrays, "t", name, first)
	}
	before := d.submit(t)
	var after job.ID
	archive, sum := d.take(t, func() {
		arraytest.MustPut(t, d.arrays, "t", "replaced", second)
		must(t, d.arrays.Delete(t.Context(), "t", "deleted", job.Precondition{}))
		arraytest.MustPut(t, d.arrays, "t", "new", second)
		after = d.submit(t)
	})
	if sum.Arrays != 3 || len(sum.Damaged) != 0 || sum.Bytes < 3*int64(len(first)) {
		t.Errorf("got %+v, want 3 arrays with their bytes, none damaged", sum)
	}
	if files, err := os.ReadDir(filepath.Join(d.dir, "arrays", "t-t")); err != nil || len(files) != 6 {
		t.Errorf("after the backup there are %v (%v), want 2 files for each of 3 arrays", files, err)
	}

	dir := filepath.Join(t.TempDir(), "new", "data")
	must(t, backup.Restore(bytes.NewReader(archive), dir))
	err := filepath.WalkDir(dir, func(path string, f fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := f.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v, want none for group and others", path, info.Mode())
		}
		return err
	})
	must(t, err)
	r := open(t, dir)
	for _, name := range []string{"kept", "replaced", "deleted"} {
		r.wantArray(t, name, first)
	}
	if _, err := r.arrays.Get(t.Context(), "t", "new"); !errors.Is(err, job.ErrArrayNotFound) {
		t.Errorf("an array after the instant: got %v, want %v", err, job.ErrArrayNotFound)
	}
	if _, err := r.journal.Get(t.Context(), "t", before); err != nil {
		t.Errorf("a job before the instant: got %v, want it", err)
	}
	if _, err := r.journal.Get(t.Context(), "t", after); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("a job after the instant: got %v, want %v", err, job.ErrNotFound)
	}
	if err := backup.Restore(bytes.NewReader(archive), dir); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("over a data directory: got %v, want that it is not empty", err)
	}
}

// Damaged arrays are reported and do not prevent a backup. One found during the copy is damaged in the copy too.
func TestDamagedArrays(t *testing.T) {
	d := open(t, t.TempDir())
	file := arraytest.File(t, 100_000, 1)
	for i := range file[128:] {
		file[128+i] = 1
	}
	names := []string{"good", "flipped", "short", "missing"}
	for _, name := range names {
		arraytest.MustPut(t, d.arrays, "t", name, file)
	}
	files := map[string]string{} // by the name of the array
	for _, name := range names {
		files[name] = d.file(t, name)
	}
	flipped := bytes.Clone(file)
	flipped[50_000] ^= 1
	must(t, os.WriteFile(files["flipped"], flipped, 0o600))
	must(t, os.Truncate(files["short"], 1000))
	must(t, os.Remove(files["missing"]))

	archive, sum := d.take(t, func() {})
	for _, name := range names[1:] {
		if !slices.ContainsFunc(sum.Damaged, func(s string) bool { return strings.Contains(s, "array "+name+" of tenant t") }) {
			t.Errorf("array %s is not reported: %q", name, sum.Damaged)
		}
	}
	if len(sum.Damaged) != 3 {
		t.Errorf("got %q, want three", sum.Damaged)
	}
	dir := t.TempDir()
	must(t, backup.Restore(bytes.NewReader(archive), dir))
	r := open(t, dir)
	r.wantArray(t, "good", file)
	for name, want := range map[string]error{"flipped": job.ErrCorrupt, "short": job.ErrCorrupt, "missing": job.ErrArrayNotFound} {
		h, err := r.arrays.Acquire(t.Context(), "t", name)
		if err == nil {
			_, err = h.ReadAtContext(t.Context(), make([]byte, len(file)), 0)
			must(t, h.Close())
		}
		if !errors.Is(err, want) {
			t.Errorf("array %s: got %v, want %v", name, err, want)
		}
	}
	// The first backup recorded the damage.
	if _, again := d.take(t, func() {}); again.Arrays != 1 || len(again.Damaged) != 3 {
		t.Errorf("again: got %+v, want one array, and three that are damaged", again)
	}
}

// file returns the file of an array.
func (d *data) file(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(d.dir, "arrays", "t-t")
	text, err := os.ReadFile(filepath.Join(dir, name+".json"))
	must(t, err)
	_, rest, _ := strings.Cut(string(text), `"file":"`)
	file, _, ok := strings.Cut(rest, `"`)
	if !ok {
		t.Fatalf("no file in %s", text)
	}
	return filepath.Join(dir, file)
}

// A truncated or modified archive is not restored: either no journal opens on the directory, or it has no jobs because
// nothing was extracted.
func TestDamagedArchive(t *testing.T) {
	d := open(t, t.TempDir())
	arraytest.MustPut(t, d.arrays, "t", "x", arraytest.File(t, 2000, 1))
	d.submit(t)
	archive, _ := d.take(t, func() {})
	end := len(archive) - 2*512 // the end marks of tar, which restore does not need
	try := func(what string, b []byte) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "d")
		if err := backup.Restore(bytes.NewReader(b), dir); !errors.Is(err, backup.ErrIncomplete) {
			t.Errorf("%s: got %v, want %v", what, err, backup.ErrIncomplete)
		}
		files, err := os.ReadDir(dir)
		must(t, err)
		if len(files) == 0 {
			return
		}
		j, err := journal.Open(t.Context(), journal.Config{Dir: dir})
		if !errors.Is(err, journal.ErrDamaged) {
			t.Errorf("%s: a server starts on the extracted files: %v, want %v", what, err, journal.ErrDamaged)
		}
		if err == nil {
			must(t, j.Close())
		}
	}
	for i := 0; i < end-600; i += max(1, end/40) {
		try("cut off", archive[:i])
	}
	for _, f := range contents(t, archive) {
		b := bytes.Clone(archive)
		b[f.at] ^= 1
		try("a bit of "+f.name, b)
	}
}

// content is the offset of a file's content in an archive.
type content struct {
	name string
	at   int
}

func contents(t *testing.T, archive []byte) (all []content) {
	t.Helper()
	in := bytes.NewReader(archive)
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		must(t, err)
		if h.Size > 0 {
			all = append(all, content{h.Name, len(archive) - in.Len()})
		}
	}
}

// An archive only writes into its directory.
func TestHostileArchive(t *testing.T) {
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeReg, Name: "../x"},
		{Typeflag: tar.TypeReg, Name: "/tmp/x"},
		{Typeflag: tar.TypeReg, Name: "a/../../x"},
		{Typeflag: tar.TypeSymlink, Name: "x", Linkname: "/etc"},
		{Typeflag: tar.TypeLink, Name: "x", Linkname: "../y"},
		{Typeflag: tar.TypeFifo, Name: "x"},
		{Typeflag: tar.TypeReg, Name: "."},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		must(t, errors.Join(w.WriteHeader(&h), w.Close()))
		parent := t.TempDir()
		if err := backup.Restore(&b, filepath.Join(parent, "d")); err == nil {
			t.Errorf("%+v was restored", h)
		}
		if files, err := os.ReadDir(parent); err != nil || len(files) != 1 {
			t.Errorf("%+v: beside the directory there is %v (%v)", h, files, err)
		}
	}
}

// The end of the context or of the reader ends a backup and removes its files.
func TestInterrupted(t *testing.T) {
	d := open(t, t.TempDir())
	arraytest.MustPut(t, d.arrays, "t", "x", arraytest.File(t, 100_000, 1))
	errGone := errors.New("gone")
	for name, write := range map[string]func(b *backup.Backup) error{
		"context": func(b *backup.Backup) error {
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(errGone)
			_, err := b.Write(ctx, io.Discard)
			return err
		},
		"reader": func(b *backup.Backup) error {
			_, err := b.Write(t.Context(), failing{errGone})
			return err
		},
	} {
		b, err := backup.New(t.Context(), d.dir, d.journal, d.arrays)
		must(t, err)
		must(t, d.arrays.Delete(t.Context(), "t", "x", job.Precondition{}))
		if err := write(b); !errors.Is(err, errGone) {
			t.Errorf("%s: got %v, want %v", name, err, errGone)
		}
		must(t, b.Close())
		for _, left := range []string{"backup.tmp", "arrays/t-t/*"} {
			if files, err := filepath.Glob(filepath.Join(d.dir, left)); err != nil || len(files) > 0 {
				t.Errorf("%s: %v stays (%v)", name, files, err)
			}
		}
		arraytest.MustPut(t, d.arrays, "t", "x", arraytest.File(t, 100_000, 1))
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
