package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
)

// A ScheduleRequest describes a schedule: Cron, perhaps with a TimeZone, or Every; and a Submission.
type ScheduleRequest struct {
	// Cron has the minute, hour, day of the month, month and day of the week, and TimeZone is of the IANA database; UTC by default.
	Cron     string `json:"cron,omitempty"`
	TimeZone string `json:"time_zone,omitempty"`
	// Every is an interval instead.
	Every Duration `json:"every,omitempty"`
	// Submission is what Submit takes.
	Submission any `json:"submission"`
	// Overlap is what happens while the last job has not ended; skip by default.
	Overlap ScheduleOverlap `json:"overlap,omitempty"`
	// CatchUp is what is submitted after an outage; nil for one run of the last hour.
	CatchUp *ScheduleCatchUp `json:"catch_up,omitempty"`
	Paused  bool             `json:"paused,omitempty"`
}

func scheduleRequest(method string, path ...string) *request {
	return &request{method: method, path: append([]string{"v1", "schedules"}, path...), header: make(http.Header)}
}

// PutSchedule creates or replaces a schedule.
func (c *Client) PutSchedule(ctx context.Context, name string, s ScheduleRequest) (*Schedule, error) {
	body, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	r := scheduleRequest(http.MethodPut, name)
	r.setBody(body)
	return c.schedule(ctx, r)
}

func (c *Client) schedule(ctx context.Context, r *request) (*Schedule, error) {
	var s Schedule
	_, err := c.call(ctx, r, &s)
	return &s, err
}

// GetSchedule returns a schedule.
func (c *Client) GetSchedule(ctx context.Context, name string) (*Schedule, error) {
	return c.schedule(ctx, scheduleRequest(http.MethodGet, name))
}

// Schedules returns all schedules of the tenant, by name, without their submissions.
func (c *Client) Schedules(ctx context.Context) ([]Schedule, error) {
	var l ScheduleList
	_, err := c.call(ctx, scheduleRequest(http.MethodGet), &l)
	return l.Schedules, err
}

// DeleteSchedule deletes a schedule; its jobs stay.
func (c *Client) DeleteSchedule(ctx context.Context, name string) error {
	return c.remove(ctx, scheduleRequest(http.MethodDelete, name))
}

// PauseSchedule pauses a schedule: its ticks have no runs.
func (c *Client) PauseSchedule(ctx context.Context, name string) (*Schedule, error) {
	return c.schedule(ctx, scheduleRequest(http.MethodPost, name, "pause"))
}

// ResumeSchedule resumes a paused schedule. Ticks of the pause have no runs.
func (c *Client) ResumeSchedule(ctx context.Context, name string) (*Schedule, error) {
	return c.schedule(ctx, scheduleRequest(http.MethodPost, name, "resume"))
}

// RunSchedule submits the job of a schedule now.
func (c *Client) RunSchedule(ctx context.Context, name string) (*Job, error) {
	r := scheduleRequest(http.MethodPost, name, "run")
	r.header.Set("Idempotency-Key", rand.Text())
	var j Job
	_, err := c.call(ctx, r, &j)
	return &j, err
}

// ScheduleRuns returns the last outcomes of a schedule, newest first.
func (c *Client) ScheduleRuns(ctx context.Context, name string) ([]ScheduleRun, error) {
	var l ScheduleRunList
	_, err := c.call(ctx, scheduleRequest(http.MethodGet, name, "runs"), &l)
	return l.Runs, err
}
