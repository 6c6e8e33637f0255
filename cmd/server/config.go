package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"time"

	"gather/internal/journal"
	"gather/internal/outbound"
)

// serveCmd has the settings of the server.
type serveCmd struct {
	Listen        string `default:"127.0.0.1:8080" placeholder:"ADDR" help:"Address of the API."`
	MetricsListen string `default:"127.0.0.1:9091" placeholder:"ADDR" help:"Address of /metrics and /debug/pprof; empty for none."`
	DataDir       string `default:"gather-data" placeholder:"DIR" help:"Directory of the journal and of uploaded arrays; created if it does not exist."`

	APIKeys        string   `name:"api-keys" env:"GATHER_API_KEYS" placeholder:"FILE" help:"File of API keys, written by 'gather keys create'. SIGHUP reloads it."`
	InsecureNoAuth bool     `help:"Allow listening beyond loopback without API keys."`
	TrustedProxies []string `placeholder:"CIDR" help:"Networks of reverse proxies whose X-Forwarded-For is trusted."`
	AllowedHosts   []string `placeholder:"HOST" help:"Further host names that a listener without API keys accepts in Host and Origin: a name, .DOMAIN for a domain and its subdomains, or * for any."`
	CORSOrigins    []string `name:"cors-origins" placeholder:"ORIGIN" help:"Origins whose pages may use the API in a browser, such as https://app.example, or * for any."`

	NodeName     string   `placeholder:"NAME" help:"Name of this server in GET /v1/nodes; default: the host name."`
	NatsURL      string   `name:"nats-url" placeholder:"URL" help:"Run as a node of the cluster on these NATS servers with JetStream, separated by commas: nats://HOST:4222 or tls://HOST:4222, with user and password or a token. The node listens when it has joined. It keeps its replica in DIR/view, which is rebuilt if it is lost."`
	NatsCreds    string   `name:"nats-creds" placeholder:"FILE" help:"Credentials for NATS: the user's JWT and seed, in the format of nsc."`
	NatsCA       string   `name:"nats-ca" placeholder:"FILE" help:"CA certificates for the NATS servers; default: the system's."`
	NatsCert     string   `name:"nats-cert" placeholder:"FILE" help:"Client certificate for NATS, with --nats-key."`
	NatsKey      string   `name:"nats-key" placeholder:"FILE" help:"Key of the client certificate."`
	NatsPrefix   string   `default:"gather" placeholder:"NAME" help:"Prefix of the names of streams and subjects. Each cluster needs its own."`
	NatsReplicas count    `default:"3" placeholder:"N" help:"Replicas of the streams, used when they are created."`
	LogSnapshot  size     `default:"64MiB" placeholder:"SIZE" help:"Growth of the cluster's log after which a node writes a snapshot of the state and trims the log. A new node reads the last snapshot and what follows."`
	NodeTimeout  duration `default:"10s" placeholder:"DURATION" help:"Time without a heartbeat after which the tasks of a node are redelivered to other nodes."`

	Workers      count `default:"0" placeholder:"N" help:"Size of the worker pool; 0 is one for each CPU."`
	QueueJobs    count `default:"100000" placeholder:"N" help:"Maximum number of unfinished jobs."`
	QueueBytes   size  `default:"0" placeholder:"SIZE" help:"Maximum memory of unfinished jobs; 0 is a quarter of the memory limit of the process, at most 1GiB."`
	RequestBytes size  `default:"0" placeholder:"SIZE" help:"Maximum memory of request bodies, uploads and responses; 0 is a quarter of the memory limit of the process, at most 512MiB."`
	WaitingItems count `default:"4000000" placeholder:"N" help:"Maximum number of items that wait (sleep) at the same time."`

	HTTPAllow    []string `name:"http-allow" placeholder:"HOST" help:"Hosts and networks that http_batch may send requests to: HOST, *.DOMAIN for its subdomains, * for any host with a public address, ADDRESS or NETWORK/BITS; each with :PORT for one port only. A host with a private address needs its network too. None by default: http_batch is off."`
	HTTPInFlight count    `name:"http-in-flight" default:"1000" placeholder:"N" help:"Maximum number of requests of http_batch in flight."`
	SecretsDir   string   `placeholder:"DIR" help:"Directory of the secrets that headers of http_batch can have: a file for each, in a subdirectory for each tenant with --api-keys."`

	MaxBody       size     `default:"32MiB" placeholder:"SIZE" help:"Maximum size of a request body."`
	MaxItems      count    `default:"10000000" placeholder:"N" help:"Maximum number of items of a job."`
	MaxDigits     count    `default:"100000" placeholder:"N" help:"Maximum number of digits of an integer."`
	MaxChunks     count    `default:"1000000" placeholder:"N" help:"Maximum number of chunks of an array."`
	MaxOutputs    count    `default:"1000000" placeholder:"N" help:"Maximum number of elements of the result of an array sum."`
	MaxResult     size     `name:"max-result-bytes" default:"1GiB" placeholder:"SIZE" help:"Maximum bytes of results that a job stores; 0 is no limit."`
	MaxArray      size     `default:"64GiB" placeholder:"SIZE" help:"Maximum size of an uploaded array; 0 is no limit."`
	ArrayBucket   []string `placeholder:"URL" help:"Buckets whose .npy objects jobs may read: file:///DIR, or s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION with credentials from the AWS_* variables."`
	ArrayQuota    size     `default:"0" placeholder:"SIZE" help:"Maximum size of all uploaded arrays of a tenant; 0 is no limit."`
	MaxStreams    count    `default:"10000" placeholder:"N" help:"Maximum number of open event streams and waiting requests."`
	Retention     duration `default:"24h" placeholder:"DURATION" help:"How long finished jobs are kept, unless the job sets its own retention."`
	FailRetention duration `name:"failed-retention" default:"0s" placeholder:"DURATION" help:"How long jobs that failed are kept, unless the job sets its own; 0 is as long as other jobs."`
	MaxRetention  duration `default:"720h" placeholder:"DURATION" help:"Maximum retention that a job can set."`
	TombRetention duration `name:"tombstone-retention" default:"24h" placeholder:"DURATION" help:"How long a deleted or expired job returns 410 instead of 404."`
	KeyRetention  duration `name:"idempotency-retention" default:"24h" placeholder:"DURATION" help:"How long an Idempotency-Key is stored."`
	MinFreeDisk   size     `default:"256MiB" placeholder:"SIZE" help:"Minimum free disk space: below it no job is accepted, and uploads of arrays leave a quarter more; 0 disables the check."`

	UI bool `name:"ui" default:"true" help:"Serve the console at /ui/."`

	DrainDelay   duration  `default:"0s" placeholder:"DURATION" help:"Time after SIGTERM during which requests are served with /readyz at 503, so that load balancers remove the server."`
	DrainTimeout duration  `default:"30s" placeholder:"DURATION" help:"Time that running tasks have to finish at shutdown."`
	LogLevel     logLevel  `default:"info" placeholder:"LEVEL" help:"debug, info, warn or error."`
	LogFormat    logFormat `default:"auto" placeholder:"FORMAT" help:"json, text, or auto: text on a terminal."`
	AccessLog    bool      `help:"Log every request at level info; default: only failed requests."`

	memory memory
}

// validate checks all settings and returns every error.
func (c *serveCmd) validate() error {
	var errs []error
	addError := func(flag string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", flag, err))
		}
	}
	addError("listen", checkAddress(c.Listen))
	if c.MetricsListen != "" {
		addError("metrics-listen", checkAddress(c.MetricsListen))
	}
	if c.DataDir == "" {
		addError("data-dir", errors.New("must not be empty"))
	}
	for _, p := range c.TrustedProxies {
		if _, err := netip.ParsePrefix(p); err != nil {
			addError("trusted-proxies", fmt.Errorf("%q is not a network such as 10.0.0.0/8", p))
		}
	}
	for _, h := range c.AllowedHosts {
		if h == "" || strings.ContainsAny(h, "/ ") || strings.Contains(h, ":") && !isAddress(h) {
			addError("allowed-hosts", fmt.Errorf("%q is not a host name such as gather.example.com, without scheme and port", h))
		}
	}
	for _, o := range c.CORSOrigins {
		if err := checkOrigin(o); err != nil {
			addError("cors-origins", fmt.Errorf("%q %w", o, err))
		}
	}
	addError("workers", c.Workers.check(0, 4096))
	addError("queue-jobs", c.QueueJobs.check(1, 100_000_000))
	addError("queue-bytes", c.QueueBytes.checkOrZero(1<<20))
	addError("request-bytes", c.RequestBytes.checkOrZero(1<<20))
	addError("waiting-items", c.WaitingItems.check(1, 1_000_000_000))
	if _, err := outbound.ParsePolicy(c.HTTPAllow); err != nil {
		addError("http-allow", err)
	}
	addError("http-in-flight", c.HTTPInFlight.check(1, 100_000))
	addError("max-body", c.MaxBody.check(1<<10))
	addError("max-items", c.MaxItems.check(1, 16_000_000))
	addError("max-digits", c.MaxDigits.check(20, 10_000_000))
	addError("max-chunks", c.MaxChunks.check(1, 100_000_000))
	addError("max-outputs", c.MaxOutputs.check(1, 16_000_000))
	addError("max-result-bytes", c.MaxResult.check(0))
	addError("max-array", c.MaxArray.check(0))
	addError("array-quota", c.ArrayQuota.check(0))
	addError("max-streams", c.MaxStreams.check(1, 1_000_000))
	addError("retention", c.Retention.check(time.Second))
	addError("max-retention", c.MaxRetention.check(time.Second))
	if c.Retention.err == nil && c.MaxRetention.err == nil && c.Retention.d > c.MaxRetention.d {
		addError("retention", fmt.Errorf("%s is longer than --max-retention %s", c.Retention.d, c.MaxRetention.d))
	}
	addError("failed-retention", c.FailRetention.check(0))
	if c.FailRetention.err == nil && c.MaxRetention.err == nil && c.FailRetention.d > c.MaxRetention.d {
		addError("failed-retention", fmt.Errorf("%s is longer than --max-retention %s", c.FailRetention.d, c.MaxRetention.d))
	}
	addError("tombstone-retention", c.TombRetention.check(0))
	addError("idempotency-retention", c.KeyRetention.check(time.Second))
	addError("min-free-disk", c.MinFreeDisk.check(0))
	c.checkNode(addError)
	addError("drain-delay", c.DrainDelay.check(0))
	addError("drain-timeout", c.DrainTimeout.check(0))
	addError("log-level", c.LogLevel.err)
	addError("log-format", c.LogFormat.err)
	if c.APIKeys == "" && !c.InsecureNoAuth && !loopback(c.Listen) {
		addError("listen", fmt.Errorf("%s is reachable from other machines and has no API keys: create some with "+
			"'gather keys create' and set --api-keys, or listen on 127.0.0.1, or set --insecure-no-auth", c.Listen))
	}
	if len(errs) > 0 {
		return fmt.Errorf("%w:\n%w", errUsage, errors.Join(errs...))
	}
	if c.Workers.n == 0 {
		c.Workers.n = int64(runtime.GOMAXPROCS(0))
	}
	return nil
}

// tombstoneRetention returns the setting for the journal, where 0 selects the default.
func (c *serveCmd) tombstoneRetention() time.Duration {
	if c.TombRetention.d == 0 {
		return journal.NoTombstones
	}
	return c.TombRetention.d
}

func checkAddress(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%q is not an address such as 127.0.0.1:8080", addr)
	}
	return nil
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// loopback reports whether an address is reachable only from this machine. An invalid address is reported elsewhere.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
