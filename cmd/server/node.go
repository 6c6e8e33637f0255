package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds of the node settings.
const (
	maxNodeName    = 128
	maxReplicas    = 5 // JetStream's limit
	minNodeTimeout = time.Second
	maxNodeTimeout = 10 * time.Minute
)

var (
	natsSchemes = []string{"nats", "tls", "ws", "wss"}
	natsPrefix  = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
)

// checkNode checks the settings of a node, and cluster settings without a cluster.
func (c *serveCmd) checkNode(addError func(flag string, err error)) {
	if c.NodeName == "" {
		c.NodeName, _ = os.Hostname()
	}
	addError("node-name", checkName(c.NodeName))
	addError("nats-url", checkNATS(c.NatsURL))
	for _, f := range []struct{ flag, file string }{
		{"nats-creds", c.NatsCreds}, {"nats-ca", c.NatsCA}, {"nats-cert", c.NatsCert}, {"nats-key", c.NatsKey},
	} {
		switch {
		case f.file == "":
		case c.NatsURL == "":
			addError(f.flag, errors.New("needs --nats-url"))
		default:
			addError(f.flag, readable(f.file))
		}
	}
	if (c.NatsCert == "") != (c.NatsKey == "") {
		addError("nats-cert", errors.New("requires --nats-key, and --nats-key requires it"))
	}
	if !natsPrefix.MatchString(c.NatsPrefix) {
		addError("nats-prefix", fmt.Errorf("%q is not 1 to 32 lower-case letters, digits and dashes", c.NatsPrefix))
	}
	addError("nats-replicas", c.NatsReplicas.check(1, maxReplicas))
	addError("log-snapshot", c.LogSnapshot.check(64<<10))
	err := c.NodeTimeout.check(minNodeTimeout)
	if err == nil && c.NodeTimeout.d > maxNodeTimeout {
		err = fmt.Errorf("%s is more than %s", c.NodeTimeout.d, maxNodeTimeout)
	}
	addError("node-timeout", err)
}

func checkName(name string) error {
	if name == "" {
		return errors.New("this machine has no host name: set a node name")
	}
	notPrintable := func(r rune) bool { return !unicode.IsPrint(r) }
	if n := utf8.RuneCountInString(name); n > maxNodeName || !utf8.ValidString(name) || strings.ContainsFunc(name, notPrintable) {
		return fmt.Errorf("%.200q is not 1 to %d printable characters", name, maxNodeName)
	}
	return nil
}

// checkNATS checks a list of NATS URLs. Its error does not quote the list, which may contain a password.
func checkNATS(list string) error {
	if list == "" {
		return nil
	}
	for i, s := range strings.Split(list, ",") {
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil || !slices.Contains(natsSchemes, u.Scheme) || u.Hostname() == "" {
			return fmt.Errorf("server %d of the list is not a URL such as nats://host:4222 or tls://host:4222", i+1)
		}
	}
	return nil
}

// natsServers returns a list of NATS URLs without users and passwords, for the log.
func natsServers(list string) string {
	var hosts []string
	for s := range strings.SplitSeq(list, ",") {
		if u, err := url.Parse(strings.TrimSpace(s)); err == nil {
			hosts = append(hosts, u.Scheme+"://"+u.Host)
		}
	}
	return strings.Join(hosts, ",")
}

// readable checks at startup that a file can be read, because otherwise the connection would be retried forever.
func readable(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	return f.Close()
}
