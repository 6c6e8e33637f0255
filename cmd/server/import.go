package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"gather/internal/array"
	"gather/internal/job"
	"gather/internal/journal"
)

type importCmd struct {
	From string `required:"" placeholder:"DIR" help:"Directory to import from: the data directory of a stopped server, the replica of a stopped cluster node (its directory 'view'), or a restored backup."`

	DataDir string `placeholder:"DIR" help:"Import into the data directory of a stopped server, created if it does not exist. Not used with --nats-url."`

	NatsURL      string   `name:"nats-url" placeholder:"URL" help:"Import into the cluster on these NATS servers. Its nodes may be running."`
	NatsCreds    string   `name:"nats-creds" placeholder:"FILE" help:"Credentials for NATS, as for the server."`
	NatsCA       string   `name:"nats-ca" placeholder:"FILE" help:"CA certificates for the NATS servers, as for the server."`
	NatsCert     string   `name:"nats-cert" placeholder:"FILE" help:"Client certificate for NATS, with --nats-key."`
	NatsKey      string   `name:"nats-key" placeholder:"FILE" help:"Key of the client certificate."`
	NatsPrefix   string   `default:"gather" placeholder:"NAME" help:"Prefix of the names of streams and subjects, as for the server."`
	NatsReplicas count    `default:"3" placeholder:"N" help:"Replicas of the streams, used when they are created."`
	NodeTimeout  duration `default:"10s" placeholder:"DURATION" help:"Node timeout of the cluster, as for the server."`
}

// importer imports jobs and their records into a journal or a cluster. Each call returns when its record is durable as
// a whole, or returns job.ErrExists when the destination already has it; PutDocument returns job.ErrChanged. Safe for concurrent use.
type importer interface {
	ImportJob(ctx context.Context, view job.Job, spec []byte, log []job.Event, deliveries job.Deliveries) error
	ImportKey(ctx context.Context, k job.KeyRecord) error
	ImportTombstone(ctx context.Context, t job.Tombstone) error
	Document(ctx context.Context, name string) (job.Document, error)
	PutDocument(ctx context.Context, name string, value []byte, revision uint64) (uint64, error)
}

// destination is the target of an import.
type destination struct {
	importer
	arrays interface {
		Get(ctx context.Context, tenant, name string) (job.Array, error)
		Put(ctx context.Context, tenant, name string, r io.Reader, o job.ArrayUpload) (job.Array, bool, error)
	}
	name string
	// patience is how long to try one record while the destination is unavailable; 0 for a data directory, where no other attempt helps.
	patience time.Duration
	close    func() error
}

// Run copies pauses, arrays, jobs with their logs, idempotency keys, tombstones and schedules from one data directory to another or to a
// cluster. Every record is imported as a whole, and only if the destination does not have it: repeating an interrupted
// import adds the missing records.
func (c *importCmd) Run(ctx context.Context, s streams) error {
	if err := c.validate(); err != nil {
		return err
	}
	from, err := openSource(ctx, c.From, s.err)
	if err != nil {
		return err
	}
	return errors.Join(c.importFrom(ctx, from, s.err), from.journal.Close())
}

func (c *importCmd) importFrom(ctx context.Context, from *source, stderr io.Writer) error {
	all, err := from.count(ctx, false)
	if err != nil {
		return err
	}
	to, err := c.open(ctx, stderr)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(stderr, "importing %v into %s\n", &all, to.name)
	r := newImportRunner(ctx, from, to, stderr)
	err = r.run()
	r.print("")
	if err = errors.Join(err, to.close()); err != nil {
		return fmt.Errorf("%w; every imported record is complete; repeat the import to add the others", err)
	}
	return nil
}

func (c *importCmd) validate() error {
	var errs []error
	if c.DataDir == "" && c.NatsURL == "" {
		errs = append(errs, errors.New("--data-dir or --nats-url is required: the target of the import"))
	}
	for flag, err := range map[string]error{
		"nats-replicas": c.NatsReplicas.check(1, 5), "node-timeout": c.NodeTimeout.check(time.Second),
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
		Dir: c.DataDir, MaxPendingBytes: maxPending, MinFreeBytes: journal.DefaultMinFreeBytes, SweepInterval: noSweep,
		Logger: warnings(stderr),
	})
	if err != nil {
		return nil, withHint(err)
	}
	store, err := array.Open(array.Config{Dir: filepath.Join(c.DataDir, "arrays"), Ready: j.Ready})
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return &destination{importer: j, arrays: store, name: c.DataDir, close: j.Close}, nil
}

// importArray uploads an array unless the destination has it. A different array with the same name is an error, because
// jobs submitted with one must not read the other.
func (d *destination) importArray(ctx context.Context, a *sourceArray, content io.Reader) error {
	old, err := d.arrays.Get(ctx, a.tenant, a.Name)
	switch {
	case err == nil && old.SHA256 == a.SHA256:
		return job.ErrExists
	case err == nil:
		return errors.New("another array has this name: delete it first, after the jobs that use it have finished")
	case !errors.Is(err, job.ErrArrayNotFound):
		return err
	}
	_, _, err = d.arrays.Put(ctx, a.tenant, a.Name, content, job.ArrayUpload{Bytes: a.Bytes, SHA256: a.SHA256})
	return err
}
