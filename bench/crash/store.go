package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"gather/internal/npy"
)

// maxObject is the largest number of integers of an object: one task sums it.
const maxObject = 200_000

// bucketSum is a sum of an object of the store, whose task is repeated until the store sends the object.
func bucketSum(rng *rand.Rand) order {
	n := 1 + rng.Int64N(maxObject)
	o := sum(fmt.Sprintf(`{"source":"npy","url":"s3://crash/%d.npy"}`, n), strconv.FormatInt(n*(n-1)/2, 10))
	o.spec += `,"retry":{"attempts":20,"backoff":"300ms","max_backoff":"1s"}`
	return o
}

// startStore starts an object store whose object N.npy has the integers below N. It rejects the first N%4 reads of its elements, with a
// status that the client of S3 does not repeat itself. The caller must close it.
func startStore(ctx context.Context) (*httptest.Server, error) {
	var mu sync.Mutex
	rejected := make(map[int64]int64)
	return serve(ctx, func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(strings.TrimSuffix(path.Base(r.URL.Path), ".npy"), 10, 64)
		if err != nil || n > maxObject {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		var lo, hi int64
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &lo, &hi); err == nil && hi-lo >= npy.MaxHeader {
			mu.Lock()
			rejected[n]++
			reject := rejected[n] <= n%4
			mu.Unlock()
			if reject {
				w.WriteHeader(http.StatusForbidden)
				return
			}
		}
		var file bytes.Buffer
		_, _ = npy.WriteHeader(&file, npy.Type{Kind: 'i', Size: 8}, []int64{n}) // of a valid type and shape
		data := file.Bytes()
		for i := range n {
			data = binary.LittleEndian.AppendUint64(data, uint64(i))
		}
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(data)) // the client of S3 needs a time
	})
}

// serve starts a server on a free port of the loopback interface.
func serve(ctx context.Context, handle http.HandlerFunc) (*httptest.Server, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{ReadHeaderTimeout: requestTimeout, Handler: handle}}
	s.Start()
	return s, nil
}

// A failedAttempt is an event of an attempt of a task that failed and is repeated.
type failedAttempt struct {
	Task     int `json:"task"`
	Attempts int `json:"attempts"`
}

// checkAttempts checks a stream of a job with one task: each failed attempt is in it once, with its number, and the job counts them.
func (c *checker) checkAttempts(id string, got *reading) {
	for i, a := range got.attempts {
		if a != (failedAttempt{0, i + 1}) {
			c.violation("job %s: attempt %d of task %d is at position %d", id, a.Attempts, a.Task, i+1)
			return
		}
	}
	if got.last != nil && got.seqs != nil && got.last.Retries != len(got.attempts) {
		c.violation("job %s has %d retries, its events have %d", id, got.last.Retries, len(got.attempts))
	}
}

// failedRetention is the retention of failed jobs that a submission has; "" for none.
func (s *submission) failedRetention() string {
	if s.retryOf == "" && share(s.label, 4) {
		return "48h0m0s"
	}
	return ""
}
