// Command lossy mounts a directory as a disk that loses writes in a power cut: what a program has written to a file and not forced to disk
// with fsync or fdatasync.
//
//	lossy -seed 7 DIRECTORY MOUNTPOINT
//
// A line of the standard input cuts the power; the programs that use the files must have ended. Of what was not forced to each file, the disk
// then has nothing, or some pages of 4 KiB, or those up to a point and a part of the next one in units of 512 bytes. What was forced stays. Names
// are never lost: a file that was created, renamed or removed stays so. The end of the standard input unmounts.
//
// It prints "mounted", and after each power cut how many pages were lost. Linux, as root.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "lossy:", err)
		os.Exit(1)
	}
}

func run(stdin io.Reader, stdout io.Writer) error {
	seed := flag.Uint64("seed", 1, "`number` that decides what a power cut loses")
	flag.Parse()
	if flag.NArg() != 2 {
		return fmt.Errorf("got %d arguments, want the directory and the mount point", flag.NArg())
	}
	signal.Ignore(os.Interrupt) // of the terminal: the parent ends, and so does the standard input
	d := &disk{files: make(map[uint64]*content)}
	root, err := d.root(flag.Arg(0))
	if err != nil {
		return err
	}
	server, err := fs.Mount(flag.Arg(1), root, &fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "lossy"}})
	if err != nil {
		return fmt.Errorf("mount %s: %w", flag.Arg(1), err)
	}
	_, _ = fmt.Fprintln(stdout, "mounted")
	rng := rand.New(rand.NewPCG(*seed, 0))
	for lines := bufio.NewScanner(stdin); lines.Scan(); {
		lost, all, err := d.cutPower(rng)
		if err != nil {
			return fmt.Errorf("cut the power: %w", err)
		}
		_, _ = fmt.Fprintf(stdout, "lost %d of %d pages\n", lost, all)
	}
	return server.Unmount()
}
