package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
	"gather/internal/notify"
)

// heartbeat is the interval between heartbeats. A node counts as dead after NodeTimeout without one, but not before three
// intervals.
const heartbeat = time.Second

// members tracks the live nodes by their heartbeats, which are records in a key-value bucket.
type members struct {
	kv        jetstream.KeyValue
	deadAfter time.Duration
	beat      notify.Signal

	mu    sync.Mutex
	nodes map[string]member
	// completeSince is the time since which no heartbeat was missed.
	completeSince time.Time
	// ownHeartbeatAt is when the watch last delivered this node's own heartbeat.
	ownHeartbeatAt time.Time
}

// A nodeRecord is a heartbeat.
type nodeRecord struct {
	job.Node
	// Format is the newest format that the node reads; 0 for an earlier version.
	Format job.Format
	// Digests are the latest digests of the node's state.
	Digests []digestRecord
}

type member struct {
	nodeRecord
	// lastSeen is when the last heartbeat arrived, by this node's clock.
	lastSeen time.Time
}

// open creates the bucket and writes the first heartbeat.
func (m *members) open(ctx context.Context, c *Cluster) (err error) {
	m.nodes = make(map[string]member)
	m.beat = notify.New()
	m.deadAfter = max(c.cfg.NodeTimeout, 3*heartbeat)
	if m.kv, err = m.bucket(ctx, c); err != nil {
		return err
	}
	return m.sendHeartbeat(ctx, c)
}

// bucket returns the bucket, which it creates if it is missing: it is in memory, and lost when its servers restart.
func (m *members) bucket(ctx context.Context, c *Cluster) (jetstream.KeyValue, error) {
	name := c.upper() + "_NODES"
	kv, err := c.js.KeyValue(ctx, name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = c.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: name, Description: "The live nodes of gather.", TTL: 10 * m.deadAfter,
			Storage: jetstream.MemoryStorage, Replicas: c.cfg.Replicas,
		})
		if errors.Is(err, jetstream.ErrBucketExists) || errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			kv, err = c.js.KeyValue(ctx, name)
		}
	}
	return kv, err
}

// run writes heartbeats and watches the heartbeats of other nodes, until ctx is done.
func (m *members) run(ctx context.Context, c *Cluster) {
	var listening sync.WaitGroup
	listening.Go(func() {
		for ctx.Err() == nil {
			if err := m.watch(ctx, c); err != nil && ctx.Err() == nil {
				c.log.Debug("watch the heartbeats", "error", err)
				_, _ = m.bucket(ctx, c) // all of its servers may have restarted; an error shows up in the next round
			}
			select {
			case <-time.After(applyPause):
			case <-ctx.Done():
			}
		}
	})
	defer listening.Wait()
	t := time.NewTicker(heartbeat)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.failed: // leave, so that other nodes get the tasks
			try, cancel := context.WithTimeout(ctx, heartbeat)
			if err := m.leave(try, c.id); err != nil {
				c.log.Debug("leave the nodes", "error", err)
			}
			cancel()
			return
		case <-t.C:
		case <-m.beat:
		}
		try, cancel := context.WithTimeout(ctx, heartbeat)
		if err := m.sendHeartbeat(try, c); err != nil && ctx.Err() == nil {
			c.log.Debug("send a heartbeat", "error", err)
			m.resetStability()
		}
		cancel()
		c.checkDivergence()
	}
}

// resetStability records that heartbeats may have been missed.
func (m *members) resetStability() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.completeSince = time.Now()
}

// membershipStable reports whether heartbeats have been received long enough to take a node without one for dead.
func (m *members) membershipStable() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.completeSince.IsZero() && time.Since(m.completeSince) >= m.deadAfter
}

func (m *members) sendHeartbeat(ctx context.Context, c *Cluster) error {
	if c.cfg.Observer {
		return nil
	}
	value, err := json.Marshal(nodeRecord{Node: c.self(), Format: c.cfg.format, Digests: c.digests()})
	if err != nil {
		return err
	}
	_, err = m.kv.Put(ctx, c.id, value)
	return err
}

// self returns the record of this node.
func (c *Cluster) self() job.Node {
	return job.Node{
		ID: c.id, Name: c.cfg.Name, Version: c.cfg.Version, StartedAt: c.started, SeenAt: c.Now(),
		Behind: uint64(max(0, c.lag.Load())), ClockSkew: c.clock.Skew(), Draining: c.draining.Load(), Work: c.cfg.Work(),
	}
}

func (m *members) leave(ctx context.Context, id string) error { return m.kv.Delete(ctx, id) }

// watchTimeout is the time without this node's own heartbeat after which the watch is restarted.
const watchTimeout = 3 * heartbeat

// errWatch means that the watch must be restarted. A watch resumes after the last sequence that it received: if the bucket
// was recreated, with sequences from 1, it delivers nothing, without an error, until the new bucket has as many.
var errWatch = errors.New("the watch does not deliver this node's own heartbeats")

// watch watches the bucket until that fails, the node's own heartbeats are missing, or ctx is done.
func (m *members) watch(ctx context.Context, c *Cluster) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	slow := time.AfterFunc(2*publishTimeout, cancel) // not a deadline of ctx, which would end the watch
	w, err := m.kv.WatchAll(ctx)
	if !slow.Stop() {
		err = errors.Join(err, context.DeadlineExceeded)
	}
	if err != nil {
		return err
	}
	defer func() { _ = w.Stop() }()
	m.resetStability()
	begun := time.Now()
	check := time.NewTicker(heartbeat)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-check.C:
			m.mu.Lock()
			returned := m.ownHeartbeatAt
			m.mu.Unlock()
			if !c.cfg.Observer && time.Since(begun) > watchTimeout && time.Since(returned) > watchTimeout {
				return errWatch
			}
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("the watch has ended")
			}
			if e == nil {
				continue // end of the existing records
			}
			m.onHeartbeat(e, c.id)
		}
	}
}

func (m *members) onHeartbeat(e jetstream.KeyValueEntry, self string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.Key() == self {
		m.ownHeartbeatAt = time.Now()
	}
	if e.Operation() != jetstream.KeyValuePut {
		delete(m.nodes, e.Key())
		return
	}
	var n nodeRecord
	if json.Unmarshal(e.Value(), &n) != nil {
		return
	}
	// Clocks differ, so a record that existed before the watch counts as a new heartbeat.
	m.nodes[e.Key()] = member{nodeRecord: n, lastSeen: time.Now()}
}

// live returns the live nodes, oldest first, and forgets nodes that have been dead for long.
func (m *members) live() []job.Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	var nodes []job.Node
	for id, n := range m.nodes {
		switch since := time.Since(n.lastSeen); {
		case since < m.deadAfter:
			nodes = append(nodes, n.Node)
		case since > 10*m.deadAfter:
			delete(m.nodes, id)
		}
	}
	slices.SortFunc(nodes, func(a, b job.Node) int {
		return cmp.Or(a.StartedAt.Compare(b.StartedAt), cmp.Compare(a.ID, b.ID))
	})
	return nodes
}

// records returns the heartbeats of the live nodes.
func (m *members) records() (records []nodeRecord) {
	live := m.live()
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range live {
		records = append(records, m.nodes[live[i].ID].nodeRecord)
	}
	return records
}

// oldestFormat returns the newest format that all live nodes read.
func (m *members) oldestFormat() job.Format {
	oldest := job.NewestFormat
	for _, r := range m.records() {
		oldest = min(oldest, r.Format)
	}
	return oldest
}

// Nodes returns the live nodes, oldest first, or job.ErrStorage if this node does not participate.
func (c *Cluster) Nodes(context.Context) ([]job.Node, error) {
	if err := c.checkHealthy(); err != nil {
		return nil, err
	}
	nodes := c.members.live()
	found := false
	for i := range nodes {
		if nodes[i].ID == c.id {
			nodes[i] = c.self()
			nodes[i].Self, found = true, true
		}
	}
	if !found {
		n := c.self()
		n.Self = true
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// isLeader reports whether this node is the oldest live node.
func (c *Cluster) isLeader() bool {
	nodes := c.members.live()
	return len(nodes) > 0 && nodes[0].ID == c.id
}
