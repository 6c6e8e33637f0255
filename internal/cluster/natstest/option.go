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

// Binary makes the servers run a binary from Build.
func Binary(path string) Option {
	return func(_ testing.TB, s *setup) { s.binary = path }
}

// Config appends lines to the configuration of every server.
func Config(lines string) Option {
	return func(_ testing.TB, s *setup) { s.extra = append(s.extra, lines) }
}

// Disk calls mount with the directory of each server's store before the first start.
func Disk(mount func(i int, dir string)) Option {
	return func(_ testing.TB, s *setup) { s.mount = mount }
}

// Env adds variables to the environment of the process of server i.
func Env(variables func(i int) []string) Option {
	return func(_ testing.TB, s *setup) { s.env = variables }
}

// RouteProxies puts a Proxy into each connection between two servers: see Routes.
func RouteProxies() Option {
	return func(_ testing.TB, s *setup) { s.proxied = true }
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

// unusedPort refuses connections.
const unusedPort = 1

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

	mount   func(i int, dir string)
	env     func(i int) []string
	proxied bool
	// routes has the proxies through which each server connects to each other one.
	routes [][]*Proxy
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
	var urls []string
	for i := range n {
		node := node{
			name: fmt.Sprintf("nats-%d", i), client: ports[3*i], cluster: ports[3*i+1], monitor: ports[3*i+2],
			config: filepath.Join(s.dir, fmt.Sprintf("nats-%d.conf", i)),
		}
		s.nodes = append(s.nodes, node)
		u := url.URL{Scheme: s.scheme, Host: loopback(node.client), User: s.user}
		urls = append(urls, u.String())
	}
	s.URL = strings.Join(urls, ",")
	for i := range s.nodes {
		if s.mount != nil {
			s.mount(i, s.StoreDir(i))
		}
		write(tb, s.nodes[i].config, s.configuration(i, s.routesOf(tb, i)))
	}
	return s
}

// routesOf returns the addresses at which server i reaches the others.
func (s *setup) routesOf(tb testing.TB, i int) (urls []string) {
	tb.Helper()
	proxies := make([]*Proxy, len(s.nodes))
	for k := range s.nodes {
		url := "nats://" + loopback(s.nodes[k].cluster)
		if s.proxied {
			if k == i {
				continue
			}
			proxies[k] = NewProxy(tb, url)
			url = proxies[k].URL
		}
		urls = append(urls, url)
	}
	s.routes = append(s.routes, proxies)
	return urls
}

// Routes returns the proxies between server i and the others, by which of the two sides connects: for the responses of a proxy in from,
// and for the requests of one in to, server i is the receiver. It has them with the option RouteProxies.
func (s *setup) Routes(i int) (from, to []*Proxy) {
	for k := range s.nodes {
		if k != i {
			from, to = append(from, s.routes[i][k]), append(to, s.routes[k][i])
		}
	}
	return from, to
}

// configuration returns the configuration file of server i. Clients know all servers from URL: a server does not advertise the
// others, so that a Proxy is not bypassed.
func (s *setup) configuration(i int, routes []string) string {
	n := &s.nodes[i]
	text := fmt.Sprintf("server_name: %q\nlisten: %q\njetstream { store_dir: %q, max_file: 8GB, max_mem: 256MB, sync_interval: %s }\n",
		n.name, loopback(n.client), s.StoreDir(i), s.sync)
	if len(s.nodes) > 1 {
		advertise := ""
		if s.proxied { // a server would connect past the proxies to an address of which another one informs it
			advertise = fmt.Sprintf(", advertise: %q", loopback(unusedPort))
		}
		text += fmt.Sprintf("cluster { name: natstest, listen: %q, routes: [%s], no_advertise: true%s }\n", loopback(n.cluster), strings.Join(routes, ", "), advertise)
	}
	return text + strings.Join(s.extra, "\n") + "\n"
}

// StoreDir returns the directory in which server i stores its streams.
func (s *setup) StoreDir(i int) string { return filepath.Join(s.dir, s.nodes[i].name) }
