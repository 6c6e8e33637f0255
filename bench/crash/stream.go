package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Media types of a stream.
const (
	sse    = "text/event-stream"
	ndjson = "application/x-ndjson"
)

// errStream is an invalid stream, and errNoGroup the stream of a group that does not exist.
var (
	errStream  = errors.New("invalid stream")
	errNoGroup = errors.New("group not found")
)

// A collector collects the events of one stream over its resumes.
type collector interface {
	// add adds an event. Errors: errStream.
	add(e *event) error
	// after returns the id of the last event with one; 0 without one.
	after() int64
	// ended reports whether the stream has been read to its end, and end sets that.
	ended() bool
	end()
}

// followJob reads the events of a job to the end.
func (c *client) followJob(ctx context.Context, id string) error {
	var got reading
	err := c.follow(ctx, "/v1/jobs/"+id+"/events", &got)
	if err == nil || errors.Is(err, errStream) {
		c.done(&operation{action: read, client: c.id, node: c.node, job: id, read: &got, ret: c.now()})
	}
	return err
}

// follow reads a stream to its end. It resumes at the next node when the stream breaks, and sometimes breaks it itself.
func (c *client) follow(ctx context.Context, path string, got collector) error {
	media := sse
	if c.rng.IntN(2) == 0 {
		media = ndjson
	}
	for {
		limit := -1 // of events
		if c.rng.IntN(2) == 0 {
			limit = 1 + c.rng.IntN(30)
		}
		err := c.followOnce(ctx, path, media, got, limit)
		if got.ended() || errors.Is(err, errStream) || errors.Is(err, errNoGroup) {
			return err
		}
		c.hop()
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// followOnce reads the next events, until the stream breaks, ends, or has sent limit of them.
func (c *client) followOnce(ctx context.Context, path, media string, got collector, limit int) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout) // a paused node sends nothing
	defer cancel()
	header := []string{"Accept", media}
	if after := got.after(); after > 0 && c.rng.IntN(2) == 0 {
		header = append(header, "Last-Event-ID", strconv.FormatInt(after, 10))
	} else if after > 0 {
		path += fmt.Sprintf("?after=%d", after)
	}
	resp, err := c.open(ctx, http.MethodGet, path, nil, header...)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNoContent:
		got.end()
		return nil
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return nil
	case http.StatusNotFound:
		if _, ofGroup := got.(*groupReading); ofGroup {
			return errNoGroup
		}
		fallthrough
	default:
		return fmt.Errorf("%w: %s: status %s", errStream, path, resp.Status)
	}
	lines := bufio.NewReader(resp.Body)
	for ; limit != 0 && !got.ended(); limit-- {
		e, err := nextEvent(lines, media)
		if err == nil {
			err = got.add(e)
		}
		if err != nil {
			return err // the next attempt receives a broken event again
		}
	}
	return nil
}

func (r *reading) after() int64 {
	if len(r.seqs) == 0 {
		return 0
	}
	return r.seqs[len(r.seqs)-1]
}

func (r *reading) ended() bool { return r.whole }
func (r *reading) end()        { r.whole = true }

func (r *reading) add(e *event) error {
	if e.Seq != 0 {
		r.seqs = append(r.seqs, e.Seq)
	}
	var err error
	switch e.Event {
	case "result":
		var it item
		err = json.Unmarshal(e.Data, &it)
		r.items = append(r.items, it)
	case "retry":
		var a failedAttempt
		err = json.Unmarshal(e.Data, &a)
		r.attempts = append(r.attempts, a)
	case "end":
		r.whole, r.last = true, new(view)
		err = json.Unmarshal(e.Data, r.last)
	}
	if err != nil {
		return fmt.Errorf("%w: event %s: %w", errStream, e.Data, err)
	}
	return nil
}

// An event is an event of a stream.
type event struct {
	Seq   int64          `json:"seq"`
	Event string         `json:"event"`
	Data  jsontext.Value `json:"data"`
}

// nextEvent parses one event in either format.
func nextEvent(lines *bufio.Reader, media string) (*event, error) {
	e := new(event)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return nil, err
		}
		line = strings.TrimSuffix(line, "\n")
		if media == ndjson {
			if err := json.Unmarshal([]byte(line), e); err != nil {
				return nil, fmt.Errorf("%w: line %q: %w", errStream, line, err)
			}
			return e, nil
		}
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case name == "id":
			if e.Seq, err = strconv.ParseInt(value, 10, 64); err != nil {
				return nil, fmt.Errorf("%w: line %q: %w", errStream, line, err)
			}
		case name == "event":
			e.Event = value
		case name == "data":
			e.Data = jsontext.Value(value)
		case line == "" && e.Event != "":
			return e, nil
		}
	}
}
