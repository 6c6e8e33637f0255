package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gather/internal/job"
	"gather/internal/journal"
)

// importRun runs 'gather import' from a data directory.
func importRun(t *testing.T, from string, args ...string) (code int, stderr string) {
	t.Helper()
	code, _, stderr = cliRun(t, append([]string{"import", "--from", from}, args...)...)
	return code, stderr
}

// importFixture has the content of a server, and repeats its submissions.
type importFixture struct {
	t    *testing.T
	file []byte
	// ids are the jobs by name, bodies their submissions.
	ids, bodies map[string]string
}

// submit submits a job under a key with its name.
func (h *importFixture) submit(api, name, body string, header ...string) (int, map[string]any) {
	h.t.Helper()
	h.bodies[name] = body
	return call(h.t, "POST", api+"/v1/jobs", "application/json", []byte(body), append(header, "Idempotency-Key", "key of "+name)...)
}

// newImportFixture submits jobs in all states and an array.
func newImportFixture(t *testing.T, api string) *importFixture {
	t.Helper()
	h := &importFixture{t: t, file: float64s(t, 200_000), ids: map[string]string{}, bodies: map[string]string{}}
	if status, v := call(t, "PUT", api+"/v1/arrays/x", "application/x-npy", h.file); status != http.StatusCreated {
		t.Fatalf("%d %v", status, v)
	}
	for name, body := range map[string]string{
		"queued":       `{"kind":"squares","range":{"start":0,"stop":10},"start_after":"1h"}`,
		"queued array": `{"kind":"array_sum","array":{"source":"npy","name":"x"},"start_after":"1h"}`,
		"cancelled":    `{"kind":"sleep_batch","durations":["1h"]}`,
		"running":      `{"kind":"sleep_batch","durations":["1ms","2ms","1h"]}`,
	} {
		status, v := h.submit(api, name, body)
		if status != http.StatusAccepted {
			t.Fatalf("%s: %d %v", name, status, v)
		}
		h.ids[name] = fmt.Sprint(v["id"])
	}
	if status, v := h.submit(api, "held", fmt.Sprintf(`{"kind":"squares","numbers":[1],"after":[%q]}`, h.ids["running"])); status != http.StatusAccepted {
		t.Fatalf("held: %d %v", status, v)
	} else {
		h.ids["held"] = fmt.Sprint(v["id"])
	}
	for name, body := range map[string]string{
		"succeeded": `{"kind":"squares","range":{"start":0,"stop":20000}}`,
		"array":     `{"kind":"array_sum","array":{"source":"npy","name":"x"}}`,
		"failed":    `{"kind":"sleep_batch","durations":["1h"],"timeout":"10ms"}`,
		"deleted":   `{"kind":"squares","numbers":[1]}`,
	} {
		status, v := h.submit(api, name, body, "Prefer", "wait=20")
		if status != http.StatusOK {
			t.Fatalf("%s: %d %v", name, status, v)
		}
		h.ids[name] = fmt.Sprint(v["id"])
	}
	if status, v := call(t, "POST", api+"/v1/jobs/"+h.ids["cancelled"]+"/cancel", "", nil); status/100 != 2 {
		t.Fatalf("%d %v", status, v)
	}
	if status, v := call(t, "GET", api+"/v1/jobs/"+h.ids["cancelled"], "", nil, "Prefer", "wait=20"); v["state"] != "cancelled" {
		t.Fatalf("%d %v", status, v)
	}
	if status, _ := call(t, "DELETE", api+"/v1/jobs/"+h.ids["deleted"], "", nil); status != http.StatusNoContent {
		t.Fatal(status)
	}
	awaitItems(t, api+"/v1/jobs/"+h.ids["running"], 2)
	h.schedule(api)
	return h
}

// schedule creates a schedule that has one run, and a pause.
func (h *importFixture) schedule(api string) {
	h.t.Helper()
	body := []byte(`{"cron":"30 4 1 1 *","time_zone":"Europe/Berlin","overlap":"queue","submission":{"kind":"squares","numbers":[7]}}`)
	if status, v := call(h.t, "PUT", api+"/v1/schedules/yearly", "application/json", body); status != http.StatusCreated {
		h.t.Fatalf("%d %v", status, v)
	}
	status, v := call(h.t, "POST", api+"/v1/schedules/yearly/run", "", nil, "Idempotency-Key", "key of run")
	if status != http.StatusAccepted {
		h.t.Fatalf("%d %v", status, v)
	}
	h.ids["run"] = fmt.Sprint(v["id"])
	if status, v := call(h.t, "GET", api+"/v1/jobs/"+h.ids["run"], "", nil, "Prefer", "wait=20"); v["state"] != "succeeded" {
		h.t.Fatalf("%d %v", status, v)
	}
	if status, v := call(h.t, "PUT", api+"/v1/pauses/priority/low", "application/json", []byte(`{"reason":"a move"}`)); status != http.StatusCreated {
		h.t.Fatalf("%d %v", status, v)
	}
}

// snapshot returns everything that a server shows of the jobs.
func (h *importFixture) snapshot(api string) map[string]string {
	h.t.Helper()
	seen := make(map[string]string)
	for name, id := range h.ids {
		status, v := call(h.t, "GET", api+"/v1/jobs/"+id, "", nil)
		for _, passing := range []string{"queue_position", "request_id", "durability"} {
			delete(v, passing)
		}
		if p, ok := v["progress"].(map[string]any); ok {
			delete(p, "eta_seconds")
		}
		_, items := call(h.t, "GET", api+"/v1/jobs/"+id+"/results?limit=50&order=index", "", nil)
		delete(items, "request_id")
		seen[name] = fmt.Sprint(status, v, items)
	}
	for _, path := range []string{"schedules/yearly", "schedules/yearly/runs", "pauses"} {
		status, v := call(h.t, "GET", api+"/v1/"+path, "", nil)
		seen[path] = fmt.Sprint(status, v)
	}
	return seen
}

// check compares a server's jobs with a snapshot of another one, and repeats every submission.
func (h *importFixture) check(api string, want map[string]string) {
	h.t.Helper()
	for name, part := range map[string]string{
		"succeeded": "items:[", "schedules/yearly": h.ids["run"], "schedules/yearly/runs": "manual:true", "pauses": "a move",
	} {
		if !strings.Contains(want[name], part) {
			h.t.Errorf("%s: %s, want one with %s", name, want[name], part)
		}
	}
	for name, got := range h.snapshot(api) {
		if got != want[name] {
			h.t.Errorf("%s:\n%s, before\n%s", name, got, want[name])
		}
	}
	for name, body := range h.bodies {
		if name == "deleted" {
			continue
		}
		if status, v := h.submit(api, name, body); status/100 != 2 || v["id"] != h.ids[name] {
			h.t.Errorf("%s sent again: %d %v", name, status, v)
		}
	}
	if status, v := call(h.t, "POST", api+"/v1/schedules/yearly/run", "", nil, "Idempotency-Key", "key of run"); status != http.StatusAccepted || v["id"] != h.ids["run"] {
		h.t.Errorf("the run sent again: %d %v, want job %s", status, v, h.ids["run"])
	}
	other := []byte(`{"kind":"squares","numbers":[2]}`)
	if status, v := call(h.t, "POST", api+"/v1/jobs", "application/json", other, "Idempotency-Key", "key of queued"); status != http.StatusUnprocessableEntity {
		h.t.Errorf("a key with another body: %d %v", status, v)
	}
	status, v := call(h.t, "GET", api+"/v1/arrays/x", "", nil)
	if used, ok := v["in_use"].(bool); status != http.StatusOK || !ok || !used {
		h.t.Errorf("the array of a queued job: %d %v", status, v)
	}
	if status, _ := call(h.t, "DELETE", api+"/v1/arrays/x", "", nil); status != http.StatusConflict {
		h.t.Errorf("delete the array of a queued job: %d", status)
	}
}

// stoppedServer returns the data directory of a stopped server, and a snapshot from before.
func stoppedServer(t *testing.T) (h *importFixture, seen map[string]string, data string) {
	t.Helper()
	data = filepath.Join(t.TempDir(), "data")
	srv, stop := launch(t, "--data-dir", data, "--drain-timeout", "1ms")
	api := "http://" + srv.apiListener.Addr().String()
	h = newImportFixture(t, api)
	seen = h.snapshot(api)
	to := filepath.Join(t.TempDir(), "data")
	code, stderr := importRun(t, data, "--data-dir", to)
	if want := "in use by another server"; code != exitFailure || !strings.Contains(stderr, want) || !strings.Contains(stderr, "stop it first") {
		t.Errorf("import from a running server: got %d %q, want %q", code, stderr, want)
	}
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a failed import has created its target:", err)
	}
	stop()
	return h, seen, data
}

const (
	allOfIt = "1 arrays (1600128 bytes), 9 jobs (4 unfinished), 10 idempotency keys, 1 tombstones, 1 schedules, 1 pauses\n"
	nothing = "0 arrays (0 bytes), 0 jobs (0 unfinished), 0 idempotency keys, 0 tombstones, 0 schedules, 0 pauses\n"
)

// Clients see no difference after an import into another data directory, running jobs continue, and a second import
// adds nothing.
func TestMove(t *testing.T) {
	t.Parallel()
	h, seen, data := stoppedServer(t)
	to := filepath.Join(t.TempDir(), "data")
	for i, want := range []string{"\nimported " + allOfIt, "\nimported " + nothing + "already present: " + allOfIt} {
		code, stderr := importRun(t, data, "--data-dir", to)
		if code != exitOK || !strings.Contains(stderr, want) || !strings.Contains(stderr, "importing "+strings.TrimSpace(allOfIt)) {
			t.Fatalf("import %d: got %d %s, want %q", i, code, stderr, want)
		}
	}
	// Importing the imported directory copies everything too.
	if code, stderr := importRun(t, to, "--data-dir", filepath.Join(t.TempDir(), "third")); code != exitOK || !strings.Contains(stderr, "\nimported "+allOfIt) {
		t.Errorf("got %d %s, want %q", code, stderr, allOfIt)
	}
	srv, stop := launch(t, "--data-dir", to, "--drain-timeout", "1ms")
	api := "http://" + srv.apiListener.Addr().String()
	if code, stderr := importRun(t, data, "--data-dir", to); code != exitFailure || !strings.Contains(stderr, "stop it first") {
		t.Errorf("import into a running server: got %d %s, want %d and a hint", code, stderr, exitFailure)
	}
	h.check(api, seen)
	if status, v := call(t, "POST", api+"/v1/jobs/"+h.ids["running"]+"/cancel", "", nil); status/100 != 2 {
		t.Errorf("cancel: %d %v", status, v)
	}
	if _, v := call(t, "GET", api+"/v1/jobs/"+h.ids["running"], "", nil, "Prefer", "wait=20"); v["state"] != "cancelled" {
		t.Errorf("cancelled, after the import: %v", v)
	}
	if _, v := call(t, "GET", api+"/v1/jobs/"+h.ids["held"], "", nil, "Prefer", "wait=20"); v["state"] != "cancelled" || !strings.Contains(fmt.Sprint(v["error"]), "dependency-failed") {
		t.Errorf("the job that waits for it: %v", v)
	}
	if status, v := call(t, "POST", api+"/v1/schedules/yearly/pause", "", nil); status != http.StatusOK {
		t.Errorf("pause the schedule: %d %v", status, v)
	}
	stop()
	// Repeating an import does not undo later changes.
	if code, stderr := importRun(t, data, "--data-dir", to); code != exitOK {
		t.Fatalf("got %d %s, want %d", code, stderr, exitOK)
	}
	srv, stop = launch(t, "--data-dir", to)
	defer stop()
	if _, v := call(t, "GET", "http://"+srv.apiListener.Addr().String()+"/v1/jobs/"+h.ids["running"], "", nil); v["state"] != "cancelled" {
		t.Errorf("got %v, want the job cancelled", v)
	}
	if _, v := call(t, "GET", "http://"+srv.apiListener.Addr().String()+"/v1/schedules/yearly", "", nil); fmt.Sprint(v["paused"]) != "true" {
		t.Errorf("got %v, want the schedule paused", v)
	}
}

var errCut = errors.New("the target failed")

// failing is an importer that fails after a number of records.
type failing struct {
	importer
	left atomic.Int64
}

func (f *failing) take() error {
	if f.left.Add(-1) < 0 {
		return errCut
	}
	return nil
}

func (f *failing) ImportJob(ctx context.Context, view job.Job, spec []byte, log []job.Event, deliveries job.Deliveries) error {
	if err := f.take(); err != nil {
		return err
	}
	return f.importer.ImportJob(ctx, view, spec, log, deliveries)
}

func (f *failing) ImportKey(ctx context.Context, k job.KeyRecord) error {
	if err := f.take(); err != nil {
		return err
	}
	return f.importer.ImportKey(ctx, k)
}

func (f *failing) ImportTombstone(ctx context.Context, ts job.Tombstone) error {
	if err := f.take(); err != nil {
		return err
	}
	return f.importer.ImportTombstone(ctx, ts)
}

func (f *failing) PutDocument(ctx context.Context, name string, value []byte, revision uint64) (uint64, error) {
	if err := f.take(); err != nil {
		return 0, err
	}
	return f.importer.PutDocument(ctx, name, value, revision)
}

// A failed import adds only complete records, and the next one adds the rest.
func TestMoveInterrupted(t *testing.T) {
	t.Parallel()
	h, seen, data := stoppedServer(t)
	to := filepath.Join(t.TempDir(), "data")
	c := &importCmd{From: data, DataDir: to}
	for _, n := range []int64{0, 3, 7, 12, 14, 21} {
		from, err := openSource(t.Context(), data, t.Output())
		if err != nil {
			t.Fatal(err)
		}
		target, err := c.open(t.Context(), t.Output())
		if err != nil {
			t.Fatal(err)
		}
		f := &failing{importer: target.importer}
		f.left.Store(n)
		target.importer = f
		if err := newImportRunner(t.Context(), from, target, t.Output()).run(); !errors.Is(err, errCut) {
			t.Errorf("cut after %d records: got %v, want %v", n, err, errCut)
		}
		if err := errors.Join(target.close(), from.journal.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if code, stderr := importRun(t, data, "--data-dir", to); code != exitOK {
		t.Fatalf("got %d %s, want %d", code, stderr, exitOK)
	}
	srv, stop := launch(t, "--data-dir", to, "--drain-timeout", "1ms")
	defer stop()
	h.check("http://"+srv.apiListener.Addr().String(), seen)
}

func TestMoveFaults(t *testing.T) {
	t.Parallel()
	_, _, data := stoppedServer(t)
	empty := t.TempDir()
	to := filepath.Join(t.TempDir(), "data")
	for name, c := range map[string]struct {
		from string
		args []string
		code int
		want string
	}{
		"no journal":      {empty, []string{"--data-dir", to}, exitFailure, "there is no journal"},
		"no directory":    {filepath.Join(empty, "missing"), []string{"--data-dir", to}, exitFailure, "there is no journal"},
		"no target":       {data, nil, exitUsage, "--data-dir"},
		"into itself":     {data, []string{"--data-dir", data}, exitFailure, "in use by another server"},
		"faulty settings": {data, []string{"--nats-url", "nats://127.0.0.1:1", "--node-timeout", "soon"}, exitUsage, "--node-timeout"},
	} {
		if code, stderr := importRun(t, c.from, c.args...); code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: got %d %s, want %d %q", name, code, stderr, c.code, c.want)
		}
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) != 0 {
		t.Errorf("got %v (%v) in a directory without a journal, want nothing", left, err)
	}
	// A different array with the same name stops the import before the jobs.
	other := filepath.Join(t.TempDir(), "data")
	srv, stop := launch(t, "--data-dir", other)
	status, _ := call(t, "PUT", "http://"+srv.apiListener.Addr().String()+"/v1/arrays/x", "application/x-npy", float64s(t, 3))
	stop()
	if status != http.StatusCreated {
		t.Fatal(status)
	}
	if code, stderr := importRun(t, data, "--data-dir", other); code != exitFailure || !strings.Contains(stderr, "another array has this name") || !strings.Contains(stderr, " 0 jobs") {
		t.Errorf("got %d %s, want the name of the array", code, stderr)
	}
	// A different schedule with the same name is kept, and reported.
	other = filepath.Join(t.TempDir(), "data")
	srv, stop = launch(t, "--data-dir", other)
	status, _ = call(t, "PUT", "http://"+srv.apiListener.Addr().String()+"/v1/schedules/yearly", "application/json", []byte(`{"every":"1h","submission":{"kind":"squares","numbers":[1]}}`))
	stop()
	if status != http.StatusCreated {
		t.Fatal(status)
	}
	want := "schedule yearly of tenant default is skipped: the destination has another one"
	if code, stderr := importRun(t, data, "--data-dir", other); code != exitOK || !strings.Contains(stderr, want) || !strings.Contains(stderr, "0 schedules, 1 pauses") {
		t.Errorf("got %d %s, want %q", code, stderr, want)
	}
}

// Expired keys and tombstones are not imported.
func TestMoveExpired(t *testing.T) {
	dir := t.TempDir()
	j, err := journal.Open(t.Context(), journal.Config{Dir: dir, SweepInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for _, after := range []time.Duration{-time.Hour, time.Hour} {
		at := time.Now().Add(after)
		err = errors.Join(err, j.ImportKey(t.Context(), job.KeyRecord{Hash: [32]byte{byte(at.Minute()), 1}, Expires: at, IDs: []job.ID{job.NewID()}}),
			j.ImportTombstone(t.Context(), job.Tombstone{Tenant: "t", ID: job.NewID(), Expires: at}))
	}
	if err = errors.Join(err, j.Close()); err != nil {
		t.Fatal(err)
	}
	want := "imported 0 arrays (0 bytes), 0 jobs (0 unfinished), 1 idempotency keys, 1 tombstones, 0 schedules, 0 pauses"
	if code, stderr := importRun(t, dir, "--data-dir", filepath.Join(t.TempDir(), "data")); code != exitOK || !strings.Contains(stderr, want) {
		t.Errorf("got %d %s, want %q", code, stderr, want)
	}
}
