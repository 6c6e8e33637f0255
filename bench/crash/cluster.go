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
	*natstest.Processes

	scope *scope
	// proxies are between each node and each server.
	proxies [][]*natstest.Proxy
}

// startNATS starts the servers with their files in a directory, and proxies for a number of nodes. They run until stop.
func startNATS(ctx context.Context, dir string, nodes int) (s *natsServers, err error) {
	s = &natsServers{scope: &scope{ctx: ctx, dir: dir}}
	binary := filepath.Join(dir, "nats-server")
	if err := natstest.Build(ctx, binary); err != nil {
		return nil, err
	}
	return s, s.scope.try(func() {
		s.Processes = natstest.StartProcesses(s.scope, 3, natstest.SyncAlways(), natstest.Binary(binary))
		for range nodes {
			var all []*natstest.Proxy
			for server := range strings.SplitSeq(s.URL, ",") {
				all = append(all, natstest.NewProxy(s.scope, server))
			}
			s.proxies = append(s.proxies, all)
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

// inject injects a fault of NATS and returns when all servers are healthy again.
func (s *natsServers) inject(f *fault) error {
	return s.scope.try(func() {
		switch f.kind {
		case natsLeader:
			leader := s.leader()
			s.Kill(leader)
			time.Sleep(f.length)
			s.Restart(leader)
		case natsPause:
			i := f.node % 3
			s.Pause(i)
			time.Sleep(4 * f.length)
			s.Resume(i)
			s.Wait()
		case natsAll:
			s.KillAll()
			time.Sleep(f.length)
			s.RestartAll()
		case cut, cutOneWay, slow:
			for _, p := range s.proxies[f.node] {
				switch f.kind {
				case cut:
					p.Pause()
				case cutOneWay:
					p.PauseResponses()
				default:
					p.Delay(50 * time.Millisecond)
				}
			}
			time.Sleep(6 * f.length) // mostly longer than the node timeout
			for _, p := range s.proxies[f.node] {
				p.Resume()
			}
		}
	})
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
