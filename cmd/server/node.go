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

// The bounds of the settings of nodes.
const (
	maxNodeName    = 128
	maxReplicas    = 5 // of JetStream
	minNodeTimeout = time.Second
	maxNodeTimeout = 10 * time.Minute
)

var (
	natsSchemes = []string{"nats", "tls", "ws", "wss"}
	natsPrefix  = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
)

// checkNode checks the settings of a node of a cluster, and those of a single server that a cluster does not have.
func (c *serveCmd) checkNode(fault func(flag string, err error)) {
	if c.NodeName == "" {
		c.NodeName, _ = os.Hostname()
	}
	fault("node-name", checkName(c.NodeName))
	fault("nats-url", checkNATS(c.NatsURL))
	for _, f := range []struct{ flag, file string }{
		{"nats-creds", c.NatsCreds}, {"nats-ca", c.NatsCA}, {"nats-cert", c.NatsCert}, {"nats-key", c.NatsKey},
	} {
		switch {
		case f.file == "":
		case c.NatsURL == "":
			fault(f.flag, errors.New("needs --nats-url"))
		default:
			fault(f.flag, readable(f.file))
		}
	}
	if (c.NatsCert == "") != (c.NatsKey == "") {
		fault("nats-cert", errors.New("goes together with --nats-key"))
	}
	if !natsPrefix.MatchString(c.NatsPrefix) {
		fault("nats-prefix", fmt.Errorf("%q is not 1 to 32 lower-case letters, digits and dashes", c.NatsPrefix))
	}
	fault("nats-replicas", c.NatsReplicas.check(1, maxReplicas))
	err := c.NodeTimeout.check(minNodeTimeout)
	if err == nil && c.NodeTimeout.d > maxNodeTimeout {
		err = fmt.Errorf("%s is more than %s", c.NodeTimeout.d, maxNodeTimeout)
	}
	fault("node-timeout", err)
}

func checkName(name string) error {
	if name == "" {
		return errors.New("this machine has no name: give one")
	}
	notPrintable := func(r rune) bool { return !unicode.IsPrint(r) }
	if n := utf8.RuneCountInString(name); n > maxNodeName || !utf8.ValidString(name) || strings.ContainsFunc(name, notPrintable) {
		return fmt.Errorf("%.200q is not 1 to %d printable characters", name, maxNodeName)
	}
	return nil
}

// checkNATS checks a list of NATS servers. Its error does not quote the list, which may have a password.
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

// natsServers is the list of NATS servers as a log may show it: without users and passwords.
func natsServers(list string) string {
	var hosts []string
	for s := range strings.SplitSeq(list, ",") {
		if u, err := url.Parse(strings.TrimSpace(s)); err == nil {
			hosts = append(hosts, u.Scheme+"://"+u.Host)
		}
	}
	return strings.Join(hosts, ",")
}

// readable checks at the start that a file can be read; otherwise the connection would be retried without end.
func readable(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	return f.Close()
}
