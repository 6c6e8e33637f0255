package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"gather/internal/fields"
	"gather/internal/job"
)

// maxGroupName bounds the name of a group.
const maxGroupName = 63

// checkGroupName checks a name in a submission. Names of the form of a UUID are of batches.
func checkGroupName(name, pointer string, errs *fields.Errors) {
	switch {
	case name == "" || len(name) > maxGroupName || !onlyLetters(name, "._-") || !onlyLetters(name[:1], ""):
		errs.Add(pointer, "must be a string of 1 to %d letters, digits, '.', '_' or '-' that begins with a letter or digit", maxGroupName)
	case isBatchGroup(name):
		errs.Add(pointer, "must not have the form of a UUID: those are the groups of batches without a name")
	}
}

// isBatchGroup reports whether a group is of a batch that did not name one.
func isBatchGroup(name string) bool { return len(name) == 36 && uuid.Validate(name) == nil }

// getGroup implements GET /v1/groups/{group_id}.
func (s *server) getGroup(x *requestState) error {
	if err := s.refresh(x); err != nil {
		return err
	}
	g, err := s.Groups.Group(x, x.principal.Tenant, x.param("group_id"))
	if err != nil {
		return err
	}
	if wait := preferredWait(x.req.Header); wait > 0 && s.openStream() {
		defer s.closeStream()
		x.mode = modeWait
		if g, err = s.awaitGroup(x, g, wait); err != nil {
			return err
		}
		x.set("Preference-Applied", "wait="+strconv.Itoa(int(wait/time.Second)))
	}
	x.vary(varyPrefer)
	x.Header()["Cache-Control"] = privateNoCache
	s.setAge(x)
	return x.writeJSON(http.StatusOK, s.groupModel(&g))
}

// awaitGroup returns a group once all of its jobs have ended, or in its current state when the wait is over or the server stops.
func (s *server) awaitGroup(x *requestState, g job.Group, wait time.Duration) (job.Group, error) {
	if s.Replica != nil { // jobs that other nodes have accepted count
		if err := s.Replica.ReadBarrier(x); err != nil {
			return g, err
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	changed, stop := s.Log.Watch(job.GroupID(x.principal.Tenant, g.Name))
	defer stop()
	for {
		// Read after Watch has started, so that no change is missed.
		now, err := s.Groups.Group(x, x.principal.Tenant, g.Name)
		if err != nil {
			return g, err
		}
		if g = now; g.Unfinished() == 0 {
			return g, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return g, nil
		case <-x.principal.Revoked:
			return g, errRevoked
		case <-s.Stopping.Done():
			return g, nil
		case <-x.Done():
			return g, context.Cause(x)
		}
	}
}

// listGroups implements GET /v1/groups.
func (s *server) listGroups(x *requestState) error {
	if err := s.refresh(x); err != nil {
		return err
	}
	query := x.query()
	size := int(min(integer(query, "page_size", defaultPage), maxPage))
	// Request one more to detect a next page.
	list, err := s.Groups.Groups(x, x.principal.Tenant, query.Get("after"), size+1)
	if err != nil {
		return err
	}
	resp := GroupList{Groups: make([]Group, 0, len(list))}
	if len(list) > size {
		list = list[:size]
		resp.NextAfter = &list[size-1].Name
	}
	for i := range list {
		resp.Groups = append(resp.Groups, s.groupModel(&list[i]))
	}
	x.Header()["Cache-Control"] = privateNoCache
	s.setAge(x)
	return x.writeJSON(http.StatusOK, resp)
}

// cancelGroup implements POST /v1/groups/{group_id}/cancel.
func (s *server) cancelGroup(x *requestState) error {
	if _, err := s.Groups.Group(x, x.principal.Tenant, x.param("group_id")); err != nil {
		return err
	}
	return s.cancelJobs(x)
}

// deleteGroup implements DELETE /v1/groups/{group_id}.
func (s *server) deleteGroup(x *requestState) error {
	g, err := s.Groups.Group(x, x.principal.Tenant, x.param("group_id"))
	if err != nil {
		return err
	}
	if n := g.Unfinished(); n > 0 {
		return &job.Rejection{Err: job.ErrNotFinished, Detail: strconv.FormatInt(n, 10) + " jobs of the group have not finished; cancel the group, or wait for it"}
	}
	return s.deleteJobs(x)
}

func (s *server) groupModel(g *job.Group) Group {
	path := "/v1/groups/" + g.Name
	m := Group{
		Id: g.Name, Jobs: countsModel(&g.Jobs), Progress: s.groupProgress(g), CreatedAt: g.CreatedAt.UTC(),
		Links: GroupLinks{Self: path, Jobs: "/v1/jobs?group=" + g.Name, Events: path + "/events", Cancel: path + "/cancel"},
	}
	if g.Unfinished() == 0 {
		at := g.FinishedAt.UTC()
		m.FinishedAt = &at
	}
	return m
}

// groupProgress returns the progress of a group. Its fraction is of items, because not all kinds count bytes.
func (s *server) groupProgress(g *job.Group) Progress {
	p := g.Progress
	m := Progress{Total: p.Total, Completed: p.Completed, Failed: p.Failed, Bytes: p.Bytes, BytesTotal: p.BytesTotal}
	p.BytesTotal = 0
	m.Fraction = p.Fraction()
	if g.Unfinished() == 0 {
		m.Fraction = 1
	} else if now := s.Wall(); m.Fraction > 0 && now.After(g.CreatedAt) {
		eta := now.Sub(g.CreatedAt).Seconds() * (1 - m.Fraction) / m.Fraction
		m.EtaSeconds = &eta
	}
	return m
}
