package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrUnsafe means that a stream has a configuration with which its servers are known to lose acknowledged messages.
var ErrUnsafe = errors.New("the NATS servers can lose acknowledged messages")

// A natsVersion is a version of the NATS server.
type natsVersion [3]int

// hazards lists the versions of the NATS server that lose acknowledged messages of a compressed, replicated file stream
// with sync_interval: always. They were found by killing one server at a time (TestNATSLeaderKills -compress-log): while it
// recovers, the server truncates a compressed block at an offset of the uncompressed one ("s2: corrupt input") and begins
// with an empty stream. After three such kills no replica has the messages. 2.14.9 does not lose them; there is no fixed
// 2.15 yet.
var hazards = []struct{ first, last natsVersion }{
	{natsVersion{2, 15, 0}, natsVersion{2, 15, 3}},
}

// newestTested is the newest version of the NATS server that was tested.
var newestTested = natsVersion{2, 15, 3}

// hazard returns ErrUnsafe if a server of a version is known to lose messages of a stream, and a warning if it may lose
// them: a client cannot see sync_interval, nor the versions of other servers.
func hazard(version string, cfg *jetstream.StreamConfig) (warning, err error) {
	if cfg.Compression == jetstream.NoCompression || cfg.Storage != jetstream.FileStorage {
		return nil, nil
	}
	const remedy = "turn the compression off and then restart every NATS server, see docs/cluster.md#compressed-streams"
	v, ok := parseVersion(version)
	for _, h := range hazards {
		if ok && v.compare(h.first) >= 0 && v.compare(h.last) <= 0 && cfg.Replicas > 1 {
			return nil, fmt.Errorf("%w: stream %s is compressed by servers of version %s: %s", ErrUnsafe, cfg.Name, version, remedy)
		}
	}
	reason := "2.15.0 to 2.15.3 lose such streams, and other servers may have one of these versions"
	if !ok || v.compare(newestTested) > 0 {
		reason = "this version was not tested for the loss of such streams that 2.15.0 to 2.15.3 have"
	}
	return fmt.Errorf("stream %s is compressed by servers of version %q; %s: %s", cfg.Name, version, reason, remedy), nil
}

func parseVersion(text string) (v natsVersion, ok bool) {
	text, _, _ = strings.Cut(text, "-")
	parts := strings.Split(text, ".")
	if len(parts) != len(v) {
		return v, false
	}
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil {
			return v, false
		}
		v[i] = n
	}
	return v, true
}

func (v natsVersion) compare(w natsVersion) int {
	for i := range v {
		if v[i] != w[i] {
			return v[i] - w[i]
		}
	}
	return 0
}

// checkStreams checks the configuration of every existing stream and bucket of gather, and counts the streams at risk. It
// returns ErrUnsafe if one is known to lose messages, and logs an error if one may lose them.
func (c *Cluster) checkStreams(ctx context.Context) error {
	version := c.nc.ConnectedServerVersion()
	atRisk := 0
	var unsafe error
	// By name, because a user with access to gather's subjects only may not list streams.
	p := c.upper()
	for _, name := range []string{p + "_LOG", p + "_TASKS", p + "_ARRAYS", p + "_DOCUMENTS", "KV_" + p + "_NODES", "KV_" + p + "_ARRAYS_META"} {
		s, err := c.js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		warning, err := hazard(version, &s.CachedInfo().Config)
		if warning != nil || err != nil {
			atRisk++
		}
		if warning != nil && c.atRisk.Load() != int64(atRisk) {
			c.log.Error("a stream may lose acknowledged messages", "error", warning)
		}
		unsafe = errors.Join(unsafe, err)
	}
	c.atRisk.Store(int64(atRisk))
	return unsafe
}

// checkEvery is the interval between checks of the streams.
const checkEvery = 30 * time.Second

// watchStreams checks the streams every checkEvery, and after every reconnect, until ctx is done. Submissions are rejected
// while a stream is known to lose messages.
func (c *Cluster) watchStreams(ctx context.Context) {
	connected := c.nc.StatusChanged(nats.CONNECTED)
	defer c.nc.RemoveStatusListener(connected)
	t := time.NewTicker(checkEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-connected:
		case <-t.C:
		}
		try, cancel := context.WithTimeout(ctx, 2*publishTimeout)
		err := c.checkStreams(try)
		cancel()
		switch {
		case err == nil:
			c.unsafe.Store(nil)
		case errors.Is(err, ErrUnsafe):
			if c.unsafe.Load() == nil {
				c.log.Error("submissions are rejected", "error", err)
			}
			c.unsafe.Store(newRejection("log-unsafe", err.Error(), checkEvery))
		}
	}
}
