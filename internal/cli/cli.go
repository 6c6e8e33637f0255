// Package cli has the commands of gather that are clients of a server: submit, get, watch, results, list, count, cancel,
// retry, delete, groups, schedules, arrays, nodes, pause, resume, pauses and completion.
//
// A command returns an error; ExitCode has its exit code. Results are on standard output, everything else on standard error.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"gather/client"
)

// Commands are the commands, to be embedded in a command line of kong. Use New.
type Commands struct {
	Submit     submitCmd     `cmd:"" help:"Submit a job."`
	Get        getCmd        `cmd:"" help:"Show jobs."`
	Watch      watchCmd      `cmd:"" help:"Follow a job to its end: with a progress bar on a terminal, otherwise its events as NDJSON."`
	Results    resultsCmd    `cmd:"" help:"Show the results of a job's items, as they complete, to its end."`
	List       listCmd       `cmd:"" help:"List jobs, newest first."`
	Count      countCmd      `cmd:"" help:"Count jobs by state."`
	Cancel     cancelCmd     `cmd:"" help:"Cancel jobs, or all jobs that match filters."`
	Retry      retryCmd      `cmd:"" help:"Run the items of ended jobs again that did not succeed, as new jobs."`
	Delete     deleteCmd     `cmd:"" help:"Delete jobs that have ended, or all that match filters, with their results."`
	Groups     groupsCmd     `cmd:"" help:"Manage groups: the jobs with the same group, or of one batch."`
	Schedules  schedulesCmd  `cmd:"" help:"Manage schedules, which submit a job by a cron expression or at an interval."`
	Arrays     arraysCmd     `cmd:"" help:"Manage stored arrays."`
	Nodes      nodesCmd      `cmd:"" help:"List the servers that share the work."`
	Pause      pauseCmd      `cmd:"" help:"Keep the jobs of a kind, a priority or a tenant from starting; for operators."`
	Resume     resumeCmd     `cmd:"" help:"End a pause; for operators."`
	Pauses     pausesCmd     `cmd:"" help:"List what is paused."`
	Completion completionCmd `cmd:"" help:"Print the shell completion of bash, zsh or fish."`
	Complete   completeCmd   `cmd:"" hidden:"" help:"Print the completions of a command line; the shell completion calls it."`
}

// New returns the commands. It fails if openapi.yaml does not describe the kinds of jobs.
func New() (*Commands, error) {
	c := new(Commands)
	err := c.Submit.addKinds()
	return c, err
}

// IO is what the commands read and write.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
}

// The exit codes, besides 0.
const (
	ExitFailure     = 1   // the command failed
	ExitUsage       = 2   // invalid command line
	ExitJobFailed   = 3   // the job, or one of the group, failed
	ExitCancelled   = 4   // the job, or one of the group, was cancelled
	ExitUnavailable = 5   // the server cannot be reached, is overloaded, or enforces a rate or quota
	ExitInterrupted = 130 // Ctrl-C
)

var (
	errUsage       = errors.New("invalid argument")
	errInterrupted = errors.New("interrupted")
)

// ExitCode returns the exit code of a command's error.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if errors.Is(err, errUsage) {
		return ExitUsage
	}
	if errors.Is(err, errInterrupted) {
		return ExitInterrupted
	}
	if failed, ok := errors.AsType[*client.FailedError](err); ok {
		if failed.Job.State == client.StateCancelled {
			return ExitCancelled
		}
		return ExitJobFailed
	}
	if group, ok := errors.AsType[*groupError](err); ok {
		if group.group.Jobs.Failed == 0 {
			return ExitCancelled
		}
		return ExitJobFailed
	}
	if client.Retryable(err) {
		return ExitUnavailable
	}
	return ExitFailure
}

// remote are the flags of all commands.
type remote struct {
	Server   string        `default:"http://127.0.0.1:8080" placeholder:"URL" help:"URL of the server."`
	APIKey   string        `name:"api-key" env:"GATHER_API_KEY" placeholder:"KEY" help:"API key. Other users of the machine can read command lines: prefer the variable."`
	Output   string        `short:"o" enum:"auto,table,json,id" default:"auto" placeholder:"FORMAT" help:"table, json (one object a line), id (only ids or names), or auto: a table on a terminal, otherwise json."`
	RetryFor time.Duration `default:"30s" placeholder:"DURATION" help:"How long a request is retried while the server cannot be reached, is overloaded or enforces a rate; 0s disables retries."`
}

// session is a command that runs.
type session struct {
	IO

	client *client.Client
	output string
}

// connect returns the session of a command.
func (r *remote) connect(stdio IO) (*session, error) {
	s := &session{IO: stdio, output: r.Output}
	if s.output == "auto" {
		s.output = "json"
		if IsTerminal(stdio.Out) {
			s.output = "table"
		}
	}
	noted := false
	c := client.Config{Server: r.Server, APIKey: r.APIKey, RetryFor: r.RetryFor, OnRetry: func(err error, _ time.Duration) {
		if !noted { // the first one: a server that restarts causes many
			_, _ = fmt.Fprintf(stdio.Err, "gather: %v; retrying for %s\n", err, r.RetryFor)
		}
		noted = true
	}}
	if r.RetryFor == 0 {
		c.RetryFor = -1
	}
	var err error
	if s.client, err = client.New(c); err != nil {
		return nil, fmt.Errorf("%w: --%w", errUsage, err)
	}
	return s, nil
}

// IsTerminal reports whether a stream is a terminal.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// interruptible returns a context that ends with errInterrupted at Ctrl-C or SIGTERM. After stop they end the process.
func interruptible(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() { // ends with stop
		select {
		case <-signals:
			cancel(errInterrupted)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}
