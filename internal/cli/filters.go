package cli

import (
	"fmt"
	"reflect"
	"time"

	"gather/client"
)

// filters select jobs.
type filters struct {
	State       []string          `env:"-" enum:"queued,running,cancelling,succeeded,failed,cancelled" placeholder:"STATE" help:"Only jobs in this state; may be given several times, as the other filters."`
	Kind        []string          `env:"-" placeholder:"KIND" help:"Only jobs of this kind."`
	Priority    []string          `env:"-" enum:"low,normal,high" placeholder:"PRIORITY" help:"Only jobs of this priority."`
	Label       map[string]string `env:"-" placeholder:"KEY=VALUE" help:"Only jobs with this label."`
	LabelPrefix map[string]string `env:"-" placeholder:"KEY=PREFIX" help:"Only jobs with a label whose value begins so."`
	Group       string            `env:"-" placeholder:"GROUP" help:"Only jobs of this group."`

	CreatedAfter  moment `env:"-" placeholder:"TIME" help:"Only jobs created after a time, such as 2026-01-31T08:00:00Z, or in the last 30m."`
	CreatedBefore moment `env:"-" placeholder:"TIME" help:"Only jobs created before a time, or more than 24h ago."`
	FinishedAfter moment `env:"-" placeholder:"TIME" help:"Only jobs that finished after a time, or in the last 30m."`
}

// moment is a time; its text is one, or a duration before now.
type moment struct{ time.Time }

func (m *moment) UnmarshalText(text []byte) error {
	if age, err := time.ParseDuration(string(text)); err == nil && age >= 0 {
		m.Time = time.Now().Add(-age)
		return nil
	}
	if err := m.Time.UnmarshalText(text); err != nil {
		return fmt.Errorf("%q is neither a time, as 2026-01-31T08:00:00Z, nor a duration, as 30m", text)
	}
	return nil
}

func (f *filters) options() client.ListOptions {
	o := client.ListOptions{
		Kinds: f.Kind, Labels: f.Label, LabelPrefixes: f.LabelPrefix, Group: f.Group,
		CreatedAfter: f.CreatedAfter.Time, CreatedBefore: f.CreatedBefore.Time, FinishedAfter: f.FinishedAfter.Time,
	}
	for _, state := range f.State {
		o.States = append(o.States, client.State(state))
	}
	for _, p := range f.Priority {
		o.Priorities = append(o.Priorities, client.Priority(p))
	}
	return o
}

// idsOrAll are the jobs of a command: some, or all that match filters.
type idsOrAll struct {
	IDs []string `arg:"" optional:"" name:"id" help:"IDs of jobs."`

	All       bool `env:"-" help:"All jobs that match the filters, instead of some."`
	CountOnly bool `env:"-" help:"With --all, only count the jobs."`
	filters   `embed:""`
}

// all runs a bulk request, and reports whether the command is one.
func (a *idsOrAll) all(s *session, request func(client.ListOptions, ...client.Option) (client.BulkResult, error)) (bool, error) {
	filtered := !reflect.ValueOf(a.filters).IsZero()
	switch {
	case a.All == (len(a.IDs) > 0):
		return true, fmt.Errorf("%w: expected either the IDs of jobs or --all", errUsage)
	case !a.All && (filtered || a.CountOnly):
		return true, fmt.Errorf("%w: filters and --count-only are for --all", errUsage)
	case !a.All:
		return false, nil
	}
	result, err := request(a.options(), countOnly(a.CountOnly)...)
	if err != nil {
		return true, err
	}
	return true, s.bulk(result)
}

func countOnly(set bool) []client.Option {
	if set {
		return []client.Option{client.WithCountOnly()}
	}
	return nil
}
