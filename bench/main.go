// Command bench measures gather over loopback and prints tables in Markdown.
//
//	go run ./bench                     everything, some minutes
//	go run ./bench -short              everything, in less than a minute: checks that it runs
//	go run ./bench -run submit,wait    only these
//
// It builds the real server and drives it as a client does, over TCP. Where durability is compared with its absence,
// both servers are this program with the same handlers and different journals, started side by side and loaded alternately,
// round by round, so that other load of the machine affects both. Everything is bounded in count and time and stays on
// 127.0.0.1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gather/bench/render"
)

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// suite is one run of the scenarios.
type suite struct {
	short bool
	// server is the real server, self is this program.
	server, self string
	// nats is the NATS server, once it is built.
	nats string
	// python is the interpreter that has aiohttp and httpx.
	python string
}

// round is how long one load lasts.
func (s *suite) round() time.Duration {
	if s.short {
		return 250 * time.Millisecond
	}
	return time.Second
}

// times is n, or fewer in a short run.
func (s *suite) times(n, short int) int {
	if s.short {
		return short
	}
	return n
}

// scenario is one table of the report.
type scenario struct {
	name  string
	title string
	run   func(ctx context.Context, s *suite) (render.Table, error)
}

var scenarios = []scenario{
	{"submit", "Submissions, durable and not", submissions},
	{"wait", "From POST to result", waiting},
	{"executor", "Overhead of the executor", overhead},
	{"giant", "Small jobs beside a giant", besideGiant},
	{"sleeps", "Sleeps", sleeps},
	{"squares", "A million squares", millionSquares},
	{"peers", "What people run today", peers},
	{"requests", "Many HTTP requests", requests},
	{"nodes", "One node and three, on NATS", nodes},
	{"scaling", "More nodes", scaling},
	{"recovery", "A node is killed", recovery},
}

func run(args []string, stdout, stderr io.Writer) (err error) {
	if len(args) > 0 && args[0] == "serve" {
		return serve(args[1:])
	}
	if len(args) > 0 && args[0] == "upstream" {
		return upstream(stdout)
	}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	s := &suite{}
	fs.BoolVar(&s.short, "short", false, "measure little: to see that it runs")
	only := fs.String("run", "", "comma-separated names of scenarios; all unless told")
	fs.StringVar(&s.python, "python", "python3", "a Python with aiohttp and httpx, as of Debian's python3-aiohttp and python3-httpx")
	limit := fs.Duration("timeout", 15*time.Minute, "give up after this long")
	if err := fs.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), *limit)
	defer cancel()
	dir, err := os.MkdirTemp("", "gather-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s.server = filepath.Join(dir, "server")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", s.server, "gather/cmd/server").CombinedOutput(); err != nil {
		return fmt.Errorf("build the server: %w\n%s", err, out)
	}
	if s.self, err = os.Executable(); err != nil {
		return err
	}

	about, err := machine()
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(stdout, "%s\n", about)
	if s.short {
		_, _ = fmt.Fprintln(stdout, "\nA short run: it shows that the measurements work, not what they are.")
	}
	for _, sc := range scenarios {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), sc.name) {
			continue
		}
		began := time.Now()
		t, err := sc.run(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", sc.name, err)
		}
		_, _ = fmt.Fprintf(stdout, "\n### %s\n\n%s", sc.title, &t)
		_, _ = fmt.Fprintf(stderr, "%s: %s\n", sc.name, time.Since(began).Round(100*time.Millisecond))
	}
	return nil
}
