package cluster_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gather/internal/job"
)

// describe returns everything that can be read from a node: its jobs, their views and logs, and its state.
func (n *node) describe(ids []job.ID) string {
	n.f.Helper()
	var b strings.Builder
	b.WriteString(n.State())
	jobs, _, err := n.List(n.f.Context(), job.Query{Tenant: "t", Limit: 100_000})
	n.f.ok(err)
	for i := range jobs {
		fmt.Fprintf(&b, "list %s %x\n", jobs[i].ID, jobs[i].AppendBinary(nil))
	}
	for _, id := range ids {
		j, err := n.Get(n.f.Context(), "t", id)
		fmt.Fprintf(&b, "get %s %x %v\n", id, j.AppendBinary(nil), err)
		for _, r := range n.log(id) {
			fmt.Fprintf(&b, "log %d %x\n", r.Seq, job.AppendEvent(nil, r.Event))
		}
		if ds, err := n.Deliveries(n.f.Context(), "t", id); !errors.Is(err, job.ErrNotFound) {
			fmt.Fprintf(&b, "deliveries %x %v\n", ds.AppendBinary(nil), err)
		}
	}
	return b.String()
}

// checkSame fails the test unless nodes that have applied the whole log have the same content.
func (f *testCluster) checkSame(ids []job.ID, nodes ...*node) {
	f.Helper()
	all := make([]string, len(nodes))
	f.atSamePosition(func() {
		for i, n := range nodes {
			all[i] = n.describe(ids)
		}
	}, nodes...)
	want := all[0]
	for i, n := range nodes {
		if got := all[i]; got != want {
			g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
			for k := range min(len(g), len(w)) {
				if g[k] != w[k] {
					f.Fatalf("line %d of the node in %s: got\n%s\nwant, as of the node in %s,\n%s", k, n.dir, g[k], nodes[0].dir, w[k])
				}
			}
			f.Fatalf("the node in %s: got %d queues, want %d as of the node in %s", n.dir, len(g), len(w), nodes[0].dir)
		}
	}
}

// proposeRandom makes random proposals, valid or not, from three nodes concurrently, and returns the old and the new jobs.
func (f *testCluster) proposeRandom(rng *rand.Rand, steps int, ids []job.ID, nodes ...*node) []job.ID {
	f.Helper()
	var mu sync.Mutex
	before := len(ids)
	legal := map[bool]int{}
	pick := func(r *rand.Rand) job.ID {
		mu.Lock()
		defer mu.Unlock()
		if len(ids) == 0 {
			return job.NewID()
		}
		return ids[max(0, len(ids)-1-r.IntN(12))]
	}
	names := []string{"n0", "n1", "n2"}
	var all sync.WaitGroup
	for i, n := range nodes {
		for k := range 3 {
			r := rand.New(rand.NewPCG(rng.Uint64(), uint64(i*3+k)))
			all.Go(func() {
				for range steps {
					id, now := pick(r), time.Now().UTC()
					var err error
					switch r.IntN(14) {
					case 0, 1:
						hooked := func(j *job.Job) { j.Webhooks = []job.Webhook{{URL: "https://a.example/", Events: job.AllEvents}} }
						subs := []job.Submitted{newJob(r.IntN(4), hooked), newJob(1 + r.IntN(3))}[:1+r.IntN(2)]
						b := admitted(job.Admission{Jobs: 12, TenantJobs: 11, Bytes: 900, Waiting: 80},
							job.Size{Memory: int64(r.IntN(200)), Waiting: int64(r.IntN(10))}, subs...)
						if r.IntN(3) == 0 {
							b.Key = &job.Key{Tenant: "t", Route: "r", Value: fmt.Sprint(r.IntN(5)), Fingerprint: [32]byte{byte(r.IntN(2))}}
						}
						if err = n.append(b); err == nil {
							mu.Lock()
							for _, s := range subs {
								ids = append(ids, s.Job.ID)
							}
							mu.Unlock()
						}
					case 2:
						err = n.events(id, job.Started{At: now})
					case 3, 4:
						err = n.events(id, job.TaskProgress{Task: r.IntN(3), Done: r.IntN(2) == 0, Completed: 1, Partial: []byte("p")})
					case 5:
						// An atomic batch of two jobs.
						err = n.append(job.Batch{Entries: []job.Entry{
							{ID: id, Events: []job.Event{job.Started{At: now}, job.TaskProgress{Completed: 1}}},
							{ID: pick(r), Events: []job.Event{job.TaskProgress{Completed: 1}}},
						}})
					case 6:
						err = n.events(id, job.Finished{At: now, State: []job.State{job.Succeeded, job.Failed, job.Cancelled}[r.IntN(3)]})
					case 7:
						_, err = n.Cancel(f.Context(), "t", id)
					case 8:
						err = n.Join(f.Context(), id, names[r.IntN(3)])
					case 9:
						err = n.Leave(f.Context(), id, names[r.IntN(3)])
					case 10:
						err = n.Decide(f.Context(), id, job.Finished{
							At: now, State: job.Failed, Failure: &job.Failure{Reason: job.FailedTask, Detail: fmt.Sprint(r.IntN(99))},
						})
					case 11:
						err = n.Delete(f.Context(), "t", id)
					case 12, 13:
						c := job.DeliveryChange{NextAt: now}
						if r.IntN(3) > 0 {
							c.Total, c.Attempt, c.State = r.IntN(2), &job.Attempt{At: now, Status: 500}, job.DeliveryState(1+r.IntN(3))
						}
						_, err = n.ChangeDelivery(f.Context(), "t", id, c)
					}
					for _, known := range []error{
						nil, job.ErrTransition, job.ErrQueueFull, job.ErrQuota, job.ErrKeyReused, job.ErrNotFinished, job.ErrNotFound,
						job.ErrExpired,
					} {
						if _, prior := errors.AsType[*job.DuplicateKeyError](err); prior || errors.Is(err, known) {
							mu.Lock()
							legal[err == nil]++
							mu.Unlock()
							err = nil
							break
						}
					}
					if err != nil {
						f.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	f.Logf("%d jobs; %d proposals took effect, %d did not", len(ids), legal[true], legal[false])
	if len(ids) < before+3 || legal[true] < steps || legal[false] < steps {
		f.Error("too few proposals of some kind")
	}
	slices.SortFunc(ids, func(a, b job.ID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}

// All nodes reach the same state from any proposals, as does a node that applies the log later, or in two parts.
func TestSameOrder(t *testing.T) {
	t.Parallel()
	f := newTestCluster(t, 1)
	nodes := f.openThree()
	rng := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	ids := f.proposeRandom(rng, 100, nil, nodes...)
	f.checkSame(ids, nodes...)
	nodes[2].close()
	died := f.open("died")
	died.die()
	ids = f.proposeRandom(rng, 60, ids, nodes[0], nodes[1], f.open("d"))
	f.checkSame(ids, nodes[0], nodes[1], f.open("c"), f.open("died"), f.open("fresh"))
}
