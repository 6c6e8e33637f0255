package api_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"gather/internal/api"
	"gather/internal/job"
	"gather/internal/tenant"
)

// members are two nodes, out of order, with jobs of several tenants.
type members struct{}

var (
	born      = time.Date(2026, 11, 22, 15, 4, 5, 123456789, time.FixedZone("", 3600))
	nodeJobs  = []job.ID{job.NewID(), job.NewID(), job.NewID(), job.NewID()}
	nodeAlice = job.Node{
		ID: "a1", Name: "alice \"the\" <first>", Version: "v1.2.3", StartedAt: born, SeenAt: born.Add(time.Hour), Self: true,
		Behind: 7, ClockSkew: -1500 * time.Millisecond, Work: job.Work{Workers: 4, Busy: 3, Waiting: 1 << 40, Jobs: []job.NodeJob{
			{ID: nodeJobs[1], Tenant: tenant.Default, Kind: "sleep_batch", Waiting: 5},
			{ID: nodeJobs[2], Tenant: "acme", Kind: "squares", Running: 1},
			{ID: nodeJobs[0], Tenant: tenant.Default, Kind: "squares", Running: 2},
		}},
	}
)

func (members) Nodes(context.Context) ([]job.Node, error) {
	return []job.Node{
		{ID: "b", Name: "young", StartedAt: born.Add(time.Minute), SeenAt: born, Draining: true},
		{ID: "a2", Name: "twin", StartedAt: born, SeenAt: born},
		nodeAlice,
	}, nil
}

// Nodes are sorted by age and have the job counts of the requesting tenant only.
func TestNodes(t *testing.T) {
	s := newService(t)
	a := s.do("GET", "/v1/nodes", "")
	list := decode[api.NodeList](t, a.body)
	if a.status != 200 || a.Header.Get("Content-Type") != "application/json" || len(list.Nodes) != 3 {
		t.Fatalf("%d %v: %s", a.status, a.Header, a.body)
	}
	same(t, a.body, list)
	var order []string
	for _, n := range list.Nodes {
		order = append(order, n.Id)
	}
	if !slices.Equal(order, []string{"a1", "a2", "b"}) {
		t.Errorf("order %q", order)
	}
	n := list.Nodes[0]
	if n.Name != nodeAlice.Name || n.Version != "v1.2.3" || !n.StartedAt.Equal(born) || !n.SeenAt.Equal(nodeAlice.SeenAt) ||
		!n.Self || n.Draining || n.Workers != 4 || n.WorkersBusy != 3 || n.WaitingItems != 1<<40 || n.Behind != 7 || n.ClockSkewSeconds != -1.5 {
		t.Errorf("%+v", n)
	}
	if len(n.Jobs) != 2 {
		t.Fatalf("jobs %+v", n.Jobs)
	}
	if j := n.Jobs[0]; j.Id.String() != nodeJobs[0].String() || j.Kind != "squares" || j.Running != 2 || j.Waiting != 0 {
		t.Errorf("the first job: %+v", j)
	}
	if j := n.Jobs[1]; j.Id.String() != nodeJobs[1].String() || j.Kind != "sleep_batch" || j.Running != 0 || j.Waiting != 5 {
		t.Errorf("the second job: %+v", j)
	}
	if last := list.Nodes[2]; !last.Draining || last.Self || last.Jobs == nil {
		t.Errorf("the last node: %+v", last)
	}
	acme := newService(t, withKeys(nil))
	got := decode[api.NodeList](t, acme.do("GET", "/v1/nodes", "").body).Nodes[0].Jobs
	if len(got) != 1 || got[0].Id.String() != nodeJobs[2].String() {
		t.Errorf("acme's jobs: %+v", got)
	}
}
