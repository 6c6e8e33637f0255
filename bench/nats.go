package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// queue is a cluster of NATS servers on loopback, each a process.
type queue struct {
	dir   string
	procs []*exec.Cmd
	url   string
}

// freePorts returns unused ports.
func freePorts(ctx context.Context, n int) (ports []int, err error) {
	var lc net.ListenConfig
	var open []net.Listener
	defer func() {
		for _, l := range open {
			_ = l.Close()
		}
	}()
	for range n {
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		open = append(open, l)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// startQueue starts n NATS servers, and returns immediately, because the nodes wait for them.
func startQueue(ctx context.Context, path string, n int) (q *queue, err error) {
	dir, err := os.MkdirTemp("", "gather-bench-nats-")
	if err != nil {
		return nil, err
	}
	q = &queue{dir: dir}
	defer func() {
		if err != nil {
			q.stop()
		}
	}()
	ports, err := freePorts(ctx, 2*n)
	if err != nil {
		return nil, err
	}
	var urls, routes []string
	for i := range n {
		urls = append(urls, "nats://127.0.0.1:"+strconv.Itoa(ports[i]))
		routes = append(routes, "nats://127.0.0.1:"+strconv.Itoa(ports[n+i]))
	}
	q.url = strings.Join(urls, ",")
	for i := range n {
		conf := fmt.Sprintf("server_name: n%d\nlisten: \"127.0.0.1:%d\"\njetstream { store_dir: %q }\n", i, ports[i], filepath.Join(dir, strconv.Itoa(i)))
		if n > 1 {
			conf += fmt.Sprintf("cluster { name: bench, listen: \"127.0.0.1:%d\", routes: [%s] }\n", ports[n+i], strings.Join(routes, ", "))
		}
		file := filepath.Join(dir, fmt.Sprintf("%d.conf", i))
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, path, "-c", file)
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		q.procs = append(q.procs, cmd)
	}
	return q, nil
}

func (q *queue) stop() {
	defer func() { q.procs = nil }()
	for _, p := range q.procs {
		_ = p.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(10*time.Second, func() { _ = p.Process.Kill() })
		_ = p.Wait()
		kill.Stop()
	}
	_ = os.RemoveAll(q.dir)
}

// cluster is several nodes on three NATS servers.
type cluster struct {
	*queue
	nodes []*target
}

func (s *suite) cluster(ctx context.Context, nodes int, args ...string) (c *cluster, err error) {
	path, err := s.natsServer(ctx)
	if err != nil {
		return nil, err
	}
	c = &cluster{}
	if c.queue, err = startQueue(ctx, path, 3); err != nil {
		return nil, err
	}
	for range nodes {
		if err := c.join(ctx, s, args...); err != nil {
			c.end()
			return nil, err
		}
	}
	return c, nil
}

// join adds a node.
func (c *cluster) join(ctx context.Context, s *suite, args ...string) error {
	t, err := start(ctx, s.server, append([]string{"--nats-url=" + c.url}, args...)...)
	if err == nil {
		c.nodes = append(c.nodes, t)
	}
	return err
}

func (c *cluster) end() {
	for _, n := range c.nodes {
		n.stop()
	}
	c.stop()
}

// drained waits until every job of the cluster has ended, by the leader's count.
func (c *cluster) drained(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	for {
		var left float64
		var errs error
		for _, n := range c.nodes {
			v, err := n.metric("gather_admitted_jobs")
			errs = errors.Join(errs, err)
			left += v
		}
		if errs != nil || left == 0 {
			return time.Since(began), errs
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%g jobs have not ended: %w", left, context.Cause(ctx))
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// natsServer builds the server once.
func (s *suite) natsServer(ctx context.Context) (string, error) {
	if s.nats != "" {
		return s.nats, nil
	}
	path := filepath.Join(filepath.Dir(s.server), "nats-server")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the NATS server: %w\n%s", err, out)
	}
	s.nats = path
	return path, nil
}
