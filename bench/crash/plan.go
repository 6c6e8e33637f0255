package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A plan is the schedule of a run. It depends on the seed and the size alone.
type plan struct {
	seed    uint64
	clients int
	steps   int // of each client
	faults  []fault
}

// A fault is what happens to a server when the clients have done a number of steps.
type fault struct {
	after int // steps of all clients together
	kind  string
	node  int
	// delay passes between that step and the fault, and length between the fault and its end.
	delay, length time.Duration
}

func (f *fault) String() string {
	return fmt.Sprintf("%s of %d after %d steps and %s, for %s", f.kind, f.node, f.after, f.delay, f.length)
}

// The faults of one server.
const (
	kill       = "kill"        // SIGKILL and restart
	killTwo    = "kill-two"    // and again while the server recovers
	killWrite  = "kill-write"  // SIGKILL while a write to a log is about to be done
	killSync   = "kill-sync"   // SIGKILL after a write to a log, before its fsync
	killSynced = "kill-synced" // SIGKILL after the fsync of a log, before anything of it is published
	power      = "power"       // all kills of the run lose what was not forced to disk, or a part of it
	restart    = "restart"     // SIGTERM and restart
	pause      = "pause"       // SIGSTOP, SIGCONT
	syncFail   = "sync-fail"   // fsync and fdatasync return EIO
	writeFail  = "write-fail"  // writes to logs return EIO
	diskFull   = "disk-full"   // fsync, fdatasync and fallocate return ENOSPC
	fill       = "fill"        // another program fills the disk, which is a small one, for a while
	fillKill   = "fill-kill"   // the same, and SIGKILL of the server on the full disk
	clock      = "clock"       // the wall clock is set, by up to 40 hours
	clockKill  = "clock-kill"  // SIGKILL, the wall clock is set, by up to an hour, and restart
)

// The faults of a cluster; those of a server are of a node. A fault of NATS may overlap with one of a node.
const (
	rolling   = "rolling"     // each node is restarted, one after the other
	wipe      = "wipe"        // SIGKILL, and restart on an empty data directory
	cut       = "cut"         // nothing passes between a node and NATS
	cutOneWay = "cut-one-way" // nothing passes from NATS to a node
	slow      = "slow"        // everything between a node and NATS takes some 50 ms

	natsFaults    = "nats-"
	natsLeader    = "nats-leader"      // SIGKILL of the NATS server that leads the log, and restart
	natsTwo       = "nats-two"         // SIGKILL of two NATS servers, and restart
	natsAll       = "nats-all"         // SIGKILL of all NATS servers, and restart
	natsPower     = "nats-power"       // all kills of NATS servers lose what was not forced to disk, or a part of it; all of them
	natsPause     = "nats-pause"       // SIGSTOP and SIGCONT of a NATS server
	natsRolling   = "nats-rolling"     // each NATS server is restarted, one after the other
	natsWipe      = "nats-wipe"        // SIGKILL, and restart on an empty store
	natsCut       = "nats-cut"         // nothing passes between a NATS server and the others; nodes still reach it
	natsCutOneWay = "nats-cut-one-way" // nothing passes from the others to a NATS server
	natsSlow      = "nats-slow"        // everything between a NATS server and the others takes some 50 ms
	natsFill      = "nats-fill"        // another program fills the disk of a NATS server, which is a small one, until this is restarted
	natsClock     = "nats-clock"       // the wall clock of a NATS server is set, to an hour ahead or back at most
)

// newPlan draws a plan with a number of faults of the kinds, in equal shares.
func newPlan(seed uint64, clients, steps, faults int, kinds []string, nodes int) *plan {
	rng := rand.New(rand.NewPCG(seed, 0))
	p := &plan{seed: seed, clients: clients, steps: steps}
	total := clients * steps
	for i := range faults {
		if len(kinds) == 0 {
			break
		}
		p.faults = append(p.faults, fault{
			after: total*(i+1)/(faults+2) + rng.IntN(1+total/(faults+2)), kind: kinds[i%len(kinds)], node: rng.IntN(nodes),
			delay: time.Duration(rng.IntN(50)) * time.Millisecond, length: time.Duration(50+rng.IntN(1500)) * time.Millisecond,
		})
	}
	rng.Shuffle(len(p.faults), func(i, j int) { p.faults[i].kind, p.faults[j].kind = p.faults[j].kind, p.faults[i].kind })
	slices.SortStableFunc(p.faults, func(a, b fault) int { return a.after - b.after })
	return p
}

// has reports whether one of the faults has a kind.
func (p *plan) has(kind string) bool {
	return slices.ContainsFunc(p.faults, func(f fault) bool { return f.kind == kind })
}

// newSubmission returns a submission of orders with a label of its own.
func newSubmission(label, key, array string, orders ...order) *submission {
	return &submission{label: label, key: key, array: array, orders: orders}
}

// path and body return the request of a submission.
func (s *submission) path() string {
	switch {
	case s.retryOf != "":
		return "/v1/jobs/" + s.retryOf + "/retry"
	case len(s.orders) > 1:
		return "/v1/jobs:batch"
	}
	return "/v1/jobs"
}

func (s *submission) body() []byte {
	if s.retryOf != "" {
		return nil
	}
	members := ""
	if s.priority != "" {
		members += fmt.Sprintf(`,"priority":%q`, s.priority)
	}
	if kept := s.failedRetention(); kept != "" {
		members += fmt.Sprintf(`,"failed_retention":%q`, kept)
	}
	if s.webhook != "" {
		members += fmt.Sprintf(`,"webhooks":[%q]`, s.webhook)
	}
	group := ""
	if s.group != "" {
		group = fmt.Sprintf(`,"group":%q`, s.group)
	}
	specs := make([]string, len(s.orders))
	for i, o := range s.orders {
		specs[i] = fmt.Sprintf(`{%s,"labels":{"crash":%q}%s`, o.spec, s.label, members+s.afterMember(i))
	}
	if len(specs) == 1 {
		return []byte(specs[0] + group + "}")
	}
	return []byte(`{"jobs":[` + strings.Join(specs, "},") + "}]" + group + "}")
}
