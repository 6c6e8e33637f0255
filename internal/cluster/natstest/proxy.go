package natstest

import (
	"bytes"
	"context"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Proxy forwards the connections of a client to a server. While it is paused it forwards nothing, in both directions or in
// one, and connections stay open, as in a network partition.
type Proxy struct {
	// URL is the address for the client.
	URL string

	target string
	l      net.Listener
	done   sync.WaitGroup

	mu sync.Mutex
	// toServer and toClient are closed while they are not paused.
	toServer, toClient chan struct{}
	delay              time.Duration // of each read
	requests, hold     int           // requests to JetStream, and the number of the one to hold
	release            <-chan struct{}
	held               chan struct{} // closed when that request has come
	conns              []net.Conn
	ended              bool
}

// NewProxy starts a proxy for the first server of a URL. The test's cleanup stops it.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	u, err := url.Parse(strings.Split(target, ",")[0])
	must(tb, err)
	p := &Proxy{target: u.Host, toServer: make(chan struct{}), held: make(chan struct{})}
	p.toClient = p.toServer
	close(p.toServer)
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
		p.done.Go(func() { p.copy(server, client, func() chan struct{} { return p.toServer }, p.await) })
		p.done.Go(func() { p.copy(client, server, func() chan struct{} { return p.toClient }, nil) })
	}
}

// await holds the request that HoldRequest names until it is released.
func (p *Proxy) await(data []byte) {
	if !bytes.Contains(data, []byte("$JS.API.")) {
		return
	}
	p.mu.Lock()
	p.requests++
	hold := p.requests == p.hold
	p.mu.Unlock()
	if hold {
		close(p.held)
		<-p.release
	}
}

// copy forwards one direction of a connection. What it has read first passes await, if there is one.
func (p *Proxy) copy(to, from net.Conn, gate func() chan struct{}, await func(data []byte)) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if await != nil {
			await(buf[:n])
		}
		p.mu.Lock()
		open, delay := gate(), p.delay
		p.mu.Unlock()
		time.Sleep(delay)
		<-open
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// Pause stops the forwarding.
func (p *Proxy) Pause() { p.set(make(chan struct{}), make(chan struct{}), 0) }

// PauseResponses stops the forwarding to the client.
func (p *Proxy) PauseResponses() {
	open := make(chan struct{})
	close(open)
	p.set(open, make(chan struct{}), 0)
}

// PauseRequests stops the forwarding to the server.
func (p *Proxy) PauseRequests() {
	open := make(chan struct{})
	close(open)
	p.set(make(chan struct{}), open, 0)
}

// Delay delays everything by the given time for each read.
func (p *Proxy) Delay(d time.Duration) {
	open := make(chan struct{})
	close(open)
	p.set(open, open, d)
}

// HoldRequest holds request number n to JetStream, counted from one, and all that follows it, until release is closed. It is called
// before the client connects.
func (p *Proxy) HoldRequest(n int, release <-chan struct{}) { p.hold, p.release = n, release }

// Cut closes the connections of the client, which may connect again.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// Held returns a channel that is closed when that request has come.
func (p *Proxy) Held() <-chan struct{} { return p.held }

// Requests returns the number of requests to JetStream. Requests that arrive together count once.
func (p *Proxy) Requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

// Resume forwards the held data and everything after it.
func (p *Proxy) Resume() { p.Delay(0) }

// set sets the state, and releases what waits for the one before.
func (p *Proxy) set(toServer, toClient chan struct{}, delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, gate := range []chan struct{}{p.toServer, p.toClient} {
		select {
		case <-gate:
		default:
			close(gate)
		}
	}
	p.toServer, p.toClient, p.delay = toServer, toClient, delay
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
