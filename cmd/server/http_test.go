package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gather/internal/tenant"
)

// receiver counts the requests of jobs by their Idempotency-Key. Every hundredth request fails once.
type receiver struct {
	*httptest.Server
	milestones
	takes time.Duration // of a request

	mu       sync.Mutex
	keys     map[string]int
	inFlight int
	most     int
	// cancelled is the id of a job that must send no more requests; late counts the requests that it still sent.
	cancelled string
	late      int
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{keys: make(map[string]int)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		key := req.Header.Get("Idempotency-Key")
		r.mu.Lock()
		if r.cancelled != "" && strings.HasPrefix(key, r.cancelled) {
			r.mu.Unlock()
			r.abandoned(req)
			return
		}
		r.keys[key]++
		n := r.keys[key]
		r.inFlight++
		r.most = max(r.most, r.inFlight)
		r.mu.Unlock()
		time.Sleep(r.takes)
		r.mu.Lock()
		r.inFlight--
		r.mu.Unlock()
		r.add()
		if n == 1 && strings.HasSuffix(key, "00") {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(req.URL.Path))
	}))
	t.Cleanup(r.Close)
	return r
}

// abandoned waits for the end of the connection of a request that a job sent before it was cancelled, and that was read later; a
// request whose connection stays is counted as sent too late.
func (r *receiver) abandoned(req *http.Request) {
	select {
	case <-req.Context().Done():
	case <-time.After(time.Minute):
		r.mu.Lock()
		defer r.mu.Unlock()
		r.late++
	}
}

// forbid counts from now on the requests of a job that has been cancelled.
func (r *receiver) forbid(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cancelled = id
}

// checkForbidden closes the receiver and tests that it has received no request of the cancelled job.
func (r *receiver) checkForbidden(t *testing.T) {
	t.Helper()
	r.Close()
	if r.late > 0 {
		t.Errorf("%d requests were sent after the job was cancelled, want 0", r.late)
	}
}

// order returns a job of n requests, and how its items are checked.
func (r *receiver) order(n int, more string) order {
	return order{
		body: fmt.Sprintf(`{"kind":"http_batch","request":{"method":"PUT","url":"%s/{i}"},"range":{"stop":%d},`+
			`"response_headers":[],"retry":{"attempts":9,"backoff":"20ms"}%s}`, r.URL, n, more),
		items: n, result: fmt.Sprint(n),
		check: func(index int, value string) string {
			if want := fmt.Sprintf(`{"status":200,"headers":{},"body":"/%d",`, index); !strings.HasPrefix(value, want) {
				return fmt.Sprintf("%s, want %s", value, want)
			}
			return ""
		},
	}
}

// sent returns how often the requests of a job were sent, and how many of its n requests never.
func (r *receiver) sent(id string, n int) (total, missing int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range n {
		times := r.keys[fmt.Sprintf("%s-%d", id, i)]
		total += times
		if times == 0 {
			missing++
		}
	}
	return total, missing
}

// check tests that every item of a job has one outcome, and that every request was sent.
func (r *receiver) check(t *testing.T, o *order, id string, items []item) {
	t.Helper()
	seen := make(map[int]bool)
	for _, it := range items {
		if seen[it.Index] {
			t.Errorf("item %d has two outcomes", it.Index)
		}
		seen[it.Index] = true
		if fault := o.check(it.Index, string(it.Value)); fault != "" {
			t.Errorf("item %d: %s", it.Index, fault)
		}
	}
	total, missing := r.sent(id, o.items)
	if len(seen) != o.items || missing > 0 {
		t.Errorf("%d items, %d requests never sent; want %d and 0", len(seen), missing, o.items)
	}
	t.Logf("%d requests were sent for %d items", total, o.items)
}

// A server that is killed in the middle of thousands of requests sends again those whose outcome is not recorded, and
// every item has one outcome. After `cancelled` nothing is sent.
func TestHTTPBatchCrash(t *testing.T) {
	t.Parallel()
	const n, kills = 10_000, 3
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	r := newReceiver(t)
	p := startProcess(t, "--http-allow=127.0.0.1")
	c := newClient(p)
	o := r.order(n, `,"concurrency":50,"rate":"4000/s"`)
	v, err := c.submit(ctx, o.body)
	if err != nil {
		t.Fatal(err)
	}
	for k := range kills {
		r.reach(ctx, (k+1)*n/(kills+1))
		p.kill()
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
	}
	if v, err = c.wait(ctx, v.ID); err != nil || v.State != "succeeded" || string(v.Result) != o.result {
		t.Fatalf("the job is %s, %v; want succeeded", v.outcome(), err)
	}
	items, err := c.results(ctx, v.ID)
	if err != nil {
		t.Fatal(err)
	}
	r.check(t, &o, v.ID, items)

	// A cancelled job.
	before := r.count()
	if v, err = c.submit(ctx, r.order(1_000_000, "").body); err != nil {
		t.Fatal(err)
	}
	r.reach(ctx, before+500)
	if _, err := c.api.Cancel(ctx, v.ID); err != nil {
		t.Fatal(err)
	}
	if v, err = c.wait(ctx, v.ID); err != nil || v.State != "cancelled" {
		t.Fatalf("the job is %s, %v; want cancelled", v.outcome(), err)
	}
	r.forbid(v.ID)
	last, err := c.submit(ctx, r.order(100, "").body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.wait(ctx, last.ID); err != nil {
		t.Fatal(err)
	}
	r.checkForbidden(t)
}

// A server that stops lets requests in flight end, and records their outcomes: nothing is sent twice.
func TestHTTPBatchDrain(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	r := newReceiver(t)
	p := startProcess(t, "--http-allow=127.0.0.1")
	c := newClient(p)
	const n = 2000
	body := strings.Replace(r.order(n, `,"concurrency":20,"rate":"2000/s","success":"200,503"`).body, `"attempts":9`, `"attempts":1`, 1)
	v, err := c.submit(ctx, body)
	if err != nil {
		t.Fatal(err)
	}
	r.reach(ctx, n/2)
	if code, err := p.stop(); code != 0 || err != nil {
		t.Fatalf("the server ended with %d, %v", code, err)
	}
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	if v, err = c.wait(ctx, v.ID); err != nil || v.State != "succeeded" {
		t.Fatalf("the job is %s, %v; want succeeded", v.outcome(), err)
	}
	if total, missing := r.sent(v.ID, n); total != n || missing != 0 {
		t.Errorf("%d requests were sent, %d of %d never; want each once", total, missing, n)
	}
}

// Each tenant has its own list of hosts and its own bounds, which SIGHUP reloads.
func TestHTTPTenants(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	r := newReceiver(t)
	r.takes = 5 * time.Millisecond
	content := tenant.File{Tenants: map[string]tenant.Settings{
		"open": {HTTPAllow: &[]string{"127.0.0.1"}, HTTPInFlight: 3}, "closed": {HTTPAllow: &[]string{}},
	}}
	keys := make(map[string]string)
	for _, name := range []string{"open", "closed", "other"} {
		key, text, err := tenant.Generate(name, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		content.Keys = append(content.Keys, key)
		keys[name] = text
	}
	file := filepath.Join(t.TempDir(), "keys.json")
	write := func() {
		t.Helper()
		data, err := json.Marshal(content)
		if err == nil {
			err = os.WriteFile(file, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write()
	p := startProcess(t, "--http-allow=api.example", "--api-keys="+file)
	c := newClient(p)
	status := func(name string) int {
		t.Helper()
		a, err := c.do(ctx, http.MethodPost, "/v1/jobs?validate_only=true", r.order(10, "").body, "Authorization", "Bearer "+keys[name])
		if err != nil {
			t.Fatal(err)
		}
		return a.status
	}
	for name, want := range map[string]int{"open": 200, "closed": 422, "other": 422} {
		if got := status(name); got != want {
			t.Errorf("tenant %s: got status %d, want %d", name, got, want)
		}
	}
	o := r.order(200, "")
	c = newClientAs(p, keys["open"])
	v, err := c.submit(ctx, o.body)
	if err == nil {
		v, err = c.wait(ctx, v.ID)
	}
	if err != nil || v.State != "succeeded" {
		t.Fatalf("the job is %s, %v; want succeeded", v.outcome(), err)
	}
	if r.most > 3 {
		t.Errorf("%d requests were in flight, want at most 3", r.most)
	}
	delete(content.Tenants, "closed")
	content.Tenants["open"] = tenant.Settings{}
	content.Tenants["other"] = tenant.Settings{HTTPAllow: &[]string{"127.0.0.1"}}
	write()
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for status("other") != 200 { // SIGHUP is not answered
		select {
		case <-ctx.Done():
			t.Fatal("the key file was not reloaded")
		case <-time.After(10 * time.Millisecond):
		}
	}
	if got := status("open"); got != 422 {
		t.Errorf("after a reload without its list: got status %d, want 422", got)
	}
}
