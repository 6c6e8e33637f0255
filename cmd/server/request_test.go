package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gather/client"
)

// ask sends a request with a body of a media type, and headers as names and values.
func ask(t *testing.T, method, url, media string, body []byte, header ...string) *response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", media)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &response{path: url, status: resp.StatusCode, header: resp.Header, body: data}
}

// call is ask for the status and the JSON of the response. It repeats a request that the storage of a busy machine refuses, if that is
// safe, and follows one with a long wait until the job has ended.
func call(t *testing.T, method, url, media string, body []byte, header ...string) (int, map[string]any) {
	t.Helper()
	api, path, _ := strings.Cut(url, "/v1/")
	waits := slices.Contains(header, "wait=20") || slices.Contains(header, "wait=30")
	const patience = 5 * time.Minute
	for end := time.Now().Add(patience); ; {
		a := ask(t, method, url, media, body, header...)
		var v map[string]any
		if len(a.body) > 0 && strings.Contains(a.header.Get("Content-Type"), "json") {
			if err := json.Unmarshal(a.body, &v); err != nil {
				t.Fatalf("%v: %s", err, a.body)
			}
		}
		repeatable := path != "" && (method != http.MethodPost || slices.Contains(header, "Idempotency-Key"))
		state, _ := v["state"].(string)
		switch id, _ := v["id"].(string); {
		case repeatable && v["type"] == "/problems/storage-unavailable" && time.Now().Before(end):
			time.Sleep(100 * time.Millisecond)
		case waits && id != "" && (state == "queued" || state == "running" || state == "cancelling"):
			method, url, body = http.MethodGet, api+"/v1/jobs/"+id, nil
			end = time.Now().Add(patience)
		default:
			return a.status, v
		}
	}
}

// awaitItems follows the events of a job until n items have completed.
func awaitItems(t *testing.T, job string, n int) {
	t.Helper()
	server, id, _ := strings.Cut(job, "/v1/jobs/")
	c, err := client.New(client.Config{Server: server})
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range c.Events(t.Context(), id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Result != nil {
			n--
		}
		if n == 0 {
			return
		}
	}
	t.Fatalf("%s: the job ended before another %d items", job, n)
}
