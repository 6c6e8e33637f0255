package natstest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// readyTimeout is the time within which servers must become ready. Elections alone take up to nine seconds, and on a busy
// machine they are repeated.
const readyTimeout = 5 * time.Minute

// Wait returns when the running servers have a leader and all their replicas are current. No server may be paused.
func (s *Servers) Wait() {
	s.tb.Helper()
	n := len(s.running) - count(s.running, nil)
	var last []serverStatus
	await(s.tb, func() bool { last = s.statuses(); return agree(n, last) }, func() string {
		return fmt.Sprintf("%d servers do not agree: %+v", n, last)
	})
}

// Leader returns the server that leads the cluster; -1 if none does. Streams have leaders of their own. No server may be
// paused.
func (s *Servers) Leader() int {
	return s.server(func(l *serverStatus) bool { return l.leads })
}

// StreamLeader returns the server that leads a stream; -1 if none does. No server may be paused.
func (s *Servers) StreamLeader(stream string) int {
	return s.server(func(l *serverStatus) bool { return slices.Contains(l.streams, stream) })
}

// server returns the server whose status matches; -1 if none does.
func (s *Servers) server(matches func(l *serverStatus) bool) int {
	for _, l := range s.statuses() {
		if matches(&l) {
			return slices.IndexFunc(s.nodes, func(n node) bool { return n.name == l.name })
		}
	}
	return -1
}

// statuses returns the states of the servers that respond.
func (s *Servers) statuses() (all []serverStatus) {
	for i, n := range s.nodes {
		if s.running[i] == nil {
			continue
		}
		l := serverStatus{name: n.name}
		var v server.JSInfo
		var health server.HealthStatus
		if err := s.get(i, "/healthz", &health); err == nil {
			l.fault = health.Error
			if err := s.get(i, "/jsz?streams=true", &v); err == nil {
				l.read(&v)
				all = append(all, l)
			}
		}
	}
	return all
}

// get decodes a monitoring page of server i.
func (s *Servers) get(i int, path string, v any) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+loopback(s.nodes[i].monitor)+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	return json.NewDecoder(resp.Body).Decode(v)
}

// serverStatus is a server's state and its view of the cluster.
type serverStatus struct {
	name     string
	streams  []string // the streams that it leads
	fault    string   // what the health check reported; empty if it succeeded
	leads    bool
	leader   string
	replicas int // current followers; set for the leader only
}

func (l *serverStatus) read(v *server.JSInfo) {
	for _, account := range v.AccountDetails {
		for _, stream := range account.Streams {
			if stream.Cluster == nil || stream.Cluster.Leader == l.name {
				l.streams = append(l.streams, stream.Name)
			}
		}
	}
	if v.Meta == nil {
		return
	}
	l.leader, l.leads = v.Meta.Leader, v.Meta.Leader == l.name
	for _, r := range v.Meta.Replicas {
		if r.Current && !r.Offline {
			l.replicas++
		}
	}
}

// agree reports whether n servers are healthy, have the same leader and are current.
func agree(n int, all []serverStatus) bool {
	if len(all) < n {
		return false
	}
	for _, l := range all {
		if l.fault != "" || l.leader != all[0].leader {
			return false
		}
		if l.leads && l.replicas != n-1 {
			return false
		}
	}
	return n == 1 || slices.ContainsFunc(all, func(l serverStatus) bool { return l.leads })
}

// await waits until a condition holds. what describes the failure.
func await(tb testing.TB, holds func() bool, what func() string) {
	tb.Helper()
	for end := time.Now().Add(readyTimeout); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("natstest: after %s, %s", readyTimeout, what())
		}
	}
}

func count[E comparable](all []E, e E) (n int) {
	for _, o := range all {
		if o == e {
			n++
		}
	}
	return n
}
