package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"gather/client"
)

type watchCmd struct {
	remote `embed:""`
	ID     string `arg:"" name:"id" help:"ID of the job."`

	After int64 `env:"-" placeholder:"SEQ" help:"Resume after this event."`
}

// Run follows the job and ends with its outcome.
func (c *watchCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	if s.output == "table" {
		w := s.Out
		if !IsTerminal(w) {
			w = io.Discard
		}
		j, err := s.bar(ctx, c.ID, w)
		if err != nil {
			return err
		}
		return errors.Join(s.job(j), j.Err())
	}
	var ended *client.Job
	for e, err := range s.client.Events(ctx, c.ID, c.After) {
		if err != nil {
			return err
		}
		if err := s.table().row(fmt.Sprint(e.Seq), e); err != nil {
			return err
		}
		ended = e.End
	}
	return ended.Err()
}

// wait returns a job that has ended. On a terminal it shows a progress bar, and Ctrl-C asks whether to cancel the job;
// otherwise the job runs on after Ctrl-C.
func (s *session) wait(ctx context.Context, id string) (*client.Job, error) {
	for {
		j, err := s.follow(ctx, id)
		if !errors.Is(err, errInterrupted) {
			return j, err
		}
		if !IsTerminal(s.In) || !IsTerminal(s.Err) || !s.confirm("\nCancel job "+id+"? [y/N] ") {
			_, _ = fmt.Fprintf(s.Err, "gather: job %s runs on; 'gather watch %s' follows it, 'gather cancel %s' cancels it\n", id, id, id)
			return nil, err
		}
		request, stop := interruptible(ctx)
		_, err = s.client.Cancel(request, id)
		stop()
		if err != nil {
			return nil, err
		}
	}
}

func (s *session) follow(ctx context.Context, id string) (*client.Job, error) {
	ctx, stop := interruptible(ctx)
	defer stop()
	if IsTerminal(s.Err) {
		return s.bar(ctx, id, s.Err)
	}
	return s.client.Wait(ctx, id)
}

// confirm asks a question. Ctrl-C ends the process.
func (s *session) confirm(question string) bool {
	_, _ = fmt.Fprint(s.Err, question)
	answer, _ := bufio.NewReader(s.In).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

// clearLine moves to the start of the line of a terminal, and clears it.
const clearLine = "\r\x1b[K"

// refresh is the interval between two states of a progress bar.
const refresh = time.Second

// bar shows the progress of a job on a terminal until it has ended, and returns it.
func (s *session) bar(ctx context.Context, id string, w io.Writer) (*client.Job, error) {
	return poll(ctx, w, func(wait time.Duration) (*client.Job, string, bool, error) {
		j, err := s.client.Get(ctx, id, client.WithWait(wait))
		if err != nil {
			return nil, "", false, err
		}
		line := barLine(string(j.State), &j.Progress)
		if j.QueuePosition != nil {
			line += fmt.Sprintf("  position %d in the queue", *j.QueuePosition)
		}
		if r := j.Retrying; r != nil {
			line += fmt.Sprintf("  task %d has failed %d times", r.Task, r.Attempts)
		}
		return j, line, j.State.Terminal(), nil
	})
}

// poll shows the line that get returns on a terminal, every second until get reports the end.
func poll[T any](ctx context.Context, w io.Writer, get func(wait time.Duration) (v T, line string, ended bool, err error)) (T, error) {
	defer func() { _, _ = io.WriteString(w, clearLine) }()
	for wait := time.Duration(0); ; wait = refresh {
		began := time.Now()
		v, line, ended, err := get(wait)
		if err != nil || ended {
			return v, err
		}
		if _, err := io.WriteString(w, clearLine+line); err != nil {
			return v, err
		}
		select { // unless the server has held the request
		case <-time.After(wait - time.Since(began)):
		case <-ctx.Done():
			return v, context.Cause(ctx)
		}
	}
}

// barWidth is the number of characters between the brackets.
const barWidth = 30

// barLine returns a state and a progress in one line.
func barLine(state string, p *client.Progress) string {
	done := min(max(int(p.Fraction*barWidth), 0), barWidth)
	line := fmt.Sprintf("%-10s [%s%s] %3d%%  %s", state, strings.Repeat("#", done), strings.Repeat("-", barWidth-done), int(p.Fraction*100), progress(p))
	if p.EtaSeconds != nil {
		line += "  " + short(time.Duration(*p.EtaSeconds*float64(time.Second))) + " left"
	}
	return line
}
