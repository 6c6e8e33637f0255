package client

import (
	"context"
	"encoding/json"
	"net/http"
)

func pauseRequest(method string, path ...string) *request {
	return &request{method: method, path: append([]string{"v1", "pauses"}, path...), header: make(http.Header)}
}

// Pause keeps the jobs of a kind, a priority or a tenant from starting, until Resume. It needs an operator's key.
func (c *Client) Pause(ctx context.Context, scope PauseScope, name, reason string) (*Pause, error) {
	body, err := json.Marshal(PauseRequest{Reason: reason})
	if err != nil {
		return nil, err
	}
	r := pauseRequest(http.MethodPut, string(scope), name)
	r.setBody(body)
	var p Pause
	_, err = c.call(ctx, r, &p)
	return &p, err
}

// Resume ends a pause. It needs an operator's key, and fails with 404 if there is none.
func (c *Client) Resume(ctx context.Context, scope PauseScope, name string) error {
	return c.remove(ctx, pauseRequest(http.MethodDelete, string(scope), name))
}

// Pauses returns what is paused.
func (c *Client) Pauses(ctx context.Context) ([]Pause, error) {
	var l PauseList
	_, err := c.call(ctx, pauseRequest(http.MethodGet), &l)
	return l.Pauses, err
}
