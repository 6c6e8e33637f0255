package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/transfer"
)

// importRun runs 'server import' on what would come from standard input.
func importRun(t *testing.T, stream []byte, args ...string) (code int, stderr string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "stream")
	if err := os.WriteFile(name, stream, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stdin := os.Stdin
	os.Stdin = f
	defer func() { os.Stdin = stdin }()
	code, _, stderr = cliRun(t, append([]string{"import"}, args...)...)
	return code, stderr
}

// A household is what a server was asked to do, and how to ask it again.
type household struct {
	t    *testing.T
	file []byte
	// ids are the jobs by what is special about them, bodies what they were submitted with.
	ids, bodies map[string]string
}

// submit asks for a job under a key of its name.
func (h *household) submit(api, name, body string, header ...string) (int, map[string]any) {
	h.t.Helper()
	h.bodies[name] = body
	return call(h.t, "POST", api+"/v1/jobs", "application/json", []byte(body), append(header, "Idempotency-Key", "key of "+name)...)
}

// move in: jobs in all states, and an array.
func newHousehold(t *testing.T, api string) *household {
	t.Helper()
	h := &household{t: t, file: float64s(t, 200_000), ids: map[string]string{}, bodies: map[string]string{}}
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
	for {
		_, v := call(t, "GET", api+"/v1/jobs/"+h.ids["running"], "", nil)
		if strings.Contains(fmt.Sprint(v["progress"]), "completed:2") {
			return h
		}
		select {
		case <-t.Context().Done():
			t.Fatal(v)
		case <-time.After(time.Millisecond):
		}
	}
}

// look returns everything that a server answers about the jobs.
func (h *household) look(api string) map[string]string {
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
	return seen
}

// check compares what a server answers with what another one did, and sends every submission again.
func (h *household) check(api string, want map[string]string) {
	h.t.Helper()
	if !strings.Contains(want["succeeded"], "items:[") {
		h.t.Errorf("the test looks in the wrong place: %s", want["succeeded"])
	}
	for name, got := range h.look(api) {
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

// moveOut returns the export of a server that had a household, and what it answered before.
func moveOut(t *testing.T) (h *household, seen map[string]string, stream []byte, data string) {
	t.Helper()
	data = filepath.Join(t.TempDir(), "data")
	srv, stop := launch(t, "--data-dir", data, "--drain-timeout", "1ms")
	api := "http://" + srv.apiListener.Addr().String()
	h = newHousehold(t, api)
	seen = h.look(api)
	if code, out, stderr := cliRun(t, "export", "--data-dir", data); code != exitFault || out != "" || !strings.Contains(stderr, "in use by another server") || !strings.Contains(stderr, "stop it first") {
		t.Errorf("export from a running server: %d %q", code, stderr)
	}
	stop()
	code, out, stderr := cliRun(t, "export", "--data-dir", data)
	if code != exitOK || !strings.Contains(stderr, "exported 1 arrays (1600128 bytes), 7 jobs (3 unfinished), 8 idempotency keys, 1 tombstones") {
		t.Fatalf("%d %s", code, stderr)
	}
	return h, seen, []byte(out), data
}

// What is exported from one data directory and imported into another is the same to clients, running jobs go on, and a
// second import adds nothing.
func TestMove(t *testing.T) {
	h, seen, stream, data := moveOut(t)
	if _, again, _ := cliRun(t, "export", "--data-dir", data); again != string(stream) {
		t.Error("a second export is another")
	}
	to := filepath.Join(t.TempDir(), "data")
	for i, says := range []string{
		"imported 1 arrays (1600128 bytes), 7 jobs (3 unfinished), 8 idempotency keys, 1 tombstones\n",
		"imported 0 arrays (0 bytes), 0 jobs (0 unfinished), 0 idempotency keys, 0 tombstones\nwere there already: 1 arrays",
	} {
		if code, stderr := importRun(t, stream, "--data-dir", to); code != exitOK || !strings.Contains(stderr, says) {
			t.Fatalf("import %d: %d %s", i, code, stderr)
		}
	}
	if _, again, _ := cliRun(t, "export", "--data-dir", to); !sameStream(t, []byte(again), stream) {
		t.Error("the export of the import is another")
	}
	srv, stop := launch(t, "--data-dir", to, "--drain-timeout", "1ms")
	api := "http://" + srv.apiListener.Addr().String()
	if code, stderr := importRun(t, stream, "--data-dir", to); code != exitFault || !strings.Contains(stderr, "stop it first") {
		t.Errorf("import into a running server: %d %s", code, stderr)
	}
	h.check(api, seen)
	if status, v := call(t, "POST", api+"/v1/jobs/"+h.ids["running"]+"/cancel", "", nil); status/100 != 2 {
		t.Errorf("cancel: %d %v", status, v)
	}
	if _, v := call(t, "GET", api+"/v1/jobs/"+h.ids["running"], "", nil, "Prefer", "wait=20"); v["state"] != "cancelled" {
		t.Errorf("cancelled, after the import: %v", v)
	}
	stop()
	// What goes on after an import is not undone by another.
	if code, stderr := importRun(t, stream, "--data-dir", to); code != exitOK {
		t.Fatalf("%d %s", code, stderr)
	}
	srv, stop = launch(t, "--data-dir", to)
	defer stop()
	if _, v := call(t, "GET", "http://"+srv.apiListener.Addr().String()+"/v1/jobs/"+h.ids["running"], "", nil); v["state"] != "cancelled" {
		t.Errorf("imported over it: %v", v)
	}
}

// sameStream compares streams but for when the arrays were uploaded.
func sameStream(t *testing.T, a, b []byte) bool {
	t.Helper()
	var texts [2]string
	for i, data := range [][]byte{a, b} {
		r, err := transfer.NewReader(bytes.NewReader(data))
		for err == nil {
			var rec transfer.Record
			if rec, err = r.Next(); err != nil {
				break
			}
			switch {
			case rec.Array != nil:
				rec.Array.CreatedAt = time.Time{}
				texts[i] += fmt.Sprintln(rec.Array.ArrayInfo)
			case rec.Job != nil:
				texts[i] += fmt.Sprintf("%x %q", rec.Job.View.AppendBinary(nil), rec.Job.Spec)
				for e, err := range rec.Job.Log() {
					if err != nil {
						t.Fatal(err)
					}
					texts[i] += fmt.Sprintf(" %x", job.AppendEvent(nil, e.Event))
				}
			default:
				texts[i] += fmt.Sprintln(rec.Key, rec.Tombstone)
			}
		}
	}
	return texts[0] == texts[1]
}

// An import that is cut off, wherever, adds whole jobs only, says what is missing, and the next one adds the rest.
func TestMoveCutOff(t *testing.T) {
	h, seen, stream, _ := moveOut(t)
	to := filepath.Join(t.TempDir(), "data")
	for _, n := range []int{20, len(stream) / 2, len(stream) * 99 / 100, len(stream) - 300, len(stream) - 1} {
		code, stderr := importRun(t, stream[:n], "--data-dir", to)
		if code != exitFault || !strings.Contains(stderr, "the stream is cut off") {
			t.Fatalf("cut at %d of %d: %d %s", n, len(stream), code, stderr)
		}
		if n > 100 && !(strings.Contains(stderr, "missing are ") && strings.Contains(stderr, "may be run again")) {
			t.Errorf("cut at %d of %d: %s", n, len(stream), stderr)
		}
		if n == 20 {
			if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
				t.Error("made a data directory for nothing:", err)
			}
		}
	}
	if code, stderr := importRun(t, stream, "--data-dir", to); code != exitOK {
		t.Fatalf("%d %s", code, stderr)
	}
	srv, stop := launch(t, "--data-dir", to, "--drain-timeout", "1ms")
	defer stop()
	h.check("http://"+srv.apiListener.Addr().String(), seen)
}

func TestMoveFaults(t *testing.T) {
	_, _, stream, _ := moveOut(t)
	to := filepath.Join(t.TempDir(), "data")
	changed := func(i int) []byte {
		b := bytes.Clone(stream)
		b[i]++
		return b
	}
	for name, c := range map[string]struct {
		stream []byte
		args   []string
		code   int
		says   string
	}{
		"no stream":       {nil, []string{"--data-dir", to}, exitFault, "not what 'server export' writes"},
		"a text":          {[]byte("{\"jobs\":[]}\n"), []string{"--data-dir", to}, exitFault, "not what 'server export' writes"},
		"other version":   {changed(11), []string{"--data-dir", to}, exitFault, "does not read: 2"},
		"changed":         {changed(len(stream) - 500), []string{"--data-dir", to}, exitFault, "the stream is damaged"},
		"nowhere":         {stream, nil, exitUsage, "--data-dir"},
		"faulty settings": {stream, []string{"--nats-url", "nats://127.0.0.1:1", "--ack-wait", "soon"}, exitUsage, "--ack-wait"},
	} {
		if code, stderr := importRun(t, c.stream, c.args...); code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: %d %s", name, code, stderr)
		}
	}
	// Another array of the same name stops the import before the jobs.
	other := filepath.Join(t.TempDir(), "data")
	srv, stop := launch(t, "--data-dir", other)
	status, _ := call(t, "PUT", "http://"+srv.apiListener.Addr().String()+"/v1/arrays/x", "application/x-npy", float64s(t, 3))
	stop()
	if status != http.StatusCreated {
		t.Fatal(status)
	}
	if code, stderr := importRun(t, stream, "--data-dir", other); code != exitFault || !strings.Contains(stderr, "another array has this name") || !strings.Contains(stderr, " 0 jobs") {
		t.Errorf("%d %s", code, stderr)
	}
}

func TestExportFaults(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{dir, filepath.Join(dir, "missing")} {
		if code, out, stderr := cliRun(t, "export", "--data-dir", name); code != exitFault || out != "" || !strings.Contains(stderr, "there is no journal") {
			t.Errorf("%d %q %s", code, out, stderr)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Error(left, err)
	}
	// Keys and tombstones that have expired are not worth a journey.
	j, err := journal.Open(t.Context(), journal.Config{Dir: dir, SweepInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for _, after := range []time.Duration{-time.Hour, time.Hour} {
		at := time.Now().Add(after)
		to := intoJournal{j}
		err = errors.Join(err, to.ImportKey(t.Context(), job.KeyRecord{Hash: [32]byte{byte(at.Minute()), 1}, Expires: at, IDs: []job.ID{job.NewID()}}),
			to.ImportTombstone(t.Context(), job.Tombstone{Tenant: "t", ID: job.NewID(), Expires: at}))
	}
	if err = errors.Join(err, j.Close()); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := cliRun(t, "export", "--data-dir", dir)
	if code != exitOK || !strings.Contains(stderr, "exported 0 arrays (0 bytes), 0 jobs (0 unfinished), 1 idempotency keys, 1 tombstones") {
		t.Errorf("%d %s", code, stderr)
	}
}
