package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
)

// identityKey names the log among all that ever bore its name.
const identityKey = "gather-log"

// lines are the kinds of turns of a priority: of new jobs, of jobs under way, and of new jobs that are short.
var lines = [...]string{fresh, active, short}

const (
	fresh  = "fresh"
	active = "active"
	short  = "short"
)

// makeStreams makes the streams and consumers that are missing, and returns the identity of the log. While the cluster is
// not able to, it tries again until ctx is done.
func (c *Cluster) makeStreams(ctx context.Context) (identity string, err error) {
	c.logStream = c.upper() + "_LOG"
	c.turns.stream = c.upper() + "_TURNS"
	for warned := false; ; {
		identity, err = c.tryStreams(ctx)
		if err == nil || errors.Is(err, errLogLost) || !passing(err) || ctx.Err() != nil {
			return identity, err
		}
		if !warned {
			c.log.Warn("waiting for JetStream", "error", err)
			warned = true
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return "", errors.Join(context.Cause(ctx), err)
		}
	}
}

// tryTimeout bounds one try: a request to servers that are only finding each other may never be answered.
const tryTimeout = 4 * time.Second

// persist repeats what fails while the cluster is not able to, until ctx is done.
func persist(ctx context.Context, do func(try context.Context) error) error {
	for {
		try, cancel := context.WithTimeout(ctx, tryTimeout)
		err := do(try)
		cancel()
		if err == nil || !passing(err) || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// passing tells an error that may pass by itself from one that will not.
func passing(err error) bool {
	if errors.Is(err, ErrUnsafe) {
		return false
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		// "no suitable peers", "insufficient resources", "temporarily unavailable"
		return api.Code == 503 || api.Code == 500 || api.ErrorCode == 10005 || api.ErrorCode == 10008 ||
			api.ErrorCode == jetstream.JSErrCodeStreamNotFound // made by another node, and not known everywhere
	}
	return true
}

func (c *Cluster) tryStreams(ctx context.Context) (identity string, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	if c.from() > 0 {
		// Nobody makes a log anew that this node has read.
		switch _, err := c.js.Stream(ctx, c.logStream); {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			return "", c.contradict("its stream does not exist")
		case err != nil:
			return "", err
		}
	}
	log, err := c.stream(ctx, jetstream.StreamConfig{
		Name: c.logStream, Description: "What happened to the jobs of gather.", Subjects: []string{c.cfg.Prefix + ".log.*"},
		Storage: jetstream.FileStorage, Replicas: c.cfg.Replicas, Discard: jetstream.DiscardNew,
		// No direct gets: they may be answered by a server that lags behind. No compression: see hazards.
		Metadata: map[string]string{identityKey: uuid.NewString()},
	})
	if err != nil {
		return "", err
	}
	info, err := log.Info(ctx)
	if err != nil {
		return "", err
	}
	identity, c.replicas = info.Config.Metadata[identityKey], info.Config.Replicas
	if identity == "" {
		return "", fmt.Errorf("stream %s was not made by gather: choose another --nats-prefix", c.logStream)
	}
	c.turns.classes, err = c.makeTurns(ctx)
	return identity, err
}

// makeTurns makes the stream of the turns and its consumers where they are missing.
func (c *Cluster) makeTurns(ctx context.Context) (classes []*class, err error) {
	turns, err := c.stream(ctx, jetstream.StreamConfig{
		Name: c.turns.stream, Description: "The tasks of gather that could run now.", Subjects: []string{c.cfg.Prefix + ".turns.>"},
		Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage, Replicas: c.cfg.Replicas,
		Discard: jetstream.DiscardNew, MaxMsgsPerSubject: 1, DiscardNewPerSubject: true,
	})
	if err != nil {
		return nil, err
	}
	for _, p := range job.Priorities() {
		for _, line := range lines {
			cons, err := turns.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
				Durable: p.String() + "-" + line, FilterSubject: c.turnSubject(p, line) + ".>",
				AckPolicy: jetstream.AckExplicitPolicy, AckWait: c.cfg.AckWait, MaxAckPending: -1, MaxDeliver: -1,
			})
			if err != nil {
				return nil, err
			}
			classes = append(classes, &class{priority: p, line: line, consumer: cons})
		}
	}
	return classes, nil
}

// stream makes a stream, or takes the one that is there, whatever an operator has made of its limits since.
func (c *Cluster) stream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := c.js.Stream(ctx, cfg.Name)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return s, err
	}
	s, err = c.js.CreateStream(ctx, cfg)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return c.js.Stream(ctx, cfg.Name)
	}
	return s, err
}

func (c *Cluster) turnSubject(p job.Priority, line string) string {
	return c.cfg.Prefix + ".turns." + p.String() + "." + line
}
