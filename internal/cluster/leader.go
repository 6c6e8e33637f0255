package cluster

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
	"gather/internal/notify"
)

// # The leader
//
// The oldest live node is the leader. It removes dead nodes from their jobs, requeues lost tasks, ends jobs without
// participants and compacts the log (snapshot.go). All its actions are idempotent, so two leaders at a time do no harm, and they can wait until
// there is a leader again.

// runLeader runs the maintenance loop of the leader until ctx is done.
func (c *Cluster) runLeader(ctx context.Context) {
	interval := max(c.cfg.NodeTimeout/4, heartbeat)
	looked := time.Now()
	short := 0
	notify.Every(ctx, interval, nil, func() {
		// A node that was paused or has just started lacks recent heartbeats.
		late := time.Since(looked) > 2*interval
		looked = time.Now()
		if late || !c.isLeader() || c.checkHealthy() != nil || !c.members.membershipStable() {
			short = 0
			return
		}
		c.reapDeadNodes()
		var err error
		if short, err = c.requeueLostTasks(ctx, short); err != nil && ctx.Err() == nil {
			c.log.Debug("requeue lost tasks", "error", err)
		}
	})
}

// Leads reports whether this node is the leader and participates.
func (c *Cluster) Leads() bool {
	return c.isLeader() && c.checkHealthy() == nil && c.members.membershipStable()
}

// trimInterval returns the interval between trims of the log: an hour if the retention is a day.
func (c *Config) trimInterval() time.Duration {
	return min(time.Hour, max(heartbeat, max(c.TombstoneRetention, c.KeyRetention)/24))
}

// reapDeadNodes removes dead nodes from jobs that are ending, ends jobs whose participants have all left, and times out
// jobs that run, or wait for other jobs, too long.
func (c *Cluster) reapDeadNodes() {
	live := make(map[string]bool)
	for _, n := range c.members.live() {
		live[n.ID] = true
	}
	now, logNow := time.Now(), c.Now()
	var proposals []*job.Proposal
	var finish []job.ID
	c.state.mu.Lock()
	for id, s := range c.state.jobs {
		if late := s.job.Timeout; s.ending == nil && s.job.State == job.Running && late > 0 &&
			now.Sub(s.started) > late+c.cfg.NodeTimeout {
			proposals = append(proposals, &job.Proposal{Kind: job.ProposeDecision, ID: id, Finished: job.Finished{
				State: job.Failed, Failure: &job.Failure{
					Reason: job.FailedTimeout, Detail: "the job ran longer than its timeout of " + late.String(),
				},
			}})
		}
		if s.ending == nil && s.job.Waits != 0 && logNow.Sub(s.job.CreatedAt) > s.job.AfterTimeout {
			proposals = append(proposals, &job.Proposal{Kind: job.ProposeDecision, ID: id, Finished: s.job.WaitTooLong()})
		}
		if s.ending == nil || now.Sub(s.decidedAt) < heartbeat {
			continue
		}
		for node, works := range s.participants {
			if works && !live[node] {
				proposals = append(proposals, &job.Proposal{Kind: job.ProposeLeave, ID: id, Node: node})
			}
		}
		if s.active == 0 {
			finish = append(finish, id)
		}
	}
	c.state.mu.Unlock()
	for _, p := range proposals {
		p.At = c.Now()
		c.propose(p, func(d applyResult) { c.finishIfLast(p.ID, d) })
	}
	for _, id := range finish {
		c.finish(id)
	}
}

// requeueLostTasks queues the tasks whose message was lost because the node that should have published it died. With many
// tasks it reads the queue only every 20th time, or when twice in a row it held fewer messages than expected.
func (c *Cluster) requeueLostTasks(ctx context.Context, short int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	stream, err := c.js.Stream(ctx, c.leases.stream)
	// The stream can be recreated without loss. Handles of streams and consumers refer to them by name.
	if errors.Is(err, jetstream.ErrStreamNotFound) || err == nil && stream.CachedInfo().State.Consumers < len(c.leases.queues) {
		c.log.Warn("the stream of tasks or some of its consumers do not exist; creating them again", "stream", c.leases.stream)
		if _, err := c.makeTasks(ctx); err != nil {
			return 0, err
		}
		stream, err = c.js.Stream(ctx, c.leases.stream)
	}
	if err != nil {
		return 0, err
	}
	have, want := stream.CachedInfo().State.Msgs, uint64(c.expectedTasks(nil))
	round := 2
	switch {
	case want == 0:
		return 0, nil
	case have >= want && have > fewTasks:
		round = 20
	}
	if short++; short < round {
		return short, nil
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(c.cfg.Prefix+".tasks.>"))
	if err != nil {
		return 0, err
	}
	there := make(map[job.ID][]int)
	for subject := range info.State.Subjects {
		if p, ok := c.parseSubject(subject); ok {
			there[p.id] = append(there[p.id], p.task)
		}
	}
	var lost []string
	c.expectedTasks(func(s *jobState, subject string) {
		p, _ := c.parseSubject(subject)
		// A message for an earlier task of the partition continues with this task, and a message for any task with the
		// reduction.
		if !slices.ContainsFunc(there[s.job.ID], func(task int) bool {
			return p.task == job.Reduction || task != job.Reduction && partitionOf(s.job.Tasks, task) == partitionOf(s.job.Tasks, p.task)
		}) {
			lost = append(lost, subject)
		}
	})
	appliedSeq := c.appliedSeq()
	for _, subject := range lost {
		if err := c.enqueueTask(ctx, subject, appliedSeq); err != nil {
			return 0, err
		}
		c.met.restored.Inc()
	}
	return 0, nil
}

// fewTasks is the number of queued tasks up to which the queue is read often.
const fewTasks = 1000

// expectedTasks returns the number of tasks that should be queued by now, and visits their subjects.
func (c *Cluster) expectedTasks(visit func(s *jobState, subject string)) (n int) {
	if visit == nil {
		visit = func(*jobState, string) {}
	}
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	now := time.Now()
	for _, s := range c.state.jobs {
		if now.Sub(s.movedAt) < heartbeat {
			continue
		}
		c.tasksOf(s, func(subject string) {
			n++
			visit(s, subject)
		})
	}
	return n
}

// tasksOf visits the subjects of the tasks of a job that should be queued while no node runs them. Caller holds state.mu.
func (c *Cluster) tasksOf(s *jobState, visit func(subject string)) {
	switch {
	case s.ending != nil || !s.due || s.held && s.job.State == job.Queued:
	case s.job.State == job.Queued:
		visit(c.subjectOf(s, true, 0))
	case s.job.State != job.Running:
	case s.allDone():
		visit(c.subjectOf(s, false, job.Reduction))
	default:
		for partition := range partitions(s.job.Tasks) {
			if task, ok := s.firstUnfinished(partition); ok {
				// Until the first task is done, its message is in the queue of new jobs.
				visit(c.subjectOf(s, task == 0, task))
			}
		}
	}
}

// runDelayed queues jobs whose start time has passed, until ctx is done. The node that submitted a job queues it; if that
// fails, the leader does a moment later.
func (c *Cluster) runDelayed(ctx context.Context) {
	notify.Every(ctx, 20*time.Millisecond, nil, func() { c.enqueueTasks(ctx, c.popDue(time.Now()), c.appliedSeq()) })
}

// popDue marks the jobs whose start time has passed as due, and returns the subjects that this node has to queue.
func (c *Cluster) popDue(now time.Time) (subjects []string) {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	for _, s := range append(c.state.delayed.popUntil(now), c.state.instants.popUntil(c.state.now())...) {
		if c.state.jobs[s.job.ID] != s || s.job.State != job.Queued || s.due {
			continue
		}
		c.state.countQueue(s, -1)
		s.due, s.movedAt = true, now
		c.state.countQueue(s, +1)
		c.state.signal()
		if s.author == c.id && !s.held {
			subjects = append(subjects, c.subjectOf(s, true, 0))
		}
	}
	return subjects
}

// Position returns the position of a queued job among the queued jobs of its priority, starting at 1, and the estimated
// time until its start. The position is at most rankingAge old.
func (c *Cluster) Position(id job.ID) (place int, wait time.Duration, ok bool) {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	s := c.state.jobs[id]
	if s == nil || s.job.State != job.Queued || !s.due || s.held {
		return 0, 0, false
	}
	now := time.Now()
	if now.Sub(c.state.rankedAt) >= rankingAge {
		c.state.rank(now)
	}
	place, ranked := c.state.ranks[id]
	if !ranked {
		place = max(1, c.state.queued[s.job.Priority])
	}
	return place, c.state.ends.RetryAfter(now, place), true
}

// rankingAge is the maximum age of the positions of queued jobs.
const rankingAge = 250 * time.Millisecond

// rank computes the positions of the queued jobs. Caller holds t.mu.
func (t *state) rank(now time.Time) {
	ids := make([]job.ID, 0, len(t.jobs))
	for id, s := range t.jobs {
		if s.job.State == job.Queued && s.due && !s.held {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b job.ID) int { return bytes.Compare(a[:], b[:]) })
	t.ranks, t.rankedAt = make(map[job.ID]int, len(ids)), now
	var places [numPriorities]int
	for _, id := range ids {
		p := t.jobs[id].job.Priority
		places[p]++
		t.ranks[id] = places[p]
	}
}

// Unfinished visits every unfinished job of the cluster under one lock; visit must not call the Cluster. It reports whether
// this node is the leader, which reports the metrics of the whole cluster.
func (c *Cluster) Unfinished(visit func(j *job.Job, s job.Size)) (leader bool) {
	leader = c.isLeader()
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	for _, s := range c.state.jobs {
		visit(&s.job, s.size)
	}
	return leader
}
