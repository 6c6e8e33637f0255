package natstest

import (
	"context"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// A Proxy forwards the connections of a client to a server. While it is paused it forwards nothing, and connections stay
// open, as in a network partition.
type Proxy struct {
	// URL is the address for the client.
	URL string

	target string
	l      net.Listener
	done   sync.WaitGroup

	mu    sync.Mutex
	open  chan struct{} // closed while it is not paused
	conns []net.Conn
	ended bool
}

// NewProxy starts a proxy for the first server of a URL. The test's cleanup stops it.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	u, err := url.Parse(strings.Split(target, ",")[0])
	must(tb, err)
	p := &Proxy{target: u.Host, open: make(chan struct{})}
	close(p.open)
	var lc net.ListenConfig
	p.l, err = lc.Listen(context.Background(), "tcp", loopback(0))
	must(tb, err)
	p.URL = "nats://" + p.l.Addr().String()
	p.done.Go(p.accept)
	tb.Cleanup(p.close)
	return p
}

func (p *Proxy) accept() {
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

func (p *Proxy) copy(to, from net.Conn) {
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

// Pause stops the forwarding.
func (p *Proxy) Pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = make(chan struct{})
}

// Resume forwards the held data and everything after it.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

func (p *Proxy) close() {
	_ = p.l.Close()
	p.Resume()
	p.mu.Lock()
	p.ended = true
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.done.Wait()
}
