package natstest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"
)

// readyTimeout is the time within which servers must become ready. Elections alone take up to nine seconds, and on a busy
// machine they are repeated.
const readyTimeout = 5 * time.Minute

// VerifyTestMain is goleak.VerifyTestMain for a package that starts servers in its process. A server that is shut down
// while it takes up a replica of a stream may leave the store of that stream open, whose goroutines are not ours. Nor is that of a client of
// nats.go whose connection is closed while its first asynchronous publication begins: it waits for a status on a nil channel.
func VerifyTestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

// Servers run in the process of the test.
type Servers struct {
	*setup

	tb      testing.TB
	running []*server.Server // nil for a stopped server
}

// Start starts one server, or a cluster of three, and returns when they have a leader and all replicas are current.
func Start(tb testing.TB, n int, opts ...Option) *Servers {
	tb.Helper()
	s := &Servers{setup: newSetup(tb, n, opts), tb: tb, running: make([]*server.Server, n)}
	tb.Cleanup(s.StopAll)
	s.RestartAll()
	return s
}

// Stop shuts server i down gracefully, and waits for its end.
func (s *Servers) Stop(i int) {
	if s.running[i] == nil {
		return
	}
	s.running[i].Shutdown()
	s.running[i].WaitForShutdown()
	s.running[i] = nil
}

// StopAll stops all servers.
func (s *Servers) StopAll() {
	for _, r := range s.running {
		if r != nil {
			r.Shutdown()
		}
	}
	for i := range s.running {
		s.Stop(i)
	}
}

// StopSome stops the first n servers.
func (s *Servers) StopSome(n int) {
	for i := range n {
		s.Stop(i)
	}
}

// StartAll starts the servers that are stopped, and waits as Start does.
func (s *Servers) StartAll() {
	s.tb.Helper()
	for i, r := range s.running {
		if r == nil {
			s.start(i)
		}
	}
	s.Wait()
}

// Restart stops server i if it runs, starts it on the same ports and files, and waits as Start does.
func (s *Servers) Restart(i int) {
	s.tb.Helper()
	s.Stop(i)
	s.start(i)
	s.Wait()
}

// RestartAll restarts all servers together.
func (s *Servers) RestartAll() {
	s.tb.Helper()
	s.StopAll()
	for i := range s.nodes {
		s.start(i)
	}
	s.Wait()
}

func (s *Servers) start(i int) {
	s.tb.Helper()
	opts, err := server.ProcessConfigFile(s.nodes[i].config)
	must(s.tb, err)
	opts.NoSigs, opts.NoLog = true, true
	r, err := server.NewServer(opts)
	must(s.tb, err)
	s.running[i] = r
	r.Start()
	if !r.ReadyForConnections(readyTimeout) {
		s.tb.Fatalf("natstest: server %d does not listen on %s", i, loopback(s.nodes[i].client))
	}
}

// Wait returns when the running servers have a leader and all their replicas are current.
func (s *Servers) Wait() {
	s.tb.Helper()
	awaitAgreement(s.tb, len(s.running)-count(s.running, nil), s.statuses)
}

// Leader returns the server that leads the cluster; -1 if none does. Streams have leaders of their own.
func (s *Servers) Leader() int {
	return slices.IndexFunc(s.running, func(r *server.Server) bool { return r != nil && r.JetStreamIsLeader() })
}

// StreamLeader returns the server that leads a stream of the default account; -1 if none does. It does not work with Creds.
func (s *Servers) StreamLeader(stream string) int {
	return slices.IndexFunc(s.running, func(r *server.Server) bool {
		return r != nil && r.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream)
	})
}

func (s *Servers) statuses() (all []serverStatus) {
	for _, r := range s.running {
		if r == nil {
			continue
		}
		var l serverStatus
		answer := httptest.NewRecorder()
		r.HandleHealthz(answer, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/healthz", http.NoBody))
		if answer.Code != http.StatusOK {
			l.fault = answer.Body.String()
		}
		if v, err := r.Jsz(nil); err == nil {
			l.read(v, r.Name())
		}
		all = append(all, l)
	}
	return all
}

// serverStatus is a server's state and its view of the cluster.
type serverStatus struct {
	fault    string // what the health check reported; empty if it succeeded
	leads    bool
	leader   string
	replicas int // current followers; set for the leader only
}

func (l *serverStatus) read(v *server.JSInfo, name string) {
	if v.Meta == nil {
		return
	}
	l.leader, l.leads = v.Meta.Leader, v.Meta.Leader == name
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

// awaitAgreement waits until n servers agree.
func awaitAgreement(tb testing.TB, n int, statuses func() []serverStatus) {
	tb.Helper()
	var last []serverStatus
	await(tb, func() bool { last = statuses(); return agree(n, last) }, func() string {
		return fmt.Sprintf("%d servers do not agree: %+v", n, last)
	})
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
