package natstest

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// An Option changes how the servers are configured.
type Option func(tb testing.TB, s *setup)

// Password makes the servers require a user and a password, which URL contains.
func Password(user, password string) Option {
	return func(_ testing.TB, s *setup) {
		s.user = url.UserPassword(user, password)
		s.extra = append(s.extra, fmt.Sprintf("authorization { user: %q, password: %q }", user, password))
	}
}

// TLS makes the servers use TLS with certificates of their own CA: see Files.CA.
func TLS() Option {
	return func(tb testing.TB, s *setup) { s.useTLS(tb, false) }
}

// MutualTLS is TLS with a required client certificate: see Files.ClientCert and Files.ClientKey.
func MutualTLS() Option {
	return func(tb testing.TB, s *setup) { s.useTLS(tb, true) }
}

// Creds makes the servers trust an operator with an account that has JetStream and a user: see Files.Creds.
func Creds() Option {
	return func(tb testing.TB, s *setup) { s.useOperator(tb) }
}

// SyncAlways makes the servers sync every message to disk before they acknowledge it, as deploy/nats does.
func SyncAlways() Option {
	return func(_ testing.TB, s *setup) { s.sync = "always" }
}

// Binary makes StartProcesses run a binary from Build.
func Binary(path string) Option {
	return func(_ testing.TB, s *setup) { s.binary = path }
}

// Config appends lines to the configuration of every server.
func Config(lines string) Option {
	return func(_ testing.TB, s *setup) { s.extra = append(s.extra, lines) }
}

// Files holds the URL and the file names that a client of the servers needs.
type Files struct {
	// URL lists the servers, separated by commas, with user and password if they are required.
	URL string
	// CA is the file of the CA certificate, with TLS or MutualTLS.
	CA string
	// ClientCert and ClientKey are the client certificate and its key, with MutualTLS.
	ClientCert, ClientKey string
	// Creds is the file with the user's JWT and seed, with the option Creds.
	Creds string
}

// setup holds the options, and the ports and directories of the servers.
type setup struct {
	Files

	dir    string
	nodes  []node
	user   *url.Userinfo
	scheme string
	extra  []string
	sync   string // the sync_interval of JetStream
	binary string // of the server; "" to build it
}

// node is the configuration of one server.
type node struct {
	name, config             string
	client, cluster, monitor int
}

// newSetup chooses ports and writes the configurations.
func newSetup(tb testing.TB, n int, opts []Option) *setup {
	tb.Helper()
	if n != 1 && n != 3 {
		tb.Fatalf("natstest: %d servers; there may be 1 or 3", n)
	}
	s := &setup{dir: tb.TempDir(), scheme: "nats", sync: "2m"}
	for _, opt := range opts {
		opt(tb, s)
	}
	ports := freePorts(tb, 3*n)
	var urls, routes []string
	for i := range n {
		node := node{
			name: fmt.Sprintf("nats-%d", i), client: ports[3*i], cluster: ports[3*i+1], monitor: ports[3*i+2],
			config: filepath.Join(s.dir, fmt.Sprintf("nats-%d.conf", i)),
		}
		s.nodes = append(s.nodes, node)
		u := url.URL{Scheme: s.scheme, Host: loopback(node.client), User: s.user}
		urls = append(urls, u.String())
		routes = append(routes, "nats://"+loopback(node.cluster))
	}
	s.URL = strings.Join(urls, ",")
	for i := range s.nodes {
		write(tb, s.nodes[i].config, s.configuration(i, routes))
	}
	return s
}

// configuration returns the configuration file of server i. Clients know all servers from URL: a server does not advertise the
// others, so that a Proxy is not bypassed.
func (s *setup) configuration(i int, routes []string) string {
	n := &s.nodes[i]
	text := fmt.Sprintf("server_name: %q\nlisten: %q\njetstream { store_dir: %q, max_file: 8GB, max_mem: 256MB, sync_interval: %s }\n",
		n.name, loopback(n.client), s.StoreDir(i), s.sync)
	if len(s.nodes) > 1 {
		text += fmt.Sprintf("cluster { name: natstest, listen: %q, routes: [%s], no_advertise: true }\n", loopback(n.cluster), strings.Join(routes, ", "))
	}
	return text + strings.Join(s.extra, "\n") + "\n"
}

// StoreDir returns the directory in which server i stores its streams.
func (s *setup) StoreDir(i int) string { return filepath.Join(s.dir, s.nodes[i].name) }
