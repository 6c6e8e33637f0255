package api_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"gather/internal/api"
	"gather/internal/job"
	"gather/internal/npy"
)

// The result of a sum as .npy has a header and little-endian elements.
func TestResultAsNPY(t *testing.T) {
	s := newService(t)
	for _, tt := range []struct {
		spec  string
		query string
		dtype npy.Type
		shape []int64
		data  string // hexadecimal, a prefix
		size  int
	}{
		{`"array_sum","array":{"values":[1.5,-2]}}`, "", npy.Type{Kind: 'f', Size: 8}, []int64{}, "000000000000e0bf", 8},
		{`"array_sum","array":{"values":[[1,2],[3,-9]]},"axis":0}`, "", npy.Type{Kind: 'i', Size: 8}, []int64{2}, "0400000000000000f9ffffffffffffff", 16},
		{`"array_sum","array":{"values":[[1,2],[3,4]],"dtype":"uint8"},"axis":1,"keepdims":true,"dtype":"uint16"}`, "", npy.Type{Kind: 'u', Size: 2}, []int64{2, 1}, "03000700", 4},
		{`"array_sum","array":{"values":[[0.1,"NaN"],[0.2,1]],"dtype":"float32"},"axis":0}`, "", npy.Type{Kind: 'f', Size: 4}, []int64{2}, "9a99993e0000c07f", 8},
		{`"array_sum","array":{"values":[[1,-2],[0.1,"-Infinity"]],"dtype":"float16"},"axis":0}`, "", npy.Type{Kind: 'f', Size: 2}, []int64{2}, "663c00fc", 4},
		{`"array_sum","array":{"values":[[0.00006,0.0000001]],"dtype":"float16"},"axis":0}`, "", npy.Type{Kind: 'f', Size: 2}, []int64{2}, "ef030200", 4},
		{`"array_reduce","ops":["max"],"array":{"values":[[1,2],[3,-9]]},"axis":0}`, "", npy.Type{Kind: 'i', Size: 8}, []int64{2}, "03000000000000000200000000000000", 16},
		{`"array_reduce","ops":["any","mean"],"array":{"values":[[1,0],[3,0]]},"axis":0}`, "?op=any", npy.Type{Kind: 'b', Size: 1}, []int64{2}, "0100", 2},
		{`"array_reduce","ops":["any","mean"],"array":{"values":[1.5,-2]}}`, "?op=mean", npy.Type{Kind: 'f', Size: 8}, []int64{}, "000000000000d0bf", 8},
		// More elements than the job includes.
		{`"array_reduce","ops":["sum","min"],"array":{"source":"arange","stop":4000,"shape":[2000,2]},"axis":1}`, "?op=min", npy.Type{Kind: 'i', Size: 8}, []int64{2000}, "00000000000000000200000000000000", 16000},
		{`"array_sum","array":{"source":"arange","stop":4000,"shape":[2000,2]},"axis":1}`, "", npy.Type{Kind: 'i', Size: 8}, []int64{2000}, "01000000000000000500000000000000", 16000},
	} {
		j := s.finished(`{"kind":` + tt.spec)
		a := s.do("GET", path(j, "/results"+tt.query), "", "Accept: application/x-npy")
		if a.status != 200 {
			t.Errorf("%s: %d %s", tt.spec, a.status, a.body)
			continue
		}
		r := bytes.NewReader(a.body)
		h, err := npy.ParseHeader(r)
		if err != nil || h.Type != tt.dtype || len(h.Shape)+len(tt.shape) > 0 && !reflect.DeepEqual(h.Shape, tt.shape) {
			t.Errorf("%s: %+v, %v", tt.spec, h, err)
			continue
		}
		data := a.body[h.Offset:]
		if got := hex.EncodeToString(data); len(data) != tt.size || got[:len(tt.data)] != tt.data {
			t.Errorf("%s: %d bytes, %.40s, want %d, %s", tt.spec, len(data), got, tt.size, tt.data)
		}
	}
	for spec, want := range map[string]string{
		`{"kind":"squares","numbers":[1]}`:                                                                         "Only an array_sum",
		`{"kind":"array_sum","array":{"values":[9223372036854775807,1]}}`:                                          `Element 0 of the result in C order, 9223372036854775808, does not fit int64. Submit the sum with "dtype": "uint64", or read`,
		`{"kind":"array_sum","array":{"values":[[1,2],[300,400]]},"axis":1,"dtype":"int8"}`:                        `Element 1 of the result in C order, 700, does not fit int8. Submit the sum with "dtype": "int16", or read`,
		`{"kind":"array_sum","array":{"source":"full","fill_value":100,"shape":[2000,2]},"axis":1,"dtype":"int8"}`: `Element 0 of the result in C order, 200, does not fit int8. Submit the sum with "dtype": "int16", or read`,
	} {
		a := s.do("GET", path(s.finished(spec), "/results"), "", "Accept: application/x-npy")
		if got := decode[api.Problem](t, a.body); a.status != 406 || !strings.HasPrefix(*got.Detail, want) {
			t.Errorf("%s: %d %s, want 406 %s", spec, a.status, a.body, want)
		}
	}
	reduced := s.finished(`{"kind":"array_reduce","ops":["min","mean"],"array":{"values":[1]}}`)
	for query, accept := range map[string]string{"": "application/x-npy", "?op=max": "application/x-npy", "?op=min": "application/json"} {
		if a := s.do("GET", path(reduced, "/results"+query), "", "Accept: "+accept); a.status != 400 {
			t.Errorf("%q of two statistics as %s: got %d %s, want 400", query, accept, a.status, a.body)
		}
	}
	if a := s.do("GET", path(s.running(), "/results"), "", "Accept: application/x-npy"); a.status != 409 {
		t.Errorf("a running job: %d %s", a.status, a.body)
	}
}

// forgetful is a log whose items are deleted while they are read.
type forgetful struct{ itemLog }

type itemLog = api.Log

func (f forgetful) ItemsByIndex(ctx context.Context, id job.ID, after int64, limit int) ([]job.Item, error) {
	items, err := f.itemLog.ItemsByIndex(ctx, id, after, limit)
	return items[:len(items)/2], err
}

// A job that is deleted while its result is encoded is 410, not a truncated file.
func TestResultAsNPYOfADeletedJob(t *testing.T) {
	s := newService(t, func(_ *service, c *api.Config) { c.Log = forgetful{c.Log} })
	j := s.finished(`{"kind":"array_sum","array":{"source":"arange","stop":12000,"shape":[6000,2]},"axis":1}`)
	if a := s.do("GET", path(j, "/results"), "", "Accept: application/x-npy"); a.status != 410 {
		t.Errorf("%d, %d bytes", a.status, len(a.body))
	}
}

// Encoding a result counts as a stream until it ends.
func TestResultAsNPYTakesAStream(t *testing.T) {
	var full api.Config
	s := newService(t, func(_ *service, c *api.Config) {
		c.MaxStreams = 1
		full = *c
		full.MaxStreams, full.Registerer = -1, prometheus.NewRegistry()
	})
	results := path(s.finished(`{"kind":"array_sum","array":{"values":[1]}}`), "/results")
	for range 3 {
		if a := s.do("GET", results, "", "Accept: application/x-npy"); a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	handler, err := api.New(full)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), "GET", results, nil)
	r.Header.Set("Accept", "application/x-npy")
	w := httptest.NewRecorder()
	if handler.ServeHTTP(w, r); w.Code != 503 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
