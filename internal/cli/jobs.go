package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"gather/client"
)

// submitCmd has a command for each kind of jobs, and one for a file.
type submitCmd struct {
	remote `embed:""`

	Wait           bool   `env:"-" help:"Wait for the end of the job. Ctrl-C asks whether to cancel it."`
	IdempotencyKey string `env:"-" placeholder:"KEY" help:"The same key and job return the job of the first submission; default: a random key."`
	ValidateOnly   bool   `env:"-" help:"Only validate the submission, and show what it would make."`

	FromFile submitFile `cmd:"" name:"file" default:"withargs" hidden:""`
	kong.Plugins

	kinds []*kindCommand
}

type submitFile struct {
	File string `short:"f" env:"-" placeholder:"FILE" help:"A file with the JSON of the job, - for standard input."`
}

// Run submits the job.
func (c *submitCmd) Run(ctx context.Context, stdio IO, k *kong.Context) error {
	submission, err := c.submission(k.Selected().Name, stdio.In)
	if err != nil {
		return err
	}
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	var opts []client.Option
	if c.IdempotencyKey != "" {
		opts = append(opts, client.WithIdempotencyKey(c.IdempotencyKey))
	}
	request, stop := interruptible(ctx)
	defer stop()
	if c.ValidateOnly {
		p, err := s.client.Preview(request, submission)
		if err != nil {
			return err
		}
		return s.preview(p)
	}
	j, err := s.client.Submit(request, submission, opts...)
	if err != nil {
		return err
	}
	if !c.Wait {
		return s.job(j)
	}
	stop()
	if j, err = s.wait(ctx, j.ID); err != nil {
		return err
	}
	return errors.Join(s.job(j), j.Err())
}

// submission returns the JSON of the job that a command describes.
func (c *submitCmd) submission(command string, in io.Reader) (json.RawMessage, error) {
	for _, k := range c.kinds {
		if k.name == command {
			return k.submission()
		}
	}
	if c.FromFile.File == "" {
		return nil, fmt.Errorf("%w: expected a kind of jobs, or --file; see 'gather submit --help'", errUsage)
	}
	return readSubmission(c.FromFile.File, in)
}

// readSubmission returns the JSON of a file, or of standard input if its name is "-".
func readSubmission(file string, in io.Reader) (data json.RawMessage, err error) {
	if file == "-" {
		data, err = io.ReadAll(in)
	} else {
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, err
	}
	if !json.Valid(data) {
		return nil, fmt.Errorf("%w: %s is not JSON: %w", errUsage, file, json.Unmarshal(data, new(any)))
	}
	return data, nil
}

// ids are the jobs of a command.
type ids struct {
	IDs []string `arg:"" name:"id" help:"IDs of jobs."`
}

// each calls f for each job. It continues after an error.
func each(ids []string, f func(id string) error) error {
	var errs []error
	for _, id := range ids {
		errs = append(errs, f(id))
	}
	return errors.Join(errs...)
}

type getCmd struct {
	remote `embed:""`
	ids    `embed:""`

	Submission bool `env:"-" help:"Show what the jobs were submitted as, as JSON that 'submit -f' takes."`
}

// Run shows the jobs. A failed job is no error.
func (c *getCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	return each(c.IDs, func(id string) error {
		if c.Submission {
			submission, err := s.client.Submission(ctx, id)
			if err != nil {
				return err
			}
			return s.json(submission)
		}
		j, err := s.client.Get(ctx, id)
		if err != nil {
			return err
		}
		return s.job(j)
	})
}

type cancelCmd struct {
	remote   `embed:""`
	idsOrAll `embed:""`

	Wait bool `env:"-" help:"Wait until the jobs have stopped."`
}

// Run requests the cancellation of the jobs and shows them.
func (c *cancelCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	bulk, err := c.all(s, func(o client.ListOptions, opts ...client.Option) (client.BulkResult, error) {
		return s.client.CancelAll(ctx, o, opts...)
	})
	if bulk {
		return err
	}
	return each(c.IDs, func(id string) error {
		j, err := s.client.Cancel(ctx, id)
		if err == nil && c.Wait {
			j, err = s.client.Wait(ctx, id)
		}
		if err != nil {
			return err
		}
		return s.job(j)
	})
}

type retryCmd struct {
	remote `embed:""`
	ids    `embed:""`

	Wait bool `env:"-" help:"Wait for the end of the new jobs."`
}

// Run submits the new jobs and shows them.
func (c *retryCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	return each(c.IDs, func(id string) error {
		j, err := s.client.Retry(ctx, id)
		if err == nil && c.Wait {
			j, err = s.client.Wait(ctx, j.ID)
		}
		if err != nil {
			return err
		}
		if err := s.job(j); err != nil || !c.Wait {
			return err
		}
		return j.Err()
	})
}

type deleteCmd struct {
	remote   `embed:""`
	idsOrAll `embed:""`
}

// Run deletes the jobs.
func (c *deleteCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	bulk, err := c.all(s, func(o client.ListOptions, opts ...client.Option) (client.BulkResult, error) {
		return s.client.DeleteAll(ctx, o, opts...)
	})
	if bulk {
		return err
	}
	return each(c.IDs, func(id string) error { return s.client.Delete(ctx, id) })
}

type listCmd struct {
	remote  `embed:""`
	filters `embed:""`

	Limit int `env:"-" placeholder:"N" help:"Maximum number of jobs; 0, the default, is no limit."`
}

// Run lists jobs.
func (c *listCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	o := c.options()
	if o.PageSize = 200; c.Limit > 0 {
		o.PageSize = min(c.Limit, 200)
	}
	t := s.table(jobColumns...)
	n := 0
	for j, err := range s.client.List(ctx, o) {
		if err != nil {
			return err
		}
		if err := t.row(j.ID, j, jobRow(j)...); err != nil {
			return err
		}
		if n++; n == c.Limit {
			break
		}
	}
	return nil
}

type countCmd struct {
	remote `embed:""`

	Kind []string `env:"-" placeholder:"KIND" help:"Only jobs of this kind; may be given several times."`
}

// Run shows the numbers of jobs.
func (c *countCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	n, err := s.client.Count(ctx, c.Kind...)
	if err != nil {
		return err
	}
	return s.object(fmt.Sprint(n.Total), n, [][2]string{{"Jobs", counts(&n)}})
}

type resultsCmd struct {
	remote `embed:""`
	ID     string `arg:"" name:"id" help:"ID of the job."`

	ByIndex bool   `env:"-" help:"In the order of the input, once the job has ended."`
	Stored  bool   `env:"-" help:"Only the results that are there now."`
	After   *int64 `env:"-" placeholder:"N" help:"Only the results after the one with this seq or, with --by-index, this index."`
	NPY     string `name:"npy" env:"-" placeholder:"FILE" help:"Write the result of a sum over some axes to a .npy file instead; - for standard output."`
}

// Run shows the results. Unless --stored is set, it ends with the outcome of the job.
func (c *resultsCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	if c.NPY != "" {
		return s.download(c.NPY, func(w io.Writer) error { return s.client.DownloadResult(ctx, c.ID, w) })
	}
	var opts []client.ResultsOption
	if c.ByIndex {
		opts = append(opts, client.ByIndex())
	}
	if c.Stored {
		opts = append(opts, client.Stored())
	}
	if c.After != nil {
		opts = append(opts, client.After(*c.After))
	}
	t := s.table(column{"INDEX", 8}, column{"MS", 8}, column{"VALUE", 0})
	for it, err := range s.client.Results(ctx, c.ID, opts...) {
		if err != nil {
			return err
		}
		value := string(it.Value)
		if it.Error != nil {
			value = "failed: " + *it.Error
		}
		if err := t.row(fmt.Sprint(it.Index), it, fmt.Sprint(it.Index), fmt.Sprintf("%.3g", it.DurationMs), value); err != nil {
			return err
		}
	}
	if c.Stored {
		return nil
	}
	j, err := s.client.Get(ctx, c.ID)
	if err != nil {
		return err
	}
	return j.Err()
}

type nodesCmd struct {
	remote `embed:""`
}

// Run lists the nodes.
func (c *nodesCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	nodes, err := s.client.Nodes(ctx)
	if err != nil {
		return err
	}
	t := s.table(column{"NAME", 24}, column{"VERSION", 12}, column{"UP", 10}, column{"BUSY", 9}, column{"WAITING", 9}, column{"STATE", 0})
	for i := range nodes {
		n := &nodes[i]
		state := "ready"
		if n.Draining {
			state = "draining"
		}
		err := t.row(n.Name, n, n.Name, n.Version, short(time.Since(n.StartedAt)), fmt.Sprintf("%d/%d", n.WorkersBusy, n.Workers),
			fmt.Sprint(n.WaitingItems), state)
		if err != nil {
			return err
		}
	}
	return nil
}
