package main

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"gather/internal/cluster/natstest"
)

// An array uploaded to one node can be summed on any node, and cannot be replaced or deleted while a job on another
// node uses it.
func TestStoredArraysOfACluster(t *testing.T) {
	servers := natstest.Start(t, 1)
	apis := make([]string, 2)
	for i := range apis {
		srv, stop := launch(t, "--data-dir", t.TempDir(), "--nats-url", servers.URL, "--nats-replicas", "1", "--node-name", fmt.Sprint("node-", i))
		t.Cleanup(stop)
		apis[i] = "http://" + srv.apiListener.Addr().String()
	}
	const n = 300_000
	file := float64s(t, n)
	if status, v := call(t, "PUT", apis[0]+"/v1/arrays/x", "application/x-npy", file); status != http.StatusCreated {
		t.Fatalf("%d %v", status, v)
	}
	submit := func(api, more string, header ...string) (int, map[string]any) {
		return call(t, "POST", api+"/v1/jobs", "application/json",
			fmt.Appendf(nil, `{"kind":"array_sum","array":{"source":"npy","name":"x","chunks":10000}%s}`, more), header...)
	}
	const want = n*(n-1)/2 + 0.1*n
	for _, api := range apis {
		status, v := submit(api, "", "Prefer", "wait=20")
		if got, ok := v["result"].(float64); status != http.StatusOK || !ok || math.Abs(got-want) > 1e-3 {
			t.Errorf("%d %v", status, v)
		}
	}
	_, v := submit(apis[0], `,"start_after":"1h"`)
	for _, api := range apis {
		if status, _ := call(t, "DELETE", api+"/v1/arrays/x", "", nil); status != http.StatusConflict {
			t.Errorf("delete in use: %d", status)
		}
		if status, _ := call(t, "PUT", api+"/v1/arrays/x", "application/x-npy", file); status != http.StatusConflict {
			t.Errorf("replace in use: %d", status)
		}
		if _, v := call(t, "GET", api+"/v1/arrays/x", "", nil); fmt.Sprint(v["in_use"]) != "true" {
			t.Errorf("%v", v)
		}
	}
	id := fmt.Sprint(v["id"])
	if status, v := call(t, "POST", apis[1]+"/v1/jobs/"+id+"/cancel", "", nil); status != http.StatusOK && status != http.StatusAccepted {
		t.Errorf("cancel: %d %v", status, v)
	}
	if _, v := call(t, "GET", apis[1]+"/v1/jobs/"+id, "", nil, "Prefer", "wait=20"); v["state"] != "cancelled" {
		t.Errorf("cancelled: %v", v)
	}
	if status, v := call(t, "DELETE", apis[1]+"/v1/arrays/x", "", nil); status != http.StatusNoContent {
		t.Errorf("delete: %d %v", status, v)
	}
	if status, v := submit(apis[0], ""); status != http.StatusUnprocessableEntity || !strings.Contains(fmt.Sprint(v), "does not name one of your arrays") {
		t.Errorf("after the delete: %d %v", status, v)
	}
}
