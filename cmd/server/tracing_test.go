package main

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// otlp receives spans over OTLP/HTTP.
type otlp struct {
	mu    sync.Mutex
	spans map[string][]sentSpan // by name
}

type sentSpan struct{ trace, id, parent string }

func (o *otlp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	var req collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(data, &req)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, "not an export", http.StatusBadRequest)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, rs := range req.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				o.spans[s.Name] = append(o.spans[s.Name], sentSpan{
					hex.EncodeToString(s.TraceId), hex.EncodeToString(s.SpanId), hex.EncodeToString(s.ParentSpanId),
				})
			}
		}
	}
}

// A trace connects the client's span, the request, the wait of its job and its tasks, before and after a restart.
func TestTracing(t *testing.T) {
	receiver := &otlp{spans: make(map[string][]sentSpan)}
	sink := httptest.NewServer(receiver)
	defer sink.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.URL)
	data := filepath.Join(t.TempDir(), "data")
	const traceID, clientSpan = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

	// serve runs a server until f returns.
	serve := func(f func(api string)) {
		srv, stop := launch(t, "--data-dir", data)
		defer stop()
		f("http://" + srv.apiListener.Addr().String())
	}
	send := func(method, url, body string, header ...string) (status int, location string) {
		a := ask(t, method, url, "application/json", []byte(body), header...)
		return a.status, a.header.Get("Location")
	}

	var job string
	serve(func(api string) {
		status, location := send("POST", api+"/v1/jobs", `{"kind":"sleep_batch","count":2,"duration":"3s"}`,
			"Traceparent", "00-"+traceID+"-"+clientSpan+"-01", "Prefer", "wait=0")
		if status != http.StatusAccepted {
			t.Fatalf("status %d", status)
		}
		job = location
		for state := ""; state != "running"; { // restart in the middle of the job
			_, v := call(t, "GET", api+job, "", nil)
			state, _ = v["state"].(string)
			if state == "succeeded" {
				t.Fatal("the job ended too early")
			}
		}
	})
	serve(func(api string) {
		if status, v := call(t, "GET", api+job, "", nil, "Prefer", "wait=30"); status != http.StatusOK || v["state"] != "succeeded" {
			t.Fatalf("got %d %v, want a job that succeeded", status, v)
		}
	})

	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	request := receiver.spans["POST /v1/jobs"]
	if len(request) != 1 || request[0].trace != traceID || request[0].parent != clientSpan {
		t.Fatalf("the request: %+v of %v", request, receiver.spans)
	}
	runs := receiver.spans["job.run"]
	if len(runs) != 2 {
		t.Errorf("%d runs, want one on each side of the restart", len(runs))
	}
	for _, s := range append(runs, receiver.spans["job.wait"]...) {
		if s.trace != traceID || s.parent != request[0].id {
			t.Errorf("%+v is not a child of the request", s)
		}
	}
	if len(receiver.spans["job.wait"]) != 1 || len(receiver.spans["job.task"]) == 0 {
		t.Errorf("spans: %v", receiver.spans)
	}
}
