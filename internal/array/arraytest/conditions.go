package arraytest

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"

	"gather/internal/array"
	"gather/internal/job"
)

func match(tags ...string) job.Precondition {
	return job.Precondition{Match: append([]string{}, tags...)}
}
func noneMatch(tags ...string) job.Precondition { return job.Precondition{NoneMatch: tags} }

// A change whose precondition fails changes nothing; this holds for concurrent changes too.
func preconditions(t *testing.T, p Place) {
	s := p.Open(t, array.Limits{})
	put := func(name string, tag byte, c job.Precondition) error {
		_, _, err := s.Put(t.Context(), "acme", name, bytes.NewReader(File(t, 10, tag)), job.ArrayUpload{Bytes: -1, Precondition: c})
		return err
	}
	want := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", what, err, want)
		}
	}
	want("replace a missing array", put("x", 1, match("*")), job.ErrPrecondition)
	want("delete a missing array", s.Delete(t.Context(), "acme", "x", match("*")), job.ErrArrayNotFound)
	want("create", put("x", 1, noneMatch("*")), nil)
	first, err := s.Get(t.Context(), "acme", "x")
	want("get", err, nil)
	want("create again", put("x", 2, noneMatch("*")), job.ErrPrecondition)
	want("replace another", put("x", 2, match("other")), job.ErrPrecondition)
	want("replace none of nothing", put("x", 2, match()), job.ErrPrecondition)
	want("replace but this one", put("x", 2, noneMatch(first.SHA256)), job.ErrPrecondition)
	want("delete another", s.Delete(t.Context(), "acme", "x", match("other")), job.ErrPrecondition)
	if a, err := s.Get(t.Context(), "acme", "x"); err != nil || a.SHA256 != first.SHA256 {
		t.Errorf("after rejected changes: got %+v, %v", a, err)
	}
	if n := p.Uploads(t); n != 1 {
		t.Errorf("got %d uploads, want 1", n)
	}
	want("replace this one", put("x", 2, match("other", first.SHA256)), nil)
	want("replace this one again", put("x", 3, match(first.SHA256)), job.ErrPrecondition)
	second, err := s.Get(t.Context(), "acme", "x")
	want("get", err, nil)
	want("delete but this one", s.Delete(t.Context(), "acme", "x", noneMatch(second.SHA256)), job.ErrPrecondition)
	want("delete this one", s.Delete(t.Context(), "acme", "x", match(second.SHA256)), nil)

	// Of several uploads with If-None-Match: * exactly one creates the array, in any order of arrival.
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		wg.Go(func() { errs[i] = put("y", byte(i), noneMatch("*")) })
	}
	wg.Wait()
	created := 0
	for _, err := range errs {
		if err == nil {
			created++
		} else {
			want("create at the same time", err, job.ErrPrecondition)
		}
	}
	if n := p.Uploads(t); created != 1 || n != 1 {
		t.Errorf("%d created it, %d uploads are left, want 1 and 1", created, n)
	}
}

// An open file can be read at any offset, and does not prevent deleting the array.
func openFile(t *testing.T, p Place) {
	s := p.Open(t, array.Limits{})
	data := File(t, 200_000, 7)
	put := MustPut(t, s, "acme", "x", data)
	a, f, err := p.Open(t, array.Limits{}).Open(t.Context(), "acme", "x")
	if err != nil || a.SHA256 != put.SHA256 || a.Bytes != int64(len(data)) {
		t.Fatalf("got %+v, %v, want %+v", a, err, put)
	}
	got := make([]byte, len(data)+1)
	if n, err := f.ReadAtContext(t.Context(), got, 0); !errors.Is(err, io.EOF) || !bytes.Equal(got[:n], data) {
		t.Errorf("got %d bytes and %v, want the %d uploaded and EOF", n, err, len(data))
	}
	if n, err := f.ReadAtContext(t.Context(), got[:10], 128); n != 10 || err != nil || !bytes.Equal(got[:10], data[128:138]) {
		t.Errorf("a range: got %d bytes and %v", n, err)
	}
	if a, err := s.Get(t.Context(), "acme", "x"); err != nil || a.InUse {
		t.Errorf("got %+v, %v, want an array that is not in use", a, err)
	}
	if err := s.Delete(t.Context(), "acme", "x", job.Precondition{}); err != nil {
		t.Errorf("delete: got %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := s.Open(t.Context(), "acme", "x"); !errors.Is(err, job.ErrArrayNotFound) {
		t.Errorf("got %v, want ErrArrayNotFound", err)
	}
}

// An array with an unreadable record does not affect others, and can be replaced and deleted.
func damagedRecord(t *testing.T, p Place) {
	before := p.Open(t, array.Limits{})
	for _, name := range []string{"a", "bad", "worse", "z"} {
		MustPut(t, before, "acme", name, File(t, 100, 1))
	}
	p.DamageRecord(t, "acme", "bad")
	p.DamageRecord(t, "acme", "worse")
	s := p.Open(t, array.Limits{TenantBytes: 10_000})
	list, err := s.List(t.Context(), "acme", "", 10)
	if err != nil || len(list) != 4 || list[0].Damaged || !list[1].Unreadable || list[1].Name != "bad" || list[3].Name != "z" {
		t.Fatalf("got %+v, %v, want four arrays, two of them damaged", list, err)
	}
	if _, err := s.Get(t.Context(), "acme", "bad"); !errors.Is(err, job.ErrArrayDamaged) {
		t.Errorf("get: got %v, want ErrArrayDamaged", err)
	}
	if _, err := s.Acquire(t.Context(), "acme", "bad"); !errors.Is(err, job.ErrCorrupt) {
		t.Errorf("acquire: got %v, want ErrCorrupt", err)
	}
	if _, _, err := s.Open(t.Context(), "acme", "bad"); !errors.Is(err, job.ErrArrayDamaged) {
		t.Errorf("open: got %v, want ErrArrayDamaged", err)
	}
	for _, name := range []string{"a", "z"} {
		_, end := Acquire(t, s, "acme", name)
		end()
	}
	if n := p.Uploads(t); n != 4 {
		t.Errorf("got %d uploads, want 4: none is removed while its array is unknown", n)
	}
	if err := s.Delete(t.Context(), "acme", "bad", match("*")); err != nil {
		t.Errorf("delete: got %v", err)
	}
	if _, created, err := Put(t, s, "acme", "worse", File(t, 10, 2)); err != nil || created {
		t.Errorf("replace: got created %t, %v", created, err)
	}
	MustPut(t, s, "acme", "more", File(t, 100, 1)) // the usage is correct
	list, err = p.Open(t, array.Limits{}).List(t.Context(), "acme", "", 10)
	if err != nil || len(list) != 4 || list[2].Name != "worse" || list[2].Damaged || list[2].Shape[0] != 10 {
		t.Errorf("after that: got %+v, %v", list, err)
	}
}
