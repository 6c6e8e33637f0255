package cluster_test

import (
	"context"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"gather/internal/cluster"
)

// proxy is between a node and the server. While it is paused nothing passes, and nobody is told: to the others the node is
// as one that was stopped.
type proxy struct {
	target string
	l      net.Listener
	done   sync.WaitGroup

	mu    sync.Mutex
	open  chan struct{} // closed while it is not paused
	conns []net.Conn
	ended bool
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	u, err := url.Parse(strings.Split(target, ",")[0])
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{target: u.Host, open: make(chan struct{})}
	close(p.open)
	var lc net.ListenConfig
	if p.l, err = lc.Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	p.done.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// use has a node connect through the proxy.
func (p *proxy) use(c *cluster.Config) { c.URL = "nats://" + p.l.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.l.Accept()
		if err != nil {
			return
		}
		var d net.Dialer
		server, err := d.DialContext(context.Background(), "tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		if p.ended {
			_, _ = client.Close(), server.Close()
		}
		p.mu.Unlock()
		p.done.Go(func() { p.copy(server, client) })
		p.done.Go(func() { p.copy(client, server) })
	}
}

func (p *proxy) copy(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		open := p.open
		p.mu.Unlock()
		<-open
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = make(chan struct{})
}

func (p *proxy) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

func (p *proxy) close() {
	_ = p.l.Close()
	p.resume()
	p.mu.Lock()
	p.ended = true
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.done.Wait()
}
