package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"gather/internal/array"
	"gather/internal/job"
	"gather/internal/journal"
	"gather/internal/transfer"
)

type importCmd struct {
	DataDir string `placeholder:"DIR" help:"Data directory to import into, of a server that has been stopped; made if it does not exist. With --nats-url it is not used."`

	NatsURL      string `name:"nats-url" placeholder:"URL" help:"Import into the cluster on these NATS servers, whose nodes may be running."`
	NatsCreds    string `name:"nats-creds" placeholder:"FILE" help:"Credentials for NATS, as of the server."`
	NatsCA       string `name:"nats-ca" placeholder:"FILE" help:"Certificates for NATS, as of the server."`
	NatsCert     string `name:"nats-cert" placeholder:"FILE" help:"Client certificate for NATS, with --nats-key."`
	NatsKey      string `name:"nats-key" placeholder:"FILE" help:"Key of the client certificate."`
	NatsPrefix   string `default:"gather" placeholder:"NAME" help:"What the names of streams and subjects begin with, as of the server."`
	NatsReplicas count  `default:"3" placeholder:"N" help:"How many NATS servers keep every message, when the streams are made."`
	AckWait      span   `default:"10s" placeholder:"DURATION" help:"As of the server."`

	// in is standard input, but in tests.
	in io.Reader
}

// importer takes jobs and what belongs to them: a journal, or a cluster. Each call returns when what it was given is
// durable, as one piece, or with job.ErrExists when it is there already; several may be made at the same time.
type importer interface {
	ImportJob(ctx context.Context, view job.Job, spec []byte, log []job.Event) error
	ImportKey(ctx context.Context, k job.KeyRecord) error
	ImportTombstone(ctx context.Context, t job.Tombstone) error
}

// destination is where an import goes.
type destination struct {
	importer
	arrays interface {
		Get(ctx context.Context, tenant, name string) (job.Array, error)
		Put(ctx context.Context, tenant, name string, r io.Reader, o job.ArrayUpload) (job.Array, bool, error)
	}
	name  string
	close func() error
}

// Run reads what 'server export' wrote from standard input. Every array, job, key and tombstone is imported as a whole or
// not at all, and only if it is not there: so an import that was cut off may be run again, and adds what is missing.
func (c *importCmd) Run(ctx context.Context, s streams) error {
	if err := c.validate(); err != nil {
		return err
	}
	in := c.in
	if in == nil {
		in = os.Stdin
	}
	if isTerminal(in) {
		return fmt.Errorf("%w: the import reads what 'server export' writes, not a terminal", errUsage)
	}
	// Before anything is opened, or made.
	r, err := transfer.NewReader(in)
	if err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	to, err := c.open(ctx, s.err)
	if err != nil {
		return err
	}
	all := r.Totals()
	_, _ = fmt.Fprintf(s.err, "importing %s into %s\n", &all, to.name)
	i := newIntake(ctx, to, &progress{what: "read", done: r.Done, out: s.err})
	err = i.run(r)
	i.report(s.err)
	if err = errors.Join(err, to.close()); err != nil {
		return fmt.Errorf("%w; what is imported is whole, and the same import may be run again", err)
	}
	return nil
}

func (c *importCmd) validate() error {
	var errs []error
	if c.DataDir == "" && c.NatsURL == "" {
		errs = append(errs, errors.New("--nats-url or --data-dir: one must say where to"))
	}
	for flag, err := range map[string]error{
		"nats-replicas": c.NatsReplicas.check(1, 5), "ack-wait": c.AckWait.check(time.Second),
	} {
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", flag, err))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("%w:\n%w", errUsage, errors.Join(errs...))
	}
	return nil
}

func (c *importCmd) open(ctx context.Context, stderr io.Writer) (*destination, error) {
	if c.NatsURL != "" {
		return c.openCluster(ctx, stderr)
	}
	j, err := journal.Open(ctx, journal.Config{
		Dir: c.DataDir, MaxPendingBytes: maxPending, MinFreeBytes: journal.DefaultMinFreeBytes, SweepInterval: never,
		Logger: warnings(stderr),
	})
	if err != nil {
		return nil, stopFirst(err)
	}
	store, err := array.Open(array.Config{Dir: filepath.Join(c.DataDir, "arrays"), Ready: j.Ready})
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return &destination{importer: intoJournal{j}, arrays: store, name: c.DataDir, close: j.Close}, nil
}

// importArray uploads an array, unless it is there.
func (d *destination) importArray(ctx context.Context, a *transfer.Array) error {
	sum := hex.EncodeToString(a.SHA256[:])
	old, err := d.arrays.Get(ctx, a.Tenant, a.Name)
	switch {
	case err == nil && old.SHA256 == sum:
		return job.ErrExists
	case err == nil:
		// A job that was submitted with the one must not find the other.
		return errors.New("another array has this name: delete it, or finish the jobs that use it first")
	case !errors.Is(err, job.ErrArrayNotFound):
		return err
	}
	_, _, err = d.arrays.Put(ctx, a.Tenant, a.Name, a, job.ArrayUpload{Bytes: a.Bytes, SHA256: sum})
	return err
}

// intoJournal imports into the journal of a server by itself.
type intoJournal struct{ j *journal.Journal }

// ImportJob implements importer.
func (i intoJournal) ImportJob(ctx context.Context, view job.Job, spec []byte, log []job.Event) error {
	return i.await(ctx, func(done func(error)) error { return i.j.ImportJob(ctx, view, spec, log, done) })
}

// ImportKey implements importer.
func (i intoJournal) ImportKey(ctx context.Context, k job.KeyRecord) error {
	return i.await(ctx, func(done func(error)) error { return i.j.ImportKey(ctx, k, done) })
}

// ImportTombstone implements importer.
func (i intoJournal) ImportTombstone(ctx context.Context, t job.Tombstone) error {
	return i.await(ctx, func(done func(error)) error { return i.j.ImportTombstone(ctx, t, done) })
}

// await waits until what begin queues is durable. A disk that is full or broken is an error, not waited for.
func (i intoJournal) await(ctx context.Context, begin func(done func(error)) error) error {
	if err := i.j.Ready(); err != nil {
		return err
	}
	outcome := make(chan error, 1)
	if err := begin(func(err error) { outcome <- err }); err != nil {
		return err
	}
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
