package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gather/bench/machine"
	"gather/bench/render"
)

// streams measures normal clients beside idle event streams and slow readers.
func streams(ctx context.Context, s *suite) (render.Table, error) {
	idle, slow := openFiles(s.times(10_000, 200)), s.times(1000, 50)
	t := render.Table{
		Header: []string{"five-number squares", "POST to result, one client, p50", "p99", "64 clients, jobs/s", "p50", "p99", "memory", "goroutines", "open files"},
		Note: fmt.Sprintf("Idle streams wait for the events of one job; after the measurement it is cancelled, and each stream must end with that. "+
			"Slow readers read the results of a job of %s squares at 16 KiB/s, of which 8 KiB/s are required. One server, with "+
			"`--max-streams=12000`.", render.Number(float64(s.times(1_000_000, 100_000)))),
	}
	x, err := s.side(ctx, 64, s.server, "--max-streams=12000")
	if err != nil {
		return t, err
	}
	defer x.end()
	if err := s.besideStreams(ctx, x, &t, "alone"); err != nil {
		return t, err
	}

	sleep, err := x.send(request("POST", "/v1/jobs", `{"kind":"sleep_batch","count":1,"duration":"1h"}`), 202)
	if err != nil {
		return t, err
	}
	open, err := openStreams(x.api, idle, request("GET", "/v1/jobs/"+sleep.ID+"/events", ""))
	defer func() {
		for _, o := range open {
			_ = o.Close()
		}
	}()
	if err == nil {
		err = s.besideStreams(ctx, x, &t, fmt.Sprintf("beside %s idle streams", render.Number(float64(idle))))
	}
	if err != nil {
		return t, err
	}

	readers, err := startSlowReaders(ctx, x.target, slow, s.times(1_000_000, 100_000))
	if err == nil {
		err = s.besideStreams(ctx, x, &t, fmt.Sprintf("and %s slow readers", render.Number(float64(slow))))
	}
	if err := errors.Join(err, readers.stop()); err != nil {
		return t, err
	}
	if _, err := x.send(request("POST", "/v1/jobs/"+sleep.ID+"/cancel", ""), 200, 202); err != nil {
		return t, err
	}
	for i, o := range open {
		if err := o.ends(`"state":"cancelled"`); err != nil {
			return t, fmt.Errorf("idle stream %d: %w", i, err)
		}
	}
	return t, nil
}

// openFiles returns n, or fewer if the process may not open as many files.
func openFiles(n int) int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<30 {
		return n
	}
	return min(n, max(1, int(limit.Cur)-2000))
}

// besideStreams measures normal clients and adds a row.
func (s *suite) besideStreams(ctx context.Context, x *side, t *render.Table, name string) error {
	single := &clients{x.wires[:1]}
	var one, many sample
	for i := range s.times(6, 2) {
		a, err1 := single.load(ctx, waitSmall, 200, s.round())
		b, err2 := x.load(ctx, waitSmall, 200, s.round())
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if i > 0 { // the first round warms up
			one.add(a)
			many.add(b)
		}
	}
	used, err1 := machine.UsageOf(x.cmd.Process.Pid)
	goroutines, err2 := x.metric("go_goroutines")
	t.Row(name, one.quantile(0.5), one.quantile(0.99), many.rate(), many.quantile(0.5), many.quantile(0.99),
		megabytes(used.Memory), goroutines, used.Files)
	return errors.Join(err1, err2)
}

// stream is an open response, with a small buffer because there are many.
type stream struct {
	net.Conn
	r *bufio.Reader
}

// openStreams opens n responses and reads the beginning of each, up to the first event.
func openStreams(addr string, n int, req []byte) (open []*stream, err error) {
	for range n {
		c, err := net.DialTimeout("tcp", addr, 30*time.Second) //nolint:noctx // loopback, with a timeout
		if err != nil {
			return open, err
		}
		o := &stream{c, bufio.NewReaderSize(c, 512)}
		open = append(open, o)
		if _, err := o.Write(req); err != nil {
			return open, err
		}
		if err := o.ends("event: "); err != nil {
			return open, err
		}
	}
	return open, nil
}

// ends reads up to a line with the text.
func (o *stream) ends(text string) error {
	_ = o.SetReadDeadline(time.Now().Add(time.Minute))
	var last string
	for {
		line, err := o.r.ReadString('\n')
		if strings.Contains(line, text) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("no %s after %q: %w", text, last, err)
		}
		if strings.TrimSpace(line) != "" {
			last = line
		}
	}
}

// slowReaders read responses slowly until they are stopped.
type slowReaders struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	cut    int   // readers that were disconnected
	err    error // of one of them
}

// startSlowReaders starts readers of the results of one job. Its errors are those of the start.
func startSlowReaders(ctx context.Context, t *target, n, squares int) (*slowReaders, error) {
	ctx, cancel := context.WithCancel(ctx)
	l := &slowReaders{cancel: cancel}
	j, err := t.send(request("POST", "/v1/jobs", fmt.Sprintf(`{"kind":"squares","range":{"stop":%d}}`, squares), "Prefer: wait=30"), 200)
	if err != nil {
		return l, err
	}
	req := request("GET", "/v1/jobs/"+j.ID+"/results", "", ndjson)
	for range n {
		l.wg.Go(func() {
			if err := readSlowly(ctx, t.api, req); err != nil {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.cut++
				l.err = err
			}
		})
	}
	return l, nil
}

// stop ends the readers. It fails if the server disconnected one.
func (l *slowReaders) stop() error {
	l.cancel()
	l.wg.Wait()
	if l.cut > 0 {
		return fmt.Errorf("%d slow readers were disconnected: %w", l.cut, l.err)
	}
	return nil
}

// readSlowly reads a response at 16 KiB/s. The response is so long that it does not end meanwhile.
func readSlowly(ctx context.Context, addr string, req []byte) error {
	c, err := net.DialTimeout("tcp", addr, 30*time.Second) //nolint:noctx // loopback, with a timeout
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer func() {
		stop()
		_ = c.Close()
	}()
	piece := make([]byte, 4<<10)
	_ = c.(*net.TCPConn).SetReadBuffer(len(piece))
	if _, err = c.Write(req); err == nil {
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for err == nil && ctx.Err() == nil {
			_, err = io.ReadFull(c, piece)
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}
