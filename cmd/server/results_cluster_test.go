package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gather/internal/cluster/natstest"
	"gather/internal/tenant"
)

// TestResultBytesOfCluster tests that the results of a job and of a tenant are bounded over all nodes, whichever node
// receives the request.
func TestResultBytesOfCluster(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.json")
	key := func(name string, quota int64) string {
		k, text, err := tenant.Generate(name, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		k.MaxResultBytes = quota
		if err := tenant.AddToFile(file, k); err != nil {
			t.Fatal(err)
		}
		return "Bearer " + text
	}
	bounded, free := key("bounded", 100_000), key("free", 0)
	flags := []string{
		"--nats-url", natstest.Start(t, 1).URL, "--nats-replicas", "1", "--drain-timeout", "1s", "--api-keys", file,
		"--max-result-bytes", "1MiB", "--workers", "2",
	}
	nodes := make([]string, 2)
	for i := range nodes {
		srv, stop := launch(t, append(flags, "--data-dir", t.TempDir())...)
		t.Cleanup(stop)
		nodes[i] = "http://" + srv.apiListener.Addr().String()
	}
	end := func(auth, body string) (id string, v map[string]any) {
		t.Helper()
		status, v := call(t, "POST", nodes[0]+"/v1/jobs", "application/json", []byte(body), "Authorization", auth)
		if status != http.StatusAccepted {
			t.Fatalf("submit: %d %v", status, v)
		}
		for id = fmt.Sprint(v["id"]); v["finished_at"] == nil; {
			a := ask(t, "GET", nodes[1]+"/v1/jobs/"+id, "", nil, "Authorization", auth, "Prefer", "wait=20")
			d := json.NewDecoder(bytes.NewReader(a.body))
			d.UseNumber() // of the submission, beyond float64
			if v = nil; a.status != http.StatusOK || d.Decode(&v) != nil {
				t.Fatalf("got %d %.200s, want 200 and a job", a.status, a.body)
			}
		}
		return id, v
	}
	tooLarge := func(what string, v map[string]any) {
		t.Helper()
		if !failedAs(v, "result-too-large") {
			t.Errorf("%s is %v %v, want it failed with result-too-large", what, v["state"], v["error"])
		}
	}
	numbers := make([]string, 1000)
	for i := range numbers {
		numbers[i] = fmt.Sprint(i+1) + strings.Repeat("9", 1000)
	}
	_, v := end(free, `{"kind":"squares","numbers":[`+strings.Join(numbers, ",")+`]}`)
	tooLarge("a job with 2 MB of results", v)

	one := `{"kind":"squares","numbers":[` + strings.Repeat("9", 20_000) + `]}` // a square of 40 000 digits
	var first string
	for range 2 {
		if first, v = end(bounded, one); v["state"] != "succeeded" {
			t.Fatalf("a job within the quota is %v %v", v["state"], v["error"])
		}
	}
	_, v = end(bounded, one)
	tooLarge("a job that crosses the quota", v)
	known := `{"kind":"squares","range":{"start":100000000000,"stop":100000001000}}`
	for _, api := range nodes {
		status, v := call(t, "POST", api+"/v1/jobs", "application/json", []byte(known), "Authorization", bounded)
		if detail := fmt.Sprint(v["detail"]); status != http.StatusTooManyRequests || !strings.HasSuffix(fmt.Sprint(v["type"]), "/quota-exceeded") || !strings.Contains(detail, "of at most 100000 bytes") {
			t.Errorf("a plan with more results than are left: %d %v, want quota-exceeded", status, v)
		}
	}
	if status, v := call(t, "DELETE", nodes[1]+"/v1/jobs/"+first, "", nil, "Authorization", bounded); status != http.StatusNoContent {
		t.Fatalf("delete: %d %v", status, v)
	}
	if _, v = end(bounded, one); v["state"] != "succeeded" {
		t.Errorf("a job after the deletion is %v %v, want it succeeded", v["state"], v["error"])
	}
}
