package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A lossyDisk is mounted on the directory of one process. It loses in a power cut what was not forced to it; see package lossy.
type lossyDisk struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// buildLossy builds the program that mounts a lossy disk into a file.
func buildLossy(ctx context.Context, path string) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	module := filepath.Join(strings.TrimSpace(string(root)), "bench", "crash", "lossy")
	if out, err := exec.CommandContext(ctx, "go", "-C", module, "build", "-o", path, ".").CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", module, err, out)
	}
	return nil
}

// mountLossy mounts a lossy disk on a directory, with its files in another beside it.
func mountLossy(program, dir string, seed uint64) (*lossyDisk, error) {
	files := dir + "-disk"
	for _, d := range []string{dir, files} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	d := &lossyDisk{cmd: exec.CommandContext(context.Background(), program, "-seed", fmt.Sprint(seed), files, dir)} // ended by unmount
	d.cmd.Stderr = os.Stderr
	var err error
	if d.in, err = d.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	d.out = bufio.NewScanner(stdout)
	if !d.out.Scan() || d.out.Text() != "mounted" {
		return nil, fmt.Errorf("mount a lossy disk on %s: %w", dir, d.cmd.Wait())
	}
	return d, nil
}

// cutPower loses what was not forced to disk, and returns how much. No process may use the files.
func (d *lossyDisk) cutPower() (lost string, err error) {
	if _, err := io.WriteString(d.in, "cut\n"); err != nil {
		return "", err
	}
	if !d.out.Scan() {
		return "", fmt.Errorf("the lossy disk ended: %w", d.cmd.Wait())
	}
	return d.out.Text(), nil
}

func (d *lossyDisk) unmount() error {
	return errors.Join(d.in.Close(), d.cmd.Wait())
}

// canMountLossy returns why a lossy disk cannot be mounted here, or nil.
func (s *settings) canMountLossy(ctx context.Context) error {
	dir, err := os.MkdirTemp(s.dir, "lossy-")
	if err != nil {
		return err
	}
	s.lossy = filepath.Join(s.dir, "lossy")
	if err := buildLossy(ctx, s.lossy); err != nil {
		return err
	}
	d, err := mountLossy(s.lossy, filepath.Join(dir, "disk"), 0)
	if err != nil {
		return err
	}
	return errors.Join(d.unmount(), os.RemoveAll(dir))
}

// fillDisk fills the disk of a directory, and returns the file that does.
func fillDisk(dir string) (name string, err error) {
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		return "", err
	}
	for chunk := make([]byte, 64<<10); err == nil; {
		if _, err = filler.Write(chunk); err != nil && len(chunk) > 1 {
			chunk, err = chunk[:len(chunk)/2], nil
		}
	}
	if err = errors.Join(err, filler.Close()); !errors.Is(err, syscall.ENOSPC) {
		return "", err
	}
	return filler.Name(), nil
}

// fill fills the disk of a server for a while, and perhaps kills it. It may refuse to start then, because the disk is full, and must be
// ready once there is space.
func (r *run) fill(ctx context.Context, p *process, f *fault) error {
	filler, err := fillDisk(filepath.Dir(p.dir))
	if err != nil {
		return err
	}
	full := true
	if f.kind == fillKill {
		time.Sleep(f.delay)
		p.kill()
		r.restarted()
		err := p.start()
		full = err == nil
		if err != nil && !strings.Contains(err.Error(), "the disk is full; the data is whole") {
			return err
		}
	}
	time.Sleep(f.length)
	if err := os.Remove(filler); err != nil {
		return err
	}
	if !full {
		return r.restart(p)
	}
	return r.ready(ctx, p)
}

// smallDisk mounts a small disk in memory on a directory. The caller must call unmount.
func smallDisk(dir string) (unmount func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=192m"); err != nil {
		return nil, fmt.Errorf("mount a tmpfs: %w", err)
	}
	return func() error { return syscall.Unmount(dir, 0) }, nil
}

// canMountSmall returns why a small disk cannot be mounted here, or nil.
func canMountSmall() error {
	dir, err := os.MkdirTemp("", "gather-crash-disk-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(dir) }()
	unmount, err := smallDisk(dir)
	if err != nil {
		return err
	}
	return unmount()
}
