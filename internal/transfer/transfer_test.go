package transfer_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"

	"gather/internal/job"
	"gather/internal/transfer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

var now = time.Date(2026, 11, 22, 10, 20, 30, 456789, time.UTC)

// sample is a job with a log of so many blocks of so many items.
func sample(blocks, items int) (job.Job, []job.Event) {
	view := job.Job{
		ID: job.NewID(), Tenant: "t", Kind: "squares", Priority: job.High, State: job.Queued, CreatedAt: now,
		Labels: map[string]string{"a": "b"}, Tasks: blocks, Progress: job.Progress{Total: int64(blocks * items)},
	}
	events := []job.Event{job.Submitted{Job: view}, job.Started{At: now}}
	for i := range blocks {
		var b job.Items
		for k := range items {
			b.Add(int64(i*items+k), fmt.Append(nil, k*k), time.Duration(k))
		}
		events = append(events, job.Advanced{Task: i, Done: true, Completed: int64(items), Items: b, Partial: []byte("p")})
	}
	var fold job.Job
	for _, e := range events {
		fold, _ = job.Apply(fold, e)
	}
	return fold, events
}

func logOf(events []job.Event) job.LogSeq {
	return func(yield func(job.LogRecord, error) bool) {
		seq := uint64(0)
		for _, e := range events {
			seq += job.Seqs(e)
			if !yield(job.LogRecord{Seq: seq, Event: e}, nil) {
				return
			}
		}
	}
}

// stream writes one of everything, and tells what a Reader must yield.
func stream(t testing.TB) (data []byte, want []string) {
	t.Helper()
	big, bigLog := sample(40, 3000)
	small, smallLog := sample(0, 0)
	content := bytes.Repeat([]byte("0123456789"), 70_000)
	arrays := []transfer.ArrayInfo{
		{Tenant: "t", Name: "a.npy", Bytes: int64(len(content)), SHA256: sha256.Sum256(content), CreatedAt: now},
		{Tenant: "ü", Name: "empty", CreatedAt: now},
	}
	key := job.KeyRecord{Hash: [32]byte{1, 2}, Fingerprint: [32]byte{3}, Expires: now, IDs: []job.ID{small.ID, big.ID}}
	stone := job.Tombstone{Tenant: "t", ID: job.NewID(), Expires: now}
	all := transfer.Totals{Arrays: 2, ArrayBytes: uint64(len(content)), Jobs: 2, Unfinished: 2, Keys: 1, Tombstones: 1}

	var b bytes.Buffer
	w, err := transfer.NewWriter(&b, all)
	must(t, err)
	must(t, w.Array(arrays[0], bytes.NewReader(content)))
	must(t, w.Array(arrays[1], strings.NewReader("")))
	must(t, w.Job(big, []byte("spec"), logOf(bigLog)))
	must(t, w.Job(small, nil, logOf(smallLog)))
	must(t, w.Key(key))
	must(t, w.Tombstone(stone))
	must(t, w.Close())
	return b.Bytes(), []string{
		arrayText(arrays[0], content), arrayText(arrays[1], nil), jobText(big, []byte("spec"), bigLog), jobText(small, nil, smallLog),
		fmt.Sprint(key), fmt.Sprint(stone),
	}
}

func arrayText(a transfer.ArrayInfo, content []byte) string {
	return fmt.Sprintf("%v %x", a, sha256.Sum256(content))
}

func jobText(view job.Job, spec []byte, log []job.Event) string {
	var b []byte
	for _, e := range log {
		b = job.AppendEvent(b, e)
	}
	return fmt.Sprintf("%s %x %q %d %x", view.ID, view.AppendBinary(nil), spec, len(log), sha256.Sum256(b))
}

// read reads a stream to its end or its fault; skip leaves out what is in pieces.
func read(in io.Reader, skip bool) (got []string, r *transfer.Reader, err error) {
	if r, err = transfer.NewReader(in); err != nil {
		return nil, nil, err
	}
	for {
		rec, err := r.Next()
		if err != nil {
			return got, r, err
		}
		switch {
		case rec.Array != nil && !skip:
			content, err := io.ReadAll(rec.Array)
			if err != nil {
				return got, r, err
			}
			got = append(got, arrayText(rec.Array.ArrayInfo, content))
		case rec.Job != nil && !skip:
			var log []job.Event
			for e, err := range rec.Job.Log() {
				if err != nil {
					return got, r, err
				}
				log = append(log, e.Event)
			}
			got = append(got, jobText(rec.Job.View, rec.Job.Spec, log))
		case rec.Key != nil:
			got = append(got, fmt.Sprint(*rec.Key))
		case rec.Tombstone != nil:
			got = append(got, fmt.Sprint(*rec.Tombstone))
		}
	}
}

func TestRoundTrip(t *testing.T) {
	data, want := stream(t)
	for name, in := range map[string]io.Reader{"whole": bytes.NewReader(data), "dribble": iotest.HalfReader(bytes.NewReader(data))} {
		got, r, err := read(in, false)
		if !errors.Is(err, io.EOF) || strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("%s: %v\n%.500q\nwant\n%.500q", name, err, got, want)
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) || r.Done() != r.Totals() {
			t.Error(err, r.Done())
		}
	}
	got, r, err := read(bytes.NewReader(data), true)
	if !errors.Is(err, io.EOF) || len(got) != 2 || r.Done() != r.Totals() {
		t.Error(got, err)
	}
}

// Wherever the stream is cut off, what came before is whole and the rest is missed.
func TestTruncated(t *testing.T) {
	data, want := stream(t)
	for n := 0; n < len(data); n += 1 + n/40 + n%7 {
		for _, skip := range []bool{true, false} {
			got, r, err := read(bytes.NewReader(data[:n]), skip)
			if n == 0 {
				if !errors.Is(err, transfer.ErrFormat) {
					t.Error(err)
				}
				continue
			}
			if !errors.Is(err, transfer.ErrTruncated) {
				t.Fatalf("cut at %d of %d: %v", n, len(data), err)
			}
			for i := range got {
				if !skip && got[i] != want[i] {
					t.Fatalf("cut at %d: %q", n, got[i])
				}
			}
			if r != nil && !strings.Contains(err.Error(), "of 2 jobs") {
				t.Error(err)
			}
		}
	}
	_, _, err := read(bytes.NewReader(data[:len(data)/2]), false)
	if err == nil || !strings.Contains(err.Error(), "in job ") || !strings.Contains(err.Error(), "missing are 0 of 2 arrays, 2 of 2 jobs, 1 of 1") {
		t.Error(err)
	}
}

// No byte can change, and none can be there twice.
func TestDamaged(t *testing.T) {
	data, _ := stream(t)
	for n := 0; n < len(data); n += 1 + n/40 {
		bad := bytes.Clone(data)
		bad[n] ^= 0x11
		if _, _, err := read(bytes.NewReader(bad), n%2 == 0); err == nil || errors.Is(err, io.EOF) {
			t.Fatalf("byte %d changed, and %v", n, err)
		}
	}
	if _, _, err := read(bytes.NewReader(append(bytes.Clone(data), 0)), false); !errors.Is(err, transfer.ErrDamaged) {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"text":           {[]byte("{}"), transfer.ErrFormat},
		"long text":      {[]byte(strings.Repeat("hello ", 99)), transfer.ErrFormat},
		"version":        {transfer.AppendHead(nil, 2), transfer.ErrVersion},
		"no totals":      {transfer.AppendRecord(transfer.AppendHead(nil, 1), 0, 'E', nil), transfer.ErrDamaged},
		"huge record":    {append(transfer.AppendHead(nil, 1), 'H', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), transfer.ErrDamaged},
		"long and short": {append(transfer.AppendHead(nil, 1), 'H', 0xff, 0xff, 0xff, 0x7f), transfer.ErrTruncated},
	} {
		if _, _, err := read(bytes.NewReader(c.data), false); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Records that are whole by themselves must fit together.
func TestMisfits(t *testing.T) {
	view, events := sample(1, 3)
	info := transfer.ArrayInfo{Tenant: "t", Name: "a", Bytes: 3, CreatedAt: now}
	parts := func(all transfer.Totals, write func(w *transfer.Writer) error) []byte {
		var b bytes.Buffer
		w, err := transfer.NewWriter(&b, all)
		must(t, err)
		must(t, write(w))
		must(t, w.Close())
		return b.Bytes()
	}
	jobs := parts(transfer.Totals{Jobs: 1, Unfinished: 1}, func(w *transfer.Writer) error { return w.Job(view, nil, logOf(events)) })
	arrays := parts(transfer.Totals{Arrays: 1, ArrayBytes: 3}, func(w *transfer.Writer) error { return w.Array(info, strings.NewReader("abc")) })
	for name, c := range map[string]struct {
		data   []byte
		change func(kinds []byte, payloads [][]byte) ([]byte, [][]byte)
	}{
		"a log without its end": {jobs, func(k []byte, p [][]byte) ([]byte, [][]byte) {
			return append(k[:3:3], k[4:]...), append(p[:3:3], p[4:]...)
		}},
		"no log": {jobs, func(k []byte, p [][]byte) ([]byte, [][]byte) {
			return append(k[:2:2], k[3:]...), append(p[:2:2], p[3:]...)
		}},
		"a log twice": {jobs, func(k []byte, p [][]byte) ([]byte, [][]byte) {
			return append(k[:3:3], k[2:]...), append(p[:3:3], p[2:]...)
		}},
		"no job": {jobs, func(k []byte, p [][]byte) ([]byte, [][]byte) { return []byte{k[0], k[4]}, [][]byte{p[0], p[4]} }},
		"a job twice": {jobs, func(k []byte, p [][]byte) ([]byte, [][]byte) {
			return append(k[:4:4], k[1:]...), append(p[:4:4], p[1:]...)
		}},
		"an array twice": {arrays, func(k []byte, p [][]byte) ([]byte, [][]byte) {
			return append(k[:4:4], k[1:]...), append(p[:4:4], p[1:]...)
		}},
		"more bytes": {arrays, func(k []byte, p [][]byte) ([]byte, [][]byte) {
			return append(k[:3:3], k[2:]...), append(p[:3:3], p[2:]...)
		}},
		"fewer bytes":     {arrays, func(k []byte, p [][]byte) ([]byte, [][]byte) { p[2] = []byte("ab"); return k, p }},
		"an unknown kind": {arrays, func(k []byte, p [][]byte) ([]byte, [][]byte) { k[1] = 'Q'; return k, p }},
		"no view":         {jobs, func(k []byte, p [][]byte) ([]byte, [][]byte) { p[1] = p[1][:9]; return k, p }},
		"no event":        {jobs, func(k []byte, p [][]byte) ([]byte, [][]byte) { p[2] = []byte{99}; return k, p }},
	} {
		kinds, payloads := split(t, c.data)
		if _, _, err := read(bytes.NewReader(join(kinds, payloads)), false); !errors.Is(err, io.EOF) {
			t.Fatal("the test does not know the format:", err)
		}
		kinds, payloads = c.change(kinds, payloads)
		for _, skip := range []bool{false, true} {
			if name == "no event" && skip { // nobody looks
				continue
			}
			if _, _, err := read(bytes.NewReader(join(kinds, payloads)), skip); !errors.Is(err, transfer.ErrDamaged) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// split takes a small stream apart; join is the inverse, with right checksums.
func split(t *testing.T, data []byte) (kinds []byte, payloads [][]byte) {
	t.Helper()
	for data = data[12:]; len(data) > 0; {
		n, width := int(data[1]), 1
		if n >= 0x80 {
			n, width = n&0x7f|int(data[2])<<7, 2
		}
		kinds = append(kinds, data[0])
		payloads = append(payloads, bytes.Clone(data[1+width:1+width+n]))
		data = data[1+width+n+4:]
	}
	return kinds, payloads
}

func join(kinds []byte, payloads [][]byte) []byte {
	b := transfer.AppendHead(nil, transfer.Version)
	for i := range kinds {
		b = transfer.AppendRecord(b, uint64(i), kinds[i], payloads[i])
	}
	return b
}

func TestWriterFaults(t *testing.T) {
	view, events := sample(1, 3)
	errIn := errors.New("cannot be read")
	for name, write := range map[string]func(w *transfer.Writer) error{
		"log ends early": func(w *transfer.Writer) error { return w.Job(view, nil, logOf(events[:2])) },
		"log fails": func(w *transfer.Writer) error {
			return w.Job(view, nil, func(yield func(job.LogRecord, error) bool) { yield(job.LogRecord{}, errIn) })
		},
		"array ends early": func(w *transfer.Writer) error {
			return w.Array(transfer.ArrayInfo{Bytes: 10}, strings.NewReader("short"))
		},
		"array fails":     func(w *transfer.Writer) error { return w.Array(transfer.ArrayInfo{Bytes: 10}, iotest.ErrReader(errIn)) },
		"less than said":  func(w *transfer.Writer) error { return w.Close() },
		"other than said": func(w *transfer.Writer) error { return errors.Join(w.Key(job.KeyRecord{}), w.Close()) },
	} {
		w, err := transfer.NewWriter(io.Discard, transfer.Totals{Jobs: 1})
		must(t, err)
		if err := write(w); err == nil {
			t.Error(name)
		}
	}
	w, err := transfer.NewWriter(failing{errIn}, transfer.Totals{})
	if err == nil {
		err = w.Close()
	}
	if !errors.Is(err, errIn) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// FuzzReader makes records of anything, with right checksums, and reads them: it must end, and yield nothing that cannot
// be written again.
func FuzzReader(f *testing.F) {
	view, events := sample(1, 3)
	var b bytes.Buffer
	w, err := transfer.NewWriter(&b, transfer.Totals{Jobs: 1, Unfinished: 1, Keys: 1, Tombstones: 1, Arrays: 1, ArrayBytes: 3})
	must(f, err)
	must(f, w.Array(transfer.ArrayInfo{Tenant: "t", Name: "a", Bytes: 3}, strings.NewReader("abc")))
	must(f, w.Job(view, []byte("{}"), logOf(events)))
	must(f, w.Key(job.KeyRecord{IDs: []job.ID{view.ID}, Expires: now}))
	must(f, w.Tombstone(job.Tombstone{Tenant: "t", ID: view.ID, Expires: now}))
	must(f, w.Close())
	f.Add(b.Bytes(), false)
	// The same, as a chain of kind, length in two bytes, payload.
	f.Add(chain(b.Bytes()), true)
	f.Fuzz(func(t *testing.T, data []byte, framed bool) {
		if framed {
			data = frame(data)
		}
		r, err := transfer.NewReader(bytes.NewReader(data))
		if err != nil {
			return
		}
		var out bytes.Buffer
		w, err := transfer.NewWriter(&out, r.Totals())
		must(t, err)
		for {
			rec, err := r.Next()
			switch {
			case errors.Is(err, io.EOF):
				if err := w.Close(); err != nil {
					t.Fatalf("read to the end, but %v", err)
				}
				if _, _, err := read(&out, false); !errors.Is(err, io.EOF) {
					t.Fatal("written again, but", err)
				}
				return
			case err != nil:
				return
			case rec.Array != nil:
				err = w.Array(rec.Array.ArrayInfo, rec.Array)
			case rec.Job != nil:
				err = w.Job(rec.Job.View, rec.Job.Spec, rec.Job.Log())
			case rec.Key != nil:
				err = w.Key(*rec.Key)
			case rec.Tombstone != nil:
				err = w.Tombstone(*rec.Tombstone)
			}
			if err != nil {
				return
			}
		}
	})
}

func chain(data []byte) (c []byte) {
	for data = data[12:]; len(data) > 0; {
		n, width := int(data[1]), 1
		if n >= 0x80 {
			n, width = n&0x7f|int(data[2])<<7, 2
		}
		c = append(append(c, data[0], byte(n>>8), byte(n)), data[1+width:1+width+n]...)
		data = data[1+width+n+4:]
	}
	return c
}

func frame(c []byte) []byte {
	b := transfer.AppendHead(nil, transfer.Version)
	for i := uint64(0); len(c) >= 3; i++ {
		n := min(int(c[1])<<8|int(c[2]), len(c)-3)
		b = transfer.AppendRecord(b, i, c[0], c[3:3+n])
		c = c[3+n:]
	}
	return b
}
