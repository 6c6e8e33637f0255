// Command sums compares the exact sums of gather with NumPy, Dask and gonum, and prints tables in Markdown.
//
//	go run ./bench/sums                          1 MiB and 512 MiB, some minutes
//	go run ./bench/sums -large                   also 4 GiB: needs 16 GiB of memory and 10 GB of disk
//	go run ./bench/sums -short                   less than a minute, to check that it runs
//	go run ./bench/sums -large -write docs/benchmarks
//	go run ./bench/sums -s3                      .npy objects on S3 against reads of their ranges: needs versitygw
//	go run ./bench/sums -zarr -timeout 2h        Zarr arrays against Dask with zarr-python instead: needs 6 GB of disk and versitygw
//
// With -write it updates the tables in sums.md of that directory, and the plots beside it.
//
// It builds the real server and submits to it over TCP. All contenders are processes that read the same files and run
// alternately, round by round, so that other load of the machine affects all of them; results are medians. NumPy and Dask are
// those of the system's Python (Debian: python3-numpy, python3-dask). Everything stays on 127.0.0.1 and is bounded in count and
// time.
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
	"time"
)

func main() {
	err := run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintln(os.Stderr, "sums:", err)
		os.Exit(1) //nolint:forbidigo // the process ends where it began
	}
}

// lab is one run of the benchmark: its settings, data and contenders.
type lab struct {
	short, large bool
	python       string
	dir          string // data and binaries, removed at the end
	stderr       io.Writer

	idleBudget                     time.Duration // the remaining time for waits until the machine is idle
	measurements, idleMeasurements int           // of all contenders, and those that started on an idle machine

	server              string // the binary
	gather              *service
	self, avx2          *peer // the kernel in a separate process, with and without AVX-512
	gonum, numpyAndDask *peer
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) (err error) {
	if len(args) > 0 && args[0] == "peer" {
		return servePeer(stdin, stdout)
	}
	fs := flag.NewFlagSet("sums", flag.ContinueOnError)
	fs.SetOutput(stderr)
	l := &lab{stderr: stderr}
	fs.BoolVar(&l.short, "short", false, "a short run, to check that it works")
	fs.BoolVar(&l.large, "large", false, "measure 4 GiB as well")
	fs.StringVar(&l.python, "python", "/usr/bin/python3", "a Python that has NumPy and Dask")
	objects := fs.Bool("s3", false, "compare sums of .npy objects on S3 instead")
	zarrs := fs.Bool("zarr", false, "compare sums of Zarr arrays instead")
	write := fs.String("write", "", "directory of sums.md, to write the figures and plots to")
	fs.DurationVar(&l.idleBudget, "idle-wait", 3*time.Minute, "how long to wait, in all, until the machine is idle")
	limit := fs.Duration("timeout", 20*time.Minute, "give up after this long")
	if err := fs.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), *limit)
	defer cancel()
	if l.dir, err = os.MkdirTemp("", "gather-sums-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(l.dir)) }()
	defer l.stop()
	if *objects || *zarrs {
		if err := l.buildServer(ctx); err != nil {
			return err
		}
		if *objects {
			return l.compareObjects(ctx, stdout)
		}
		return l.compareZarr(ctx, stdout)
	}
	if err := l.build(ctx); err != nil {
		return err
	}
	r, err := l.measure(ctx)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(stdout, r.text.String()); err != nil || *write == "" {
		return err
	}
	return r.write(*write)
}

// build builds the binaries and starts the server and the peers.
func (l *lab) build(ctx context.Context) (err error) {
	gonum := filepath.Join(l.dir, "gonum")
	if err := errors.Join(l.buildServer(ctx), build(ctx, gonum, "bench/sums/gonum", ".")); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, p := range []struct {
		to  **peer
		cmd *exec.Cmd
	}{
		{&l.self, exec.CommandContext(ctx, self, "peer")},
		{&l.avx2, exec.CommandContext(ctx, self, "peer")},
		{&l.gonum, exec.CommandContext(ctx, gonum)},
		{&l.numpyAndDask, exec.CommandContext(ctx, l.python, "-c", script)},
	} {
		if p.to == &l.avx2 {
			p.cmd.Env = append(os.Environ(), "GODEBUG=cpu.avx512f=off")
		}
		if *p.to, err = startPeer(p.cmd); err != nil {
			return err
		}
	}
	l.gather, err = startService(ctx, l.server, "--array-bucket=file://"+l.dir, "--max-array=20GiB")
	return err
}

func (l *lab) buildServer(ctx context.Context) error {
	l.server = filepath.Join(l.dir, "server")
	return build(ctx, l.server, ".", "gather/cmd/server")
}

// build builds a package from a directory of the repository.
func build(ctx context.Context, out, dir, pkg string) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "gather").Output()
	if err != nil {
		return fmt.Errorf("run this inside of gather: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, pkg)
	cmd.Dir = filepath.Join(string(root[:len(root)-1]), dir)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	return nil
}

// stop ends every process.
func (l *lab) stop() {
	for _, p := range []*peer{l.self, l.avx2, l.gonum, l.numpyAndDask} {
		if p != nil {
			p.stop()
		}
	}
	if l.gather != nil {
		l.gather.stop()
	}
}
