package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"time"
)

func groupRequest(method, id string, more ...string) *request {
	return &request{
		method: method, path: append([]string{"v1", "groups", id}, more...), query: make(url.Values), header: make(http.Header),
	}
}

// Group returns a group: all jobs that were submitted with it or in one batch, counted by state.
func (c *Client) Group(ctx context.Context, id string, opts ...Option) (*Group, error) {
	r := groupRequest(http.MethodGet, id)
	for _, o := range opts {
		o(r)
	}
	var g Group
	_, err := c.call(ctx, r, &g)
	return &g, err
}

// WaitGroup returns a group once all of its jobs have ended.
func (c *Client) WaitGroup(ctx context.Context, id string) (*Group, error) {
	r := groupRequest(http.MethodGet, id)
	r.setWait(maxWait)
	for {
		began := time.Now()
		var g Group
		after, err := c.call(ctx, r, &g)
		if err != nil || g.FinishedAt != nil {
			return &g, err
		}
		if time.Since(began) >= maxWait-time.Second {
			continue
		}
		// The server holds no more requests, or it is stopping.
		if err := sleep(ctx, max(time.Second, after)); err != nil {
			return nil, err
		}
	}
}

// Groups returns the groups, in the order of their ids. It requests them page by page, and ends with the first error.
func (c *Client) Groups(ctx context.Context) iter.Seq2[*Group, error] {
	return pages(ctx, c, "groups", make(url.Values), "after", func(l *GroupList) ([]Group, *string) { return l.Groups, l.NextAfter })
}

// CancelGroup requests the cancellation of all jobs of a group, as CancelAll.
func (c *Client) CancelGroup(ctx context.Context, id string, opts ...Option) (BulkResult, error) {
	return c.bulk(ctx, http.MethodPost, groupRequest("", id, "cancel").path, ListOptions{}, opts)
}

// DeleteGroup deletes all jobs of a group that has finished, as DeleteAll. It fails with 409 for another.
func (c *Client) DeleteGroup(ctx context.Context, id string, opts ...Option) (BulkResult, error) {
	return c.bulk(ctx, http.MethodDelete, groupRequest("", id).path, ListOptions{}, opts)
}
