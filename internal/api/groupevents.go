package api

import (
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"gather/internal/job"
)

// getGroupEvents implements GET /v1/groups/{group_id}/events.
func (s *server) getGroupEvents(x *requestState) error {
	after, where, name := uint64(integer(x.query(), "after", 0)), "parameter", "after"
	if last := x.req.Header.Get("Last-Event-Id"); last != "" {
		where, name = "header", "Last-Event-ID"
		var err error
		if after, err = strconv.ParseUint(last, 10, 63); err != nil {
			return malformed(where, name, notAGroupEvent)
		}
	}
	// A node of a cluster may lag behind the node that sent the cursor.
	if s.Replica != nil {
		if err := s.Replica.ReadBarrier(x); err != nil {
			return err
		}
	}
	g, err := s.Groups.Group(x, x.principal.Tenant, x.param("group_id"))
	if err != nil {
		return err
	}
	// Numbers of ends are not below their time, so a later one is of no end of the group, even if its last jobs were deleted.
	if after > max(g.Seq, uint64(s.Wall().UnixMicro())) {
		return malformed(where, name, notAGroupEvent)
	}
	if g.Unfinished() == 0 && after >= g.Seq {
		s.setAge(x)
		return x.writeNothing(204)
	}
	e := &groupStream{eventStream: eventStream{x: x, after: after, ints: x.ints(), sse: x.media == mediaSSE}, group: g}
	return e.write(job.GroupID(x.principal.Tenant, g.Name), e.round, func() { e.groupEvent("group") })
}

const notAGroupEvent = "must be the id of an event of this group"

// A groupStream sends the ends of a group's jobs, and its progress.
type groupStream struct {
	eventStream
	group job.Group // as of the last read
	sent  job.Counts
}

// round implements streamRound for a group: it ends when all jobs have.
func (e *groupStream) round() (last bool, later time.Duration, err error) {
	if e.group, err = e.x.srv.Groups.Group(e.x, e.x.principal.Tenant, e.group.Name); err != nil {
		return false, 0, err
	}
	if err := e.catchUp(); err != nil {
		return false, 0, err
	}
	if e.group.Unfinished() == 0 {
		e.groupEvent("finished")
		return true, 0, nil
	}
	return false, e.sendGroupProgress(), nil
}

// catchUp sends the ends up to the group's Seq.
func (e *groupStream) catchUp() error {
	s, tenant := e.x.srv, e.x.principal.Tenant
	for {
		ends, err := s.Groups.GroupEnds(e.x, tenant, e.group.Name, e.after, defaultPage)
		if err != nil {
			return err
		}
		for _, end := range ends {
			if end.Seq > e.group.Seq { // sent in the next round
				return nil
			}
			j, err := s.Jobs.Get(e.x, tenant, end.ID)
			if errors.Is(err, job.ErrNotFound) || errors.Is(err, job.ErrExpired) {
				e.after = end.Seq // deleted since
				continue
			}
			if err != nil {
				return err
			}
			if !j.State.Terminal() { // visible soon, and signalled
				return nil
			}
			e.event("job", end.Seq, func(b []byte) []byte {
				view := s.view(&j, e.ints)
				return appendJob(b, &view)
			})
			if e.after = end.Seq; len(e.buf) >= flushSize {
				if err := e.flush(); err != nil {
					return err
				}
			}
		}
		if len(ends) == 0 {
			return nil
		}
	}
}

// sendGroupProgress sends the group if the group has changed, or returns after how long the event is due.
func (e *groupStream) sendGroupProgress() (later time.Duration) {
	if e.group.Progress == e.progress && e.group.Jobs == e.sent {
		return 0
	}
	at := time.Now()
	if wait := progressGap - at.Sub(e.progressAt); wait > 0 {
		return wait
	}
	e.progressAt, e.progress, e.sent = at, e.group.Progress, e.group.Jobs
	e.groupEvent("group")
	return 0
}

func (e *groupStream) groupEvent(name string) {
	e.event(name, 0, func(b []byte) []byte {
		data, err := json.Marshal(e.x.srv.groupModel(&e.group))
		if err != nil { // has only numbers, times and strings
			panic(err)
		}
		return append(b, data...)
	})
}
