package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"

	"gather"
	"gather/internal/api/apitest"
	"gather/internal/tenant"
)

var (
	surfaceSeed     = flag.Uint64("surface.seed", 1, "seed of TestSurface; 0 is a random one")
	surfaceDuration = flag.Duration("surface.duration", 2*time.Second, "duration of each part of TestSurface")
)

// maxSurfaceHeap bounds the live heap of the server and of the requests in flight. It excludes garbage, because on a
// busy machine the collector is late.
const maxSurfaceHeap = 128 << 20

// Requests generated from openapi.yaml, valid or not, get responses that conform to it, in bounded memory, and the
// server is healthy afterwards.
func TestSurface(t *testing.T) {
	seed := *surfaceSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Run("without keys", func(t *testing.T) { surface(t, seed, nil) })
	t.Run("with keys", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "keys.json")
		var sent []apitest.Key
		for _, k := range []apitest.Key{{Tenant: "acme"}, {Tenant: "acme"}, {Tenant: "acme", ReadOnly: true}, {Tenant: "other"}} {
			key, secret, err := tenant.Generate(k.Tenant, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			key.ReadOnly, k.Secret = k.ReadOnly, secret
			if k.Tenant == "other" {
				key.Rate, key.MaxQueued = &tenant.Rate{Jobs: 50, Window: tenant.Window(time.Second)}, 20
			}
			if err := tenant.AddToFile(file, key); err != nil {
				t.Fatal(err)
			}
			sent = append(sent, k)
		}
		surface(t, seed, sent, "--api-keys", file)
	})
}

func surface(t *testing.T, seed uint64, keys []apitest.Key, args ...string) {
	t.Helper()
	const maxBody = 1 << 20
	bucket := t.TempDir()
	if err := os.WriteFile(filepath.Join(bucket, "in.npy"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	srv, stop := launch(t, append(args, "--data-dir", filepath.Join(t.TempDir(), "data"), "--workers", "2", "--max-body", "1MiB",
		"--max-items", "20000", "--max-digits", "5000", "--max-chunks", "2000", "--max-outputs", "20000", "--max-array", "1MiB",
		"--array-quota", "8MiB", "--queue-jobs", "5000", "--queue-bytes", "64MiB", "--waiting-items", "100000", "--max-streams", "200",
		"--array-bucket", "file://"+bucket)...)
	peak := heapPeak(t)
	apitest.Exercise(t, apitest.Config{
		Address: srv.apiListener.Addr().String(), Spec: gather.Spec, Keys: keys, MaxBody: maxBody, Seed: seed, Duration: *surfaceDuration,
	})
	if most := peak(); most > maxSurfaceHeap {
		t.Errorf("the heap grew to %d MiB, want at most %d MiB", most>>20, maxSurfaceHeap>>20)
	} else {
		t.Logf("the heap grew to %d MiB", most>>20)
	}
	checkHealth(t, srv, keys)
	stop()
}

// checkHealth checks that a server is ready, runs a job correctly, and holds no memory of earlier requests.
func checkHealth(t *testing.T, srv *server, keys []apitest.Key) {
	t.Helper()
	send := func(method, url, body string) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Prefer", "wait=30")
		if len(keys) > 0 {
			r.Header.Set("Authorization", "Bearer "+keys[0].Secret)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s %s: got status %d %s, want 200", method, url, resp.StatusCode, data)
		}
		return string(data)
	}
	api, ops := "http://"+srv.apiListener.Addr().String(), "http://"+srv.opsListener.Addr().String()
	defer http.DefaultClient.CloseIdleConnections()
	send("GET", api+"/readyz", "")
	const want = `"values":[1,4]`
	if got := send("POST", api+"/v1/jobs", `{"kind":"squares","numbers":[1,2],"priority":"high"}`); !strings.Contains(got, want) {
		t.Errorf("got the job %s, want one with %s", got, want)
	}
	idle := []string{"gather_http_requests_in_flight 0", "gather_http_streams_open 0", "gather_http_body_bytes_in_flight 0"}
	until(t.Context(), t, 2*time.Minute, fmt.Sprintf("the metrics have %q", idle), func(context.Context) (bool, any) {
		got := send("GET", ops+"/metrics", "")
		return !slices.ContainsFunc(idle, func(line string) bool { return !strings.Contains(got, "\n"+line+"\n") }), got
	})
}

// heapPeak samples the heap until the returned function is called, which returns the peak.
func heapPeak(t *testing.T) func() uint64 {
	t.Helper()
	runtime.GC()
	done, most := make(chan struct{}), make(chan uint64)
	go func() {
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for peak := uint64(0); ; {
			metrics.Read(sample)
			peak = max(peak, sample[0].Value.Uint64())
			select {
			case <-done:
				most <- peak
				return
			case <-tick.C:
			}
		}
	}()
	return func() uint64 { close(done); return <-most }
}
