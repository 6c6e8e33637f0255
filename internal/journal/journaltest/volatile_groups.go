package journaltest

import (
	"cmp"
	"context"
	"slices"

	"gather/internal/job"
)

// endInGroup numbers the end of a job of a group. Caller holds v.mu.
func (v *Volatile) endInGroup(view *job.Job) {
	v.ends = append(v.ends, volatileEnd{view.Tenant, view.Group, job.GroupEnd{Seq: uint64(len(v.ends) + 1), ID: view.ID}})
}

type volatileEnd struct {
	tenant, group string
	job.GroupEnd
}

// notifyGroup signals the watchers of a job's group. Caller holds v.mu.
func (v *Volatile) notifyGroup(view *job.Job) {
	if view.Group != "" {
		for _, c := range v.watchers[job.GroupID(view.Tenant, view.Group)] {
			c.Notify()
		}
	}
}

// Group returns a group of a tenant.
func (v *Volatile) Group(ctx context.Context, tenant, name string) (job.Group, error) {
	groups, err := v.Groups(ctx, tenant, "", 1<<30)
	for _, g := range groups {
		if g.Name == name {
			return g, nil
		}
	}
	return job.Group{}, cmp.Or(err, job.ErrGroupNotFound)
}

// Groups returns the groups of a tenant whose names are after a name, in order.
func (v *Volatile) Groups(ctx context.Context, tenant, after string, limit int) ([]job.Group, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	byName := make(map[string]*job.Group)
	for _, j := range v.jobs {
		view := &j.view
		if view.Tenant != tenant || view.Group <= after || j.deleted {
			continue
		}
		g := byName[view.Group]
		if g == nil {
			g = &job.Group{Name: view.Group}
			byName[view.Group] = g
		}
		g.Jobs[view.State]++
		g.Progress.Add(view.Progress)
		if g.CreatedAt.IsZero() || view.CreatedAt.Before(g.CreatedAt) {
			g.CreatedAt = view.CreatedAt
		}
		if view.FinishedAt.After(g.FinishedAt) {
			g.FinishedAt = view.FinishedAt
		}
	}
	for _, e := range v.ends {
		if g := byName[e.group]; g != nil && e.tenant == tenant {
			g.Seq = e.Seq
		}
	}
	var page []job.Group
	for _, g := range byName {
		page = append(page, *g)
	}
	slices.SortFunc(page, func(a, b job.Group) int { return cmp.Compare(a.Name, b.Name) })
	return page[:min(limit, len(page))], ctx.Err()
}

// GroupEnds returns ends of jobs of a group after a Seq, in order.
func (v *Volatile) GroupEnds(ctx context.Context, tenant, name string, after uint64, limit int) (ends []job.GroupEnd, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range v.ends {
		if j := v.jobs[e.ID]; e.tenant == tenant && e.group == name && e.Seq > after && !j.deleted && len(ends) < limit {
			ends = append(ends, e.GroupEnd)
		}
	}
	return ends, ctx.Err()
}
