// Command bench measures gather over loopback and prints tables in Markdown.
//
//	go run ./bench                     everything, some minutes
//	go run ./bench -short              everything, in three minutes: checks that it runs
//	go run ./bench -run submit,wait    only these
//	go run ./bench -run soak           an hour of mixed load; -soak 10m shortens it
//	go run ./bench -run peers,programs -page docs/benchmarks/peers.md
//
// With -page it writes the figures between the marks of that page, and the plots beside it.
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
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
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
	// root is the directory of this module, peers that of the compared services.
	root, peers string
	// python is the interpreter that has the modules of the compared programs.
	python string
	// soak is the length of the soak.
	soak time.Duration
	// plots has the SVGs by name.
	plots map[string]string
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
	{"soak", "Soak", soak},
	{"streams", "Idle streams and slow readers", streams},
	{"queued", "Many queued jobs", queued},
	{"restart", "Restart with many kept jobs", restarts},
	{"requests", "Many HTTP requests", requests},
	{"peers", "Job queues", peers},
	{"programs", "Programs", programs},
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
	s := &suite{plots: map[string]string{}}
	fs.BoolVar(&s.short, "short", false, "measure little: to see that it runs")
	only := fs.String("run", "", "comma-separated `names` of scenarios; default: all")
	page := fs.String("page", "", "`file` with marks, to write the figures to and the plots beside it")
	fs.StringVar(&s.python, "python", "/usr/bin/python3", "a Python with Dask, Celery, FastAPI, uvicorn, aiohttp and httpx, as of Debian")
	fs.DurationVar(&s.soak, "soak", 0, "length of the soak; default: an hour if it is named in -run, else 5s")
	limit := fs.Duration("timeout", 30*time.Minute, "give up after this long, and the soak")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if s.soak == 0 {
		s.soak = 5 * time.Second
		if !s.short && slices.Contains(strings.Split(*only, ","), "soak") {
			s.soak = time.Hour
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit+s.soak)
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

	var figures strings.Builder
	if err := s.report(ctx, io.MultiWriter(stdout, &figures), stderr, *only); err != nil || *page == "" {
		return err
	}
	return s.write(*page, figures.String())
}

// report runs the scenarios and prints their tables.
func (s *suite) report(ctx context.Context, out, stderr io.Writer, only string) error {
	about, err := describe()
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "%s\n", about)
	if s.short {
		_, _ = fmt.Fprintln(out, "\nA short run: it shows that the measurements work, not what they are.")
	}
	for _, sc := range scenarios {
		if only != "" && !slices.Contains(strings.Split(only, ","), sc.name) {
			continue
		}
		began := time.Now()
		t, err := sc.run(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", sc.name, err)
		}
		_, _ = fmt.Fprintf(out, "\n### %s\n\n%s", sc.title, &t)
		_, _ = fmt.Fprintf(stderr, "%s: %s\n", sc.name, time.Since(began).Round(100*time.Millisecond))
	}
	return nil
}

// write writes the figures to a page and the plots beside it.
func (s *suite) write(page, figures string) error {
	if err := render.WritePage(page, figures); err != nil {
		return err
	}
	for name, svg := range s.plots {
		if err := os.WriteFile(filepath.Join(filepath.Dir(page), name), []byte(svg), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// findRoot finds the directory of this module.
func (s *suite) findRoot(ctx context.Context) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "gather").Output()
	if err != nil {
		return fmt.Errorf("run this inside of gather: %w", err)
	}
	s.root = strings.TrimSpace(string(root))
	return nil
}
