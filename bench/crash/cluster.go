package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gather/internal/cluster/natstest"
)

// natsPrefix is the prefix of the cluster's streams.
const natsPrefix = "crash"

// natsServers are three NATS servers that sync every message, as the configuration in deploy/nats does.
type natsServers struct {
	*natstest.Servers

	scope *scope
	// proxies are between each node and each server. Others are between the servers.
	proxies [][]*natstest.Proxy
	// disks are the lossy disks of the servers, if they have any, and clocks the clocks.
	disks  []*lossyDisk
	clocks []wallClock
	printf func(format string, args ...any)
}

// startNATS starts the servers with their files in a directory, and proxies for a number of nodes. They run until stop.
func (r *run) startNATS(ctx context.Context, s *settings, dir string) (n *natsServers, err error) {
	n = &natsServers{scope: &scope{ctx: ctx, dir: dir}, printf: r.printf}
	binary := filepath.Join(dir, "nats-server")
	var flags []string
	if s.overlay != "" {
		flags = []string{"-overlay=" + s.overlay}
	}
	if err := natstest.Build(ctx, binary, flags...); err != nil {
		return nil, err
	}
	for i := range 3 {
		n.clocks = append(n.clocks, wallClock{file: filepath.Join(dir, fmt.Sprintf("clock-of-nats-%d", i))})
	}
	mount := func(i int, store string) {
		switch {
		case r.plan.has(natsPower):
			d, err := mountLossy(s.lossy, store, r.plan.seed+uint64(i))
			if err != nil {
				n.scope.Fatal(err)
			}
			n.disks = append(n.disks, d)
			n.scope.Cleanup(func() { _ = d.unmount() })
		case r.plan.has(natsFill):
			unmount, err := smallDisk(store)
			if err != nil {
				n.scope.Fatal(err)
			}
			n.scope.Cleanup(func() { _ = unmount() })
		}
	}
	return n, n.scope.try(func() {
		n.Servers = natstest.Start(n.scope, 3, natstest.SyncAlways(), natstest.Binary(binary), natstest.RouteProxies(), natstest.Disk(mount),
			natstest.Env(func(i int) []string { return []string{n.clocks[i].variable()} }))
		for range s.nodes {
			var all []*natstest.Proxy
			for server := range strings.SplitSeq(n.URL, ",") {
				all = append(all, natstest.NewProxy(n.scope, server))
			}
			n.proxies = append(n.proxies, all)
		}
	})
}

// url returns the URL of the servers for a node.
func (s *natsServers) url(node int) string {
	var urls []string
	for _, p := range s.proxies[node] {
		urls = append(urls, p.URL)
	}
	return strings.Join(urls, ",")
}

func (s *natsServers) stop() { s.scope.end() }

// inject injects a fault of NATS, or between a node and NATS, and returns when all servers are healthy again.
func (s *natsServers) inject(f *fault) error {
	return s.scope.try(func() {
		i := f.node % 3
		switch f.kind {
		case natsLeader:
			s.down(f, s.leader())
		case natsTwo:
			s.down(f, i, (i+1)%3)
		case natsAll, natsPower:
			s.down(f, 0, 1, 2)
		case natsPause:
			s.Pause(i)
			time.Sleep(4 * f.length)
			s.Resume(i)
			s.Wait()
		case natsRolling:
			for i := range 3 {
				s.Stop(i)
				s.Restart(i)
			}
		case natsWipe:
			s.wipe(i)
		case natsFill:
			s.fill(f, i)
		case natsClock:
			if err := s.clocks[i].set(f.step(time.Hour)); err != nil {
				s.scope.Fatal(err)
			}
		case cut, cutOneWay, slow:
			partition(f, s.proxies[f.node], nil)
		case natsCut, natsCutOneWay, natsSlow:
			from, to := s.Routes(i)
			partition(f, from, to)
			s.Wait()
		default:
			s.scope.Fatalf("unknown fault %q", f.kind)
		}
	})
}

// down kills servers together and starts them again after a while. On lossy disks this is a power cut.
func (s *natsServers) down(f *fault, servers ...int) {
	for _, i := range servers {
		s.Kill(i)
		if s.disks != nil {
			lost, err := s.disks[i].cutPower()
			if err != nil {
				s.scope.Fatal(err)
			}
			s.printf("power cut of NATS server %d: %s", i, lost)
		}
	}
	time.Sleep(f.length)
	s.Start(servers...)
}

// wipe replaces a server by one with an empty store, once the others are current and one of them leads: it may have had a message that
// only one of the others has, which would then be lost if a vote came before.
func (s *natsServers) wipe(i int) {
	s.Wait()
	s.Kill(i)
	if err := removeContent(s.StoreDir(i)); err != nil {
		s.scope.Fatal(err)
	}
	s.Wait()
	s.Start(i)
}

// fill fills the disk of a server, and starts the server again when there is space.
func (s *natsServers) fill(f *fault, i int) {
	filler, err := fillDisk(s.StoreDir(i))
	if err != nil {
		s.scope.Fatal(err)
	}
	time.Sleep(4 * f.length)
	if err := os.Remove(filler); err != nil {
		s.scope.Fatal(err)
	}
	s.Kill(i)
	s.Start(i)
}

// partition stops or delays what passes through proxies, for mostly longer than the node timeout. One-way, nothing passes to the clients of
// from and to the servers of to.
func partition(f *fault, from, to []*natstest.Proxy) {
	all := slices.Concat(from, to)
	switch f.kind {
	case cutOneWay, natsCutOneWay:
		for _, p := range from {
			p.PauseResponses()
		}
		for _, p := range to {
			p.PauseRequests()
		}
	case slow, natsSlow:
		for _, p := range all {
			p.Delay(50 * time.Millisecond)
		}
	default:
		for _, p := range all {
			p.Pause()
		}
	}
	time.Sleep(6 * f.length)
	for _, p := range all {
		p.Resume()
	}
}

// leader returns the server that leads the log.
func (s *natsServers) leader() int {
	for _, stream := range s.Streams(s.scope, strings.ToUpper(natsPrefix)+"_LOG") {
		var i int
		if _, err := fmt.Sscanf(stream.Leader, "nats-%d", &i); err == nil {
			return i
		}
	}
	return 0
}

// A scope implements testing.TB for package natstest outside of a test. Fatal errors end the function that try runs.
type scope struct {
	testing.TB

	ctx context.Context
	dir string

	cleanups []func()
	failed   bool
	dirs     int
}

// fatal is the value of the panic that ends a function of try.
type fatal struct{ error }

// try runs f and returns its fatal error.
func (s *scope) try(f func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			end, ok := v.(fatal)
			if !ok {
				panic(v)
			}
			s.failed, err = true, end.error
		}
	}()
	f()
	return nil
}

// end runs the cleanups, the last one first.
func (s *scope) end() {
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
	s.cleanups = nil
}

// Helper implements testing.TB.
func (*scope) Helper() {}

// Context implements testing.TB.
func (s *scope) Context() context.Context { return s.ctx }

// Cleanup implements testing.TB.
func (s *scope) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

// TempDir implements testing.TB.
func (s *scope) TempDir() string {
	s.dirs++
	dir := filepath.Join(s.dir, fmt.Sprintf("nats-%d", s.dirs))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		panic(fatal{err})
	}
	return dir
}

// Failed implements testing.TB.
func (s *scope) Failed() bool { return s.failed }

// Logf implements testing.TB.
func (*scope) Logf(format string, args ...any) { _, _ = fmt.Fprintf(os.Stderr, format+"\n", args...) }

// Fatalf implements testing.TB.
func (*scope) Fatalf(format string, args ...any) { panic(fatal{fmt.Errorf(format, args...)}) }

// Fatal implements testing.TB.
func (*scope) Fatal(args ...any) { panic(fatal{fmt.Errorf("%s", fmt.Sprint(args...))}) }
