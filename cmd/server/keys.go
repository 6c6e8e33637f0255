package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"gather/internal/tenant"
)

type keysCmd struct {
	Create keysCreateCmd `cmd:"" help:"Create an API key, add its hash to the key file, and print the key once."`
	List   keysListCmd   `cmd:"" help:"List the keys of the key file, without their secrets."`
	Rotate keysRotateCmd `cmd:"" help:"Create another key with the tenant and the limits of a key, and print it once. The old key stays valid until it is revoked."`
	Revoke keysRevokeCmd `cmd:"" help:"Remove keys from the key file."`
}

// keyFile is the setting that all key commands share.
type keyFile struct {
	File string `name:"api-keys" env:"GATHER_API_KEYS" required:"" placeholder:"FILE" help:"The key file. SIGHUP makes a running server reload it."`
}

type keysCreateCmd struct {
	keyFile   `embed:""`
	Tenant    string   `arg:"" help:"Tenant of the key. Keys of one tenant see the same jobs."`
	ReadOnly  bool     `help:"The key can read jobs, but not submit, cancel or delete them."`
	Operator  bool     `help:"The key can also pause and resume the jobs of all tenants: 'gather pause'."`
	Rate      count    `default:"0" placeholder:"N" help:"Maximum number of jobs that the tenant can submit in --rate-window; 0 is no limit."`
	Window    duration `name:"rate-window" default:"1m" placeholder:"DURATION" help:"The window of --rate."`
	MaxQueued count    `default:"0" placeholder:"N" help:"Maximum number of unfinished jobs; 0 is no limit."`
	MaxResult size     `name:"max-result-bytes" default:"0" placeholder:"SIZE" help:"Maximum bytes of stored results of all jobs of the tenant; 0 is no limit."`
}

// Run prints the key to standard output and everything else to standard error, so that the key can be piped.
func (c *keysCreateCmd) Run(s streams) error {
	errs := []error{}
	for flag, err := range map[string]error{
		"rate": c.Rate.check(0, 1_000_000_000), "rate-window": c.Window.check(time.Second),
		"max-queued": c.MaxQueued.check(0, 1_000_000_000), "max-result-bytes": c.MaxResult.check(0),
	} {
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", flag, err))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("%w:\n%w", errUsage, errors.Join(errs...))
	}
	key, text, err := tenant.Generate(c.Tenant, time.Now())
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if c.ReadOnly && c.Operator {
		return fmt.Errorf("%w: --operator and --read-only exclude each other", errUsage)
	}
	key.ReadOnly, key.Operator, key.MaxQueued, key.MaxResultBytes = c.ReadOnly, c.Operator, int(c.MaxQueued.n), c.MaxResult.n
	if c.Rate.n > 0 {
		key.Rate = &tenant.Rate{Jobs: int(c.Rate.n), Window: tenant.Window(c.Window.d)}
	}
	if err := tenant.AddToFile(c.File, key); err != nil {
		return err
	}
	return printKey(s, c.File, key, text)
}

func printKey(s streams, file string, key tenant.Key, text string) error {
	_, _ = fmt.Fprintf(s.err, "Key %s of tenant %s is in %s. This is the only time it is shown:\n", key.ID, key.Tenant, file)
	_, err := fmt.Fprintln(s.out, text)
	return err
}

type keysListCmd struct {
	keyFile `embed:""`
}

// Run prints a table, oldest key first.
func (c *keysListCmd) Run(s streams) error {
	keys, err := tenant.ReadFile(c.File)
	if err != nil {
		return err
	}
	slices.SortStableFunc(keys, func(a, b tenant.Key) int { return a.CreatedAt.Compare(b.CreatedAt) })
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "ID\tTENANT\tCREATED\tACCESS\tRATE\tMAX QUEUED\tMAX RESULT BYTES")
	for _, k := range keys {
		access, rate, queued, results := "read and write", "-", "-", "-"
		if k.ReadOnly {
			access = "read only"
		}
		if k.Operator {
			access = "operator"
		}
		if k.Rate != nil {
			rate = fmt.Sprintf("%d in %s", k.Rate.Jobs, time.Duration(k.Rate.Window))
		}
		if k.MaxQueued > 0 {
			queued = fmt.Sprint(k.MaxQueued)
		}
		if k.MaxResultBytes > 0 {
			results = fmt.Sprint(k.MaxResultBytes)
		}
		_, _ = fmt.Fprintln(w, strings.Join([]string{
			k.ID, k.Tenant, k.CreatedAt.Format(time.RFC3339), access, rate, queued, results,
		}, "\t"))
	}
	return w.Flush()
}

type keysRotateCmd struct {
	keyFile `embed:""`
	ID      string `arg:"" name:"id" help:"ID of the key: the part between the underscores. 'keys list' shows it."`
}

// Run prints the new key like 'keys create'.
func (c *keysRotateCmd) Run(s streams) error {
	var key tenant.Key
	var text string
	err := tenant.ChangeFile(c.File, func(keys []tenant.Key) ([]tenant.Key, error) {
		i := slices.IndexFunc(keys, func(k tenant.Key) bool { return k.ID == c.ID })
		if i < 0 {
			return nil, fmt.Errorf("%w: %w: %q", errUsage, tenant.ErrNoSuchKey, c.ID)
		}
		old := keys[i]
		var err error
		if key, text, err = tenant.Generate(old.Tenant, time.Now()); err != nil {
			return nil, err
		}
		key.ReadOnly, key.Operator, key.Rate, key.MaxQueued, key.MaxResultBytes = old.ReadOnly, old.Operator, old.Rate, old.MaxQueued, old.MaxResultBytes
		return append(keys, key), nil
	})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(s.err, "Key %s stays valid. Once the new key is in use: gather keys revoke %s\n", c.ID, c.ID)
	return printKey(s, c.File, key, text)
}

type keysRevokeCmd struct {
	keyFile `embed:""`
	IDs     []string `arg:"" name:"id" help:"IDs of the keys. 'keys list' shows them."`
}

// Run removes all of the keys or none.
func (c *keysRevokeCmd) Run(s streams) error {
	keys, err := tenant.RemoveFromFile(c.File, c.IDs...)
	if errors.Is(err, tenant.ErrNoSuchKey) {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if err != nil {
		return err
	}
	for _, k := range keys {
		_, _ = fmt.Fprintf(s.err, "Key %s of tenant %s is no longer in %s.\n", k.ID, k.Tenant, c.File)
	}
	_, err = fmt.Fprintln(s.err, "Running servers accept it until they reload the file on SIGHUP.")
	return err
}
