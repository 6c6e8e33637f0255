// Package outbound sends HTTP requests of many batches to hosts that an operator allows, with bounds, retries and fairness.
//
// Guarantees.
//   - A request is sent only to a host and port of its policy, and only over connections to addresses that are public or that
//     the policy has: the address is checked after each resolution, when the connection is made. Redirects are checked alike.
//   - At most Config.InFlight requests of all batches are in flight, at most Limits.InFlight of a tenant, and at most
//     Options.Concurrency of a batch. A waiting
//     request (for its turn, its rate or its retry) holds no goroutine and no connection.
//   - Jobs take turns, one request each, by the weight of their priority. A job never takes the last free places, so that the
//     next one starts immediately whatever the others wait for.
//   - Bodies are bounded as they are read, after decompression, and so are the outcomes that a batch has not collected.
//   - Secrets are read for each attempt, and are in no outcome, error or log.
//   - After the end of a batch's context none of its requests is sent, once Batch.Await has reported.
//
// Goroutines. Each request in flight has one, which takes the next request when its own has ended. Close waits for all; the
// batches must have ended before.
package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config has the bounds and dependencies of a Sender.
type Config struct {
	// Policy has the hosts that are allowed; nil for none.
	Policy *Policy
	// Limits returns the limits of a tenant, which may change at any time; nil for none. It must be quick.
	Limits func(tenant string) Limits
	// InFlight bounds the requests in flight.
	InFlight int
	// Bytes bounds the bytes of responses that are read or not yet collected.
	Bytes int64
	// SecretsDir is the directory of the files of secrets; "" for none. With TenantSecrets each tenant has a subdirectory.
	SecretsDir    string
	TenantSecrets bool
	// UserAgent is the User-Agent of requests that do not set their own.
	UserAgent string
	// RootCAs verify servers; nil for the system's.
	RootCAs    *x509.CertPool
	Registerer prometheus.Registerer
}

// A Sender sends the requests of all batches. Its methods are safe for concurrent use.
type Sender struct {
	cfg     Config
	secrets *secrets
	metrics *metrics
	wg      sync.WaitGroup // requests in flight
	// newTransport is replaced in tests.
	newTransport func(*Policy) http.RoundTripper

	transportsMu sync.Mutex
	transports   map[string]http.RoundTripper // by the entries of their policy

	mu        sync.Mutex
	lanes     [priorities]lane
	groups    map[[16]byte]*group
	tenants   map[string]*tenant
	inFlight  int
	bytes     int64 // reserved for responses in flight, and of outcomes that are not collected
	outcomes  int   // not collected
	draining  bool
	idle      chan struct{} // closed when draining is complete; nil when not draining
	idleFired bool
}

// New returns a Sender. The caller must call Close.
func New(cfg Config) (*Sender, error) {
	if cfg.InFlight < 1 || cfg.Bytes < 1 {
		return nil, fmt.Errorf("bounds must be positive, got %d requests and %d bytes", cfg.InFlight, cfg.Bytes)
	}
	if cfg.Policy == nil {
		cfg.Policy = &Policy{}
	}
	dir, err := openSecrets(cfg.SecretsDir)
	if err != nil {
		return nil, fmt.Errorf("directory of secrets: %w", err)
	}
	s := &Sender{cfg: cfg, secrets: dir, groups: make(map[[16]byte]*group), tenants: make(map[string]*tenant), transports: make(map[string]http.RoundTripper)}
	if s.cfg.Limits == nil {
		s.cfg.Limits = func(string) Limits { return Limits{} }
	}
	s.newTransport = s.dial
	s.metrics = newMetrics(cfg.Registerer, s)
	return s, nil
}

// Policy returns the policy of a tenant now.
func (s *Sender) Policy(tenant string) *Policy {
	if p := s.cfg.Limits(tenant).Policy; p != nil {
		return p
	}
	return s.cfg.Policy
}

// Secret returns a secret of a tenant. Its error wraps ErrNoSecret.
func (s *Sender) Secret(tenant, name string) (string, error) {
	if !s.cfg.TenantSecrets {
		tenant = ""
	}
	return s.secrets.read(tenant, name)
}

// Drain sends no further request. It returns when no request is in flight and all outcomes are collected, or when ctx is
// done.
func (s *Sender) Drain(ctx context.Context) {
	s.mu.Lock()
	s.draining = true
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	s.checkIdle()
	idle := s.idle
	s.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// checkIdle reports that draining is complete. Caller holds s.mu.
func (s *Sender) checkIdle() {
	if s.draining && s.inFlight == 0 && s.outcomes == 0 && !s.idleFired {
		s.idleFired = true
		close(s.idle)
	}
}

// Close waits for the requests in flight, whose contexts must have ended, and closes idle connections.
func (s *Sender) Close() error {
	s.mu.Lock()
	s.draining = true
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	s.mu.Unlock()
	s.wg.Wait()
	s.transportsMu.Lock()
	defer s.transportsMu.Unlock()
	for _, t := range s.transports {
		if c, ok := t.(interface{ CloseIdleConnections() }); ok {
			c.CloseIdleConnections()
		}
	}
	return s.secrets.Close()
}

// Timeouts and bounds of connections.
const (
	dialTimeout     = 10 * time.Second
	idleConnTimeout = 30 * time.Second
	maxResponseHead = 64 << 10
	keepAlive       = 15 * time.Second
)

// transport returns the connections of a policy: a connection that one policy allows must not be used under another.
func (s *Sender) transport(p *Policy) http.RoundTripper {
	s.transportsMu.Lock()
	defer s.transportsMu.Unlock()
	t, ok := s.transports[p.text]
	if !ok {
		t = s.newTransport(p)
		s.transports[p.text] = t
	}
	return t
}

// dial returns a transport without a proxy, which would resolve names itself.
func (s *Sender) dial(p *Policy) http.RoundTripper {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive, Control: p.control}
	return &http.Transport{
		DialContext: dialer.DialContext, ForceAttemptHTTP2: true,
		MaxIdleConns: s.cfg.InFlight, MaxIdleConnsPerHost: s.cfg.InFlight, IdleConnTimeout: idleConnTimeout,
		TLSHandshakeTimeout: dialTimeout, MaxResponseHeaderBytes: maxResponseHead, TLSClientConfig: tlsConfig(s.cfg.RootCAs),
	}
}

// errStopped is the cause with which the context of a batch ends that Stop was called for.
var errStopped = errors.New("the batch was stopped")

func tlsConfig(roots *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}
