package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// script runs the Python contenders.
//
//go:embed peer.py
var script string

// peer is a contender's process. It answers each JSON line with one JSON line, and measures the time itself, so that the
// communication between the processes is not measured.
type peer struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// request is a request to a peer: op is "about", "load", "drop", or a way to sum.
type request struct {
	Op     string `json:"op"`
	Path   string `json:"path,omitempty"`
	Offset int64  `json:"offset,omitempty"` // of the elements in the file
	Times  int    `json:"times,omitempty"`  // the number of sums; the response has the mean time

	// For Dask.
	Source  string  `json:"source,omitempty"` // ones, file, memory
	Shape   []int64 `json:"shape,omitempty"`
	Chunks  any     `json:"chunks,omitempty"`
	Axis    any     `json:"axis,omitempty"`
	Workers int     `json:"workers,omitempty"`
	Fill    float64 `json:"fill,omitempty"`
}

// response has the time of a sum, and its value.
type response struct {
	Seconds float64 `json:"seconds"`
	Hex     string  `json:"hex,omitempty"`
	Text    string  `json:"text,omitempty"`
	Error   string  `json:"error,omitempty"`
}

func startPeer(cmd *exec.Cmd) (*peer, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &peer{cmd, in, json.NewDecoder(out)}, nil
}

// stop ends the process by ending its input.
func (p *peer) stop() {
	_ = p.in.Close()
	_ = p.cmd.Wait()
}

// call sends r and returns the response. Values are formatted as Go formats them, so that equal bits are equal text.
func (p *peer) call(r request) (response, error) {
	if r.Times == 0 {
		r.Times = 1
	}
	line, err := json.Marshal(r)
	if err != nil {
		return response{}, err
	}
	return p.send(r.Op, line)
}

// send sends a line for an op.
func (p *peer) send(op string, line []byte) (a response, err error) {
	_, err = p.in.Write(append(line, '\n'))
	if err == nil {
		err = p.out.Decode(&a)
	}
	name := filepath.Base(p.cmd.Path)
	if err != nil {
		return a, fmt.Errorf("%s: %s: %w", name, op, err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("%s: %s: %s", name, op, a.Error)
	}
	if a.Hex != "" {
		v, err := strconv.ParseFloat(a.Hex, 64)
		if err != nil {
			return a, fmt.Errorf("%s: %w", name, err)
		}
		a.Hex = hex(v)
	}
	return a, nil
}

func hex(v float64) string { return strconv.FormatFloat(v, 'x', -1, 64) }

// drop frees the resident arrays of the peers.
func drop(peers ...*peer) error {
	var errs []error
	for _, p := range peers {
		_, err := p.call(request{Op: "drop"})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
