package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"

	"gather/internal/npy"
)

// step runs step n of a client. Its choices depend on the seed, the client and n alone.
func (c *client) step(ctx context.Context, n int) error {
	c.seed(n)
	label, key := labelOf(c.id, n), ""
	if c.rng.IntN(2) == 0 {
		key = "key-" + label
	}
	switch c.rng.IntN(16) {
	case 0:
		return c.batch(ctx, label, key)
	case 10:
		return c.retried(ctx, label, key)
	case 11:
		return c.bulk(ctx, label, key)
	case 12, 13:
		return c.grouped(ctx, label, key, n)
	case 14, 15:
		return c.dependent(ctx, label, key)
	case 1:
		return c.cancelled(ctx, label, key)
	case 2:
		return c.sharedKey(ctx, n)
	case 3, 4:
		return c.arrays(ctx, label, n)
	default:
		s := c.newSubmission(label, key, "", newOrder(c.rng))
		return c.single(ctx, s)
	}
}

// seed makes the choices of step n.
func (c *client) seed(n int) {
	c.rng = rand.New(rand.NewPCG(c.plan.seed, uint64(c.id)<<32|uint64(n)+1))
	c.node = c.rng.IntN(len(c.nodes))
}

// single submits a job, perhaps again with its key, gathers it in one way, and perhaps deletes it.
func (c *client) single(ctx context.Context, s *submission) error {
	var header []string
	if c.rng.IntN(3) == 0 {
		header = []string{"Prefer", fmt.Sprintf("wait=%d", waitSeconds)}
	}
	o, err := c.submit(ctx, s, header...)
	if err != nil {
		return err
	}
	id := o.ids[0]
	if s.key != "" && c.rng.IntN(2) == 0 {
		c.hop()
		if _, err := c.submit(ctx, s); err != nil {
			return err
		}
	}
	if err := c.gather(ctx, id); err != nil {
		return err
	}
	if c.rng.IntN(5) > 0 {
		return nil
	}
	if v, err := c.await(ctx, id); err != nil || v == nil {
		return err
	}
	if _, err := c.onJob(ctx, remove, id); err != nil {
		return err
	}
	c.hop()
	_, err = c.onJob(ctx, get, id)
	return err
}

// gather gathers a job in one way.
func (c *client) gather(ctx context.Context, id string) error {
	switch c.rng.IntN(5) {
	case 0, 1:
		return c.followJob(ctx, id)
	case 2:
		return c.results(ctx, id)
	case 3:
		_, err := c.await(ctx, id)
		return err
	default: // later
		_, err := c.onJob(ctx, get, id)
		return err
	}
}

// batch submits several jobs, perhaps twice with their key, and gathers one of them.
func (c *client) batch(ctx context.Context, label, key string) error {
	orders := make([]order, 2+c.rng.IntN(5))
	for i := range orders {
		orders[i] = newOrder(c.rng)
	}
	s := c.newSubmission(label, key, "", orders...)
	if c.rng.IntN(2) == 0 {
		s.group = "batch-" + label
	}
	o, err := c.submit(ctx, s)
	if err != nil {
		return err
	}
	if key != "" {
		c.hop()
		if _, err := c.submit(ctx, s); err != nil {
			return err
		}
	}
	if c.rng.IntN(2) == 0 {
		return c.followGroup(ctx, o.group)
	}
	return c.gather(ctx, o.ids[c.rng.IntN(len(o.ids))])
}

// cancelled submits a job and cancels it, mostly before it ends.
func (c *client) cancelled(ctx context.Context, label, key string) error {
	o := newOrder(c.rng)
	if c.rng.IntN(3) > 0 {
		o = sleeps(2000, 5000, 100)
	}
	s := c.newSubmission(label, key, "", o)
	s.cancelled = true
	accepted, err := c.submit(ctx, s)
	if err != nil {
		return err
	}
	id := accepted.ids[0]
	for range 1 + c.rng.IntN(2) {
		c.hop()
		if _, err := c.onJob(ctx, cancel, id); err != nil {
			return err
		}
	}
	return c.gather(ctx, id)
}

// sharedKeys is the number of clients that submit with the same key at about the same time.
const sharedKeys = 4

// sharedKey submits a job with the key of other clients, which have the same body.
func (c *client) sharedKey(ctx context.Context, n int) error {
	label := labelOf(-1-c.id/sharedKeys, n/sharedKeys)
	o, _ := c.shared.LoadOrStore(label, c.newSubmission(label, "key-"+label, "", numbers(int64(n/sharedKeys))))
	accepted, err := c.submit(ctx, o.(*submission))
	if err != nil {
		return err
	}
	return c.gather(ctx, accepted.ids[0])
}

// arrayLength is the number of elements of a stored array, all equal to its version.
const arrayLength = 300_000

func versionSum(version int) string { return strconv.Itoa(version * arrayLength) }

// arrayFile returns the .npy file of a version.
func arrayFile(version int) ([]byte, error) {
	var b bytes.Buffer
	if _, err := npy.WriteHeader(&b, npy.Type{Kind: 'i', Size: 8}, []int64{arrayLength}); err != nil {
		return nil, err
	}
	data := b.Bytes()
	for range arrayLength {
		data = binary.LittleEndian.AppendUint64(data, uint64(version))
	}
	return data, nil
}

// versionOf returns the version of a file, which must be whole.
func versionOf(file []byte) (int, error) {
	h, err := npy.ParseHeader(bytes.NewReader(file))
	if err != nil {
		return 0, err
	}
	data := file[h.Offset:]
	if len(data) != 8*arrayLength {
		return 0, fmt.Errorf("got %d bytes of data, want %d", len(data), 8*arrayLength)
	}
	version := int(binary.LittleEndian.Uint64(data))
	for i := 0; i < len(data); i += 8 {
		if v := int(binary.LittleEndian.Uint64(data[i:])); v != version {
			return 0, fmt.Errorf("element %d is %d, and element 0 is %d", i/8, v, version)
		}
	}
	return version, nil
}

// arrays stores an array under a name that a few clients share, sums it, reads it and perhaps deletes it.
func (c *client) arrays(ctx context.Context, label string, n int) error {
	const shared, rounds = 3, 4 // clients and steps with one name
	name := fmt.Sprintf("a%d-%d", c.id/shared, n/rounds)
	version := 1 + c.id*c.plan.steps + n
	file, err := arrayFile(version)
	if err != nil {
		return err
	}
	base := call{
		operation: operation{action: put, array: name, version: version}, method: http.MethodPut, path: "/v1/arrays/" + name,
		body: file, header: []string{"Content-Type", "application/x-npy"},
		accept: []int{http.StatusOK, http.StatusCreated, http.StatusConflict},
	}
	if _, err := c.do(ctx, base); err != nil {
		return err
	}
	if c.rng.IntN(2) == 0 {
		c.hop()
		if err := c.sumStored(ctx, label, name); err != nil {
			return err
		}
	}
	if err := c.fetch(ctx, name); err != nil {
		return err
	}
	if c.rng.IntN(3) > 0 {
		return nil
	}
	base.action, base.method, base.body, base.version = discard, http.MethodDelete, nil, 0
	base.accept = []int{http.StatusNoContent, http.StatusConflict, http.StatusNotFound}
	if _, err := c.do(ctx, base); err != nil {
		return err
	}
	c.hop()
	return c.fetch(ctx, name)
}

// sumStored sums a stored array, if it exists. Its label has a job only if the submission was not rejected.
func (c *client) sumStored(ctx context.Context, label, name string) error {
	s := c.newSubmission(label, "", name, sum(fmt.Sprintf(`{"source":"npy","name":%q}`, name), ""))
	o, err := c.do(ctx, call{
		operation: operation{action: submit, sub: s}, method: http.MethodPost, path: s.path(), body: s.body(),
		accept: []int{http.StatusAccepted, http.StatusUnprocessableEntity},
		decode: func(a *response, o *operation) error {
			if a.status != http.StatusAccepted {
				return nil
			}
			views, _, err := decodeJobs(a.body, false)
			if err != nil {
				return err
			}
			o.view, o.ids = &views[0], []string{views[0].ID}
			return nil
		},
	})
	if err != nil || len(o.ids) == 0 {
		return err
	}
	return c.gather(ctx, o.ids[0])
}

// fetch downloads an array.
func (c *client) fetch(ctx context.Context, name string) error {
	_, err := c.do(ctx, call{
		operation: operation{action: fetch, array: name}, method: http.MethodGet, path: "/v1/arrays/" + name,
		header: []string{"Accept", "application/x-npy"}, accept: []int{http.StatusOK, http.StatusNotFound},
		decode: func(a *response, o *operation) (err error) {
			if a.status == http.StatusOK {
				o.version, err = versionOf(a.body)
			}
			return err
		},
	})
	return err
}
