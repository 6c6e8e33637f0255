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

// errStream is an invalid stream.
var errStream = errors.New("invalid stream")

// follow reads the events of a job to the end. It resumes at the next node when the stream breaks, and sometimes breaks it itself.
func (c *client) follow(ctx context.Context, id string) error {
	media := sse
	if c.rng.IntN(2) == 0 {
		media = ndjson
	}
	var got reading
	for {
		limit := -1 // of events
		if c.rng.IntN(2) == 0 {
			limit = 1 + c.rng.IntN(30)
		}
		err := c.followOnce(ctx, id, media, &got, limit)
		if got.whole || errors.Is(err, errStream) {
			c.done(&operation{action: read, client: c.id, node: c.node, job: id, read: &got, ret: c.now()})
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
func (c *client) followOnce(ctx context.Context, id, media string, got *reading, limit int) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout) // a paused node sends nothing
	defer cancel()
	path, header := "/v1/jobs/"+id+"/events", []string{"Accept", media}
	if n := len(got.seqs); n > 0 && c.rng.IntN(2) == 0 {
		header = append(header, "Last-Event-ID", strconv.FormatInt(got.seqs[n-1], 10))
	} else if n > 0 {
		path += fmt.Sprintf("?after=%d", got.seqs[n-1])
	}
	resp, err := c.open(ctx, http.MethodGet, path, nil, header...)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNoContent:
		got.whole = true
		return nil
	case http.StatusServiceUnavailable:
		return nil
	default:
		return fmt.Errorf("%w: events of job %s: status %s", errStream, id, resp.Status)
	}
	lines := bufio.NewReader(resp.Body)
	for ; limit != 0 && !got.whole; limit-- {
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

// add adds an event to a reading.
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
	case "end":
		r.whole, r.end = true, new(view)
		err = json.Unmarshal(e.Data, r.end)
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
