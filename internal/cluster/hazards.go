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

// ErrUnsafe is returned when a stream has a configuration with which its servers are known to lose acknowledged messages.
var ErrUnsafe = errors.New("the NATS servers can lose acknowledged messages")

// natsVersion is a version of the NATS server.
type natsVersion [3]int

// hazards are the versions of the NATS server that lose acknowledged messages of a replicated stream in files with compression
// and sync_interval: always. Found by killing one server at a time (TestNATSLeaderKills -compress-log): while it recovers, the
// server truncates a compressed block at an offset of the uncompressed one ("s2: corrupt input") and begins with an empty
// stream. After three such kills no replica has the messages. 2.14.9 does not; there is no fixed 2.15 yet.
var hazards = []struct{ first, last natsVersion }{
	{natsVersion{2, 15, 0}, natsVersion{2, 15, 3}},
}

// newestTested is the newest version of the NATS server that was tried.
var newestTested = natsVersion{2, 15, 3}

// hazard returns ErrUnsafe when a server of a version is known to lose messages of a stream, and a warning when it may:
// a client cannot see sync_interval, or the versions of the servers that it is not connected to.
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
	what := "2.15.0 to 2.15.3 lose such streams, and not every server need have this version"
	if !ok || v.compare(newestTested) > 0 {
		what = "it was not tried whether this version loses such streams, as 2.15.0 to 2.15.3 do"
	}
	return fmt.Errorf("stream %s is compressed by servers of version %q; %s: %s", cfg.Name, version, what, remedy), nil
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

// checkStreams checks the configuration of every existing stream and bucket of gather, and counts those at risk. It
// returns ErrUnsafe for one that is known to lose messages, and logs one that may.
func (c *Cluster) checkStreams(ctx context.Context) error {
	version := c.nc.ConnectedServerVersion()
	atRisk := 0
	var unsafe error
	// By name: a user with access to gather alone may not list streams.
	p := c.upper()
	for _, name := range []string{p + "_LOG", p + "_TASKS", p + "_ARRAYS", "KV_" + p + "_NODES", "KV_" + p + "_ARRAYS_META"} {
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

// checkEvery is how often the streams are checked again.
const checkEvery = 30 * time.Second

// watchStreams checks the streams every checkEvery, and after every new connection, until ctx is done. While one is
// known to lose messages, no submission is accepted.
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
				c.log.Error("submissions are refused", "error", err)
			}
			c.unsafe.Store(newRejection("log-unsafe", err.Error(), checkEvery))
		}
	}
}
