// Package service is the HTTP side that the compared job queues have in common: what a service of a few lines has, with the same
// requests as gather.
package service

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// Job is a job of the kind squares.
type Job struct {
	ID      string  `json:"id"`
	Numbers []int64 `json:"numbers"`
}

// Kind names the jobs in the queue of River.
func (Job) Kind() string { return "squares" }

// Run returns the squares.
func (j Job) Run() []int64 {
	result := make([]int64, len(j.Numbers))
	for i, n := range j.Numbers {
		result[i] = n * n
	}
	return result
}

// Results hands the results of this process's jobs to the requests that wait for them, and counts the jobs.
type Results struct {
	finished atomic.Int64
	mu       sync.Mutex
	waiting  map[string]chan []int64
}

// Done reports the end of a job.
func (r *Results) Done(id string, result []int64) {
	r.mu.Lock()
	c := r.waiting[id]
	delete(r.waiting, id)
	r.mu.Unlock()
	if c != nil {
		c <- result // has room for it
	}
	r.finished.Add(1)
}

func (r *Results) wait(id string) <-chan []int64 {
	c := make(chan []int64, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == nil {
		r.waiting = map[string]chan []int64{}
	}
	r.waiting[id] = c
	return c
}

// Serve serves until SIGTERM. submit stores a job, which some worker runs and reports to r.
func Serve(addr string, r *Results, submit func(context.Context, Job) error) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/jobs", func(w http.ResponseWriter, req *http.Request) {
		var j Job
		if err := json.NewDecoder(req.Body).Decode(&j); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		j.ID = uuid.NewString()
		var result <-chan []int64
		if req.Header.Get("Prefer") != "" {
			result = r.wait(j.ID)
		}
		if err := submit(req.Context(), j); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		if result == nil {
			respond(w, http.StatusAccepted, map[string]any{"id": j.ID})
			return
		}
		select {
		case got := <-result:
			respond(w, http.StatusOK, map[string]any{"id": j.ID, "result": got})
		case <-req.Context().Done():
		case <-time.After(30 * time.Second):
			http.Error(w, "the job has not ended", http.StatusGatewayTimeout)
		}
	})
	mux.HandleFunc("GET /finished", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, map[string]any{"finished": r.finished.Load()})
	})
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }() // ends with Close
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	return errors.Join(err, server.Close())
}

func respond(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone
}
