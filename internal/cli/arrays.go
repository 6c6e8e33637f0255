package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"gather/client"
)

type arraysCmd struct {
	Put  arraysPutCmd  `cmd:"" help:"Store a .npy file under a name."`
	Get  arraysGetCmd  `cmd:"" help:"Describe a stored array, or download it to a file."`
	List arraysListCmd `cmd:"" help:"List the stored arrays."`
	Rm   arraysRmCmd   `cmd:"" help:"Delete stored arrays."`
}

type arraysPutCmd struct {
	remote `embed:""`
	Name   string `arg:"" help:"Name of the array."`
	File   string `arg:"" help:"A .npy file, as numpy.save writes it."`
}

// Run uploads the file and describes the array.
func (c *arraysPutCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a regular file", errUsage, c.File)
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	a, err := s.client.PutArray(ctx, c.Name, f, info.Size())
	if err != nil {
		return err
	}
	return s.array(a)
}

type arraysGetCmd struct {
	remote `embed:""`
	Name   string `arg:"" help:"Name of the array."`
	File   string `arg:"" optional:"" help:"File to write; - for standard output. Without it the array is described."`
}

// Run describes or downloads the array.
func (c *arraysGetCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	if c.File != "" {
		return s.download(c.File, func(w io.Writer) error {
			_, err := s.client.DownloadArray(ctx, c.Name, w)
			return err
		})
	}
	a, err := s.client.GetArray(ctx, c.Name)
	if err != nil {
		return err
	}
	return s.array(a)
}

type arraysListCmd struct {
	remote `embed:""`
}

// Run lists the arrays.
func (c *arraysListCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	t := s.table(column{"NAME", 24}, column{"DTYPE", 8}, column{"SHAPE", 16}, column{"BYTES", 12}, column{"STATE", 0})
	for a, err := range s.client.ListArrays(ctx) {
		if err != nil {
			return err
		}
		state := string(a.State)
		if a.InUse {
			state += ", in use"
		}
		if err := t.row(a.Name, a, a.Name, string(a.Dtype), shape(a.Shape), fmt.Sprint(a.Bytes), state); err != nil {
			return err
		}
	}
	return nil
}

type arraysRmCmd struct {
	remote `embed:""`
	Names  []string `arg:"" name:"name" help:"Names of arrays."`
}

// Run deletes the arrays. It continues after an error.
func (c *arraysRmCmd) Run(ctx context.Context, stdio IO) error {
	s, err := c.connect(stdio)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	var errs []error
	for _, name := range c.Names {
		errs = append(errs, s.client.DeleteArray(ctx, name))
	}
	return errors.Join(errs...)
}

func (s *session) array(a *client.StoredArray) error {
	return s.object(a.Name, a, [][2]string{
		{"Name", a.Name},
		{"Dtype", string(a.Dtype)},
		{"Shape", shape(a.Shape)},
		{"Bytes", fmt.Sprint(a.Bytes)},
		{"SHA-256", a.Sha256},
		{"State", string(a.State)},
		{"In use", fmt.Sprint(a.InUse)},
	})
}

// shape returns a shape in Python's notation.
func shape(lengths []int64) string {
	var parts []string
	for _, n := range lengths {
		parts = append(parts, fmt.Sprint(n))
	}
	if len(parts) == 1 {
		return "(" + parts[0] + ",)"
	}
	return "(" + strings.Join(parts, ", ") + ")"
}
