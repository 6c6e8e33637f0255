package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
)

// streamIDKey is the key of the log's ID in the metadata of its stream. It distinguishes streams of the same name.
const streamIDKey = "gather-log"

// taskQueues lists the queues of each priority: of new jobs, of running jobs, and of new jobs that are short.
var taskQueues = [...]string{newQueue, runningQueue, shortQueue}

const (
	newQueue     = "new"
	runningQueue = "running"
	shortQueue   = "short"
)

// makeStreams creates missing streams and consumers, and returns the ID of the log. It retries until ctx is done while the
// servers are not ready.
func (c *Cluster) makeStreams(ctx context.Context) (streamID string, err error) {
	c.logStream = c.upper() + "_LOG"
	c.leases.stream = c.upper() + "_TASKS"
	var warn sync.Once
	err = retryUntilReady(ctx, func(context.Context) (err error) {
		streamID, err = c.tryStreams(ctx)
		if err != nil && isTransient(err) {
			warn.Do(func() { c.log.Warn("waiting for JetStream", "error", err) })
		}
		return err
	})
	return streamID, err
}

// tryTimeout bounds one attempt, because servers that are forming a cluster may never answer.
const tryTimeout = 4 * time.Second

// retryUntilReady retries an operation until the servers are ready for it, or ctx is done.
func retryUntilReady(ctx context.Context, do func(try context.Context) error) error {
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		try, cancel := context.WithTimeout(ctx, tryTimeout)
		defer cancel()
		if last = do(try); last != nil && !isTransient(last) {
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	}, backoff.WithBackOff(backoff.NewConstantBackOff(500*time.Millisecond)), backoff.WithMaxElapsedTime(0))
	if err != nil && !errors.Is(err, last) {
		err = errors.Join(err, last) // ctx is done
	}
	return err
}

// isTransient reports whether an operation that failed with an error may succeed later.
func isTransient(err error) bool {
	if errors.Is(err, ErrUnsafe) || errors.Is(err, errLogLost) || errors.Is(err, job.ErrVersion) {
		return false
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		// "no suitable peers", "insufficient resources", "temporarily unavailable"
		return api.Code == 503 || api.Code == 500 || api.ErrorCode == 10005 || api.ErrorCode == 10008 ||
			api.ErrorCode == jetstream.JSErrCodeStreamNotFound // another node has created it, and not all servers have it yet
	}
	return true
}

func (c *Cluster) tryStreams(ctx context.Context) (streamID string, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	if c.appliedSeq() > 0 {
		// A log that this node has applied is never recreated.
		switch _, err := c.js.Stream(ctx, c.logStream); {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			return "", c.checkMismatch("its stream does not exist")
		case err != nil:
			return "", err
		}
	}
	log, err := c.stream(ctx, jetstream.StreamConfig{
		Name: c.logStream, Description: "The events of gather's jobs.", Subjects: []string{c.cfg.Prefix + ".log.*"},
		Storage: jetstream.FileStorage, Replicas: c.cfg.Replicas, Discard: jetstream.DiscardNew,
		// No direct gets, because a server that lags may answer them. No compression: see hazards.
		Metadata: map[string]string{streamIDKey: uuid.NewString()},
	})
	if err != nil {
		return "", err
	}
	info, err := log.Info(ctx)
	if err != nil {
		return "", err
	}
	streamID, c.logReplicas = info.Config.Metadata[streamIDKey], info.Config.Replicas
	if streamID == "" {
		return "", fmt.Errorf("stream %s was not created by gather: choose another --nats-prefix", c.logStream)
	}
	c.leases.queues, err = c.makeTasks(ctx)
	return streamID, err
}

// makeTasks creates the stream of tasks and its consumers if they are missing.
func (c *Cluster) makeTasks(ctx context.Context) (queues []*taskQueue, err error) {
	tasks, err := c.stream(ctx, jetstream.StreamConfig{
		Name: c.leases.stream, Description: "The runnable tasks of gather.", Subjects: []string{c.cfg.Prefix + ".tasks.>"},
		Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage, Replicas: c.cfg.Replicas,
		Discard: jetstream.DiscardNew, MaxMsgsPerSubject: 1, DiscardNewPerSubject: true,
	})
	if err != nil {
		return nil, err
	}
	for _, p := range job.Priorities() {
		for _, queue := range taskQueues {
			cons, err := tasks.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
				Durable: p.String() + "-" + queue, FilterSubject: c.taskSubject(p, queue) + ".>",
				AckPolicy: jetstream.AckExplicitPolicy, AckWait: c.cfg.NodeTimeout, MaxAckPending: -1, MaxDeliver: -1,
			})
			if err != nil {
				return nil, err
			}
			queues = append(queues, &taskQueue{priority: p, queue: queue, consumer: cons})
		}
	}
	return queues, nil
}

// stream returns a stream, which it creates if it is missing. The limits of an existing stream are not changed.
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

func (c *Cluster) taskSubject(p job.Priority, queue string) string {
	return c.cfg.Prefix + ".tasks." + p.String() + "." + queue
}
