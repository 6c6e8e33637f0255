package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gather/bench/render"
	"gather/internal/zarr"
)

// zarrScript writes arrays with zarr-python and sums them with Dask.
//
//go:embed zarr.py
var zarrScript string

// zarrRequest is a request to zarrScript.
type zarrRequest struct {
	Op      string  `json:"op"`
	Path    string  `json:"path,omitempty"`
	Codec   string  `json:"codec,omitempty"`
	Length  int64   `json:"length,omitempty"`
	Chunk   int64   `json:"chunk,omitempty"`
	Host    string  `json:"host,omitempty"`
	Prefix  string  `json:"prefix,omitempty"`
	Axis    any     `json:"axis"`
	Chunks  []int64 `json:"chunks,omitempty"`
	Workers int     `json:"workers,omitempty"`
}

// compareZarr compares sums of Zarr arrays of 10 000 chunks with Dask, in files and on S3 with latency.
func (l *lab) compareZarr(ctx context.Context, out io.Writer) error {
	length, chunk, rounds := int64(16000), int64(160), 2
	if l.short {
		length, rounds = 3200, 1
	}
	python, err := startPeer(exec.CommandContext(ctx, l.python, "-c", zarrScript))
	if err != nil {
		return err
	}
	defer python.stop()
	about, err := python.ask(zarrRequest{Op: "about"})
	if err != nil {
		return err
	}
	g, err := l.startOnBucket(ctx)
	if g != nil {
		defer g.stop()
	}
	if err != nil {
		return err
	}
	t := render.Table{
		Header: []string{
			"array", "sum", "gather", "decompression alone", "Dask", "Dask / gather", "gather / decompression",
			"CPU: Dask / gather", "CPU: gather / decompression",
		},
		Note: "Decompression alone: the files are read and decoded with gather's decoder on all cores, without a sum. Dask: the " +
			"faster of its tasks by chunk and by 10 x 10 chunks, once each. CPU: the time of all cores in the process, which other " +
			"work of the machine does not change.",
	}
	for _, codec := range []string{"zstd", "blosc-lz4"} {
		path := filepath.Join(l.dir, codec+".zarr")
		if _, err := python.ask(zarrRequest{Op: "write", Path: path, Codec: codec, Length: length, Chunk: chunk}); err != nil {
			return err
		}
		if err := g.upload(ctx, path, codec+".zarr"); err != nil {
			return err
		}
		for _, remote := range []bool{false, true} {
			source := zarrRequest{Op: "sum", Path: path, Workers: runtime.NumCPU()}
			url, where := "file://"+path, "files"
			if remote {
				url, where = "s3://"+bucketName+"/"+codec+".zarr", "S3, "+latency.String()
				source.Path, source.Host, source.Prefix, source.Workers = "", g.addr, "/plain/"+codec+".zarr", 16
			}
			for _, axis := range []any{nil, 0, 1} {
				var cpu [4]cpuTime
				contenders := []contender{
					l.service(ctx, fmt.Sprintf(`"axis":%s,"array":{"source":"zarr","url":%q}`, asJSON(axis), url), 1),
					{name: "decompression", run: func() (response, error) { return decodeAll(path) }},
				}
				for _, n := range []int64{1, 10} {
					r := source
					r.Axis, r.Chunks = axis, []int64{n * chunk, n * chunk}
					contenders = append(contenders, contender{name: "Dask", slow: true, run: func() (response, error) { return python.ask(r) }})
				}
				for i, pid := range []int{l.gather.cmd.Process.Pid, os.Getpid(), python.cmd.Process.Pid, python.cmd.Process.Pid} {
					contenders[i].run = cpu[i].of(pid, contenders[i].run)
				}
				f, err := l.rounds(rounds, contenders...)
				if err != nil {
					return err
				}
				name := sumName(axis)
				dask := min(f[2].seconds, f[3].seconds)
				daskCPU := min(cpu[2].mean(), cpu[3].mean())
				row := []any{
					codec + ", " + where, name, render.Seconds(f[0].seconds), render.Seconds(f[1].seconds), render.Seconds(dask),
					render.Ratio(dask, f[0].seconds), render.Ratio(f[0].seconds, f[1].seconds), render.Ratio(daskCPU, cpu[0].mean()), render.Ratio(cpu[0].mean(), cpu[1].mean()),
				}
				t.Row(row...)
				_, _ = fmt.Fprintln(l.stderr, row...)
			}
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "%s. %d chunks of %d x %d float64, %d MB.\n\n%s", about.Text, (length/chunk)*(length/chunk), chunk, chunk, length*length*8/1e6, &t)
	return err
}

// ask is call for requests of zarrScript.
func (p *peer) ask(r zarrRequest) (response, error) {
	line, err := json.Marshal(r)
	if err != nil {
		return response{}, err
	}
	return p.send(r.Op, line)
}

// decodeAll reads and decodes all chunks of an array in a directory, on all cores.
func decodeAll(dir string) (response, error) {
	began := time.Now()
	meta, err := os.ReadFile(filepath.Join(dir, zarr.MetadataV2))
	if err != nil {
		return response{}, err
	}
	a, err := zarr.Parse(meta)
	if err != nil {
		return response{}, err
	}
	n, _ := a.Objects()
	var next atomic.Int64
	errs := make([]error, runtime.NumCPU())
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			var scratch zarr.Scratch
			chunk := make([]byte, a.ChunkBytes()+64)
			for i := next.Add(1) - 1; i < n && errs[w] == nil; i = next.Add(1) - 1 {
				data, err := os.ReadFile(filepath.Join(dir, a.Key(i)))
				if err == nil {
					err = a.Decode(chunk[:a.ChunkBytes()], data, &scratch)
				}
				errs[w] = err
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return response{}, err
		}
	}
	return response{Seconds: time.Since(began).Seconds()}, nil
}

// cpuTime sums the processor time of a process in runs of a contender.
type cpuTime struct {
	ticks float64
	runs  int
}

// of returns run, with the time of process pid added to c.
func (c *cpuTime) of(pid int, run func() (response, error)) func() (response, error) {
	return func() (response, error) {
		before, err := ticks(pid)
		if err != nil {
			return response{}, err
		}
		a, err := run()
		if err != nil {
			return a, err
		}
		after, err := ticks(pid)
		c.ticks += after - before
		c.runs++
		return a, err
	}
}

func (c *cpuTime) mean() float64 { return c.ticks / float64(max(c.runs, 1)) }

// ticks returns the processor time of a process, in clock ticks.
func ticks(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	var user, system float64
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, err
	}
	return user + system, nil
}
