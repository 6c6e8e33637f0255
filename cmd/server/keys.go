package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"time"

	"gather/internal/tenant"
)

type keysCmd struct {
	Create keysCreateCmd `cmd:"" help:"Make an API key, add its hash to the key file, and print the key: once."`
}

type keysCreateCmd struct {
	Tenant    string `arg:"" help:"Whose key it is. Keys of one tenant see the same jobs."`
	File      string `name:"api-keys" env:"GATHER_API_KEYS" required:"" placeholder:"FILE" help:"The key file; made if it does not exist."`
	ReadOnly  bool   `help:"The key can read jobs, and not submit, cancel or delete."`
	Rate      count  `default:"0" placeholder:"N" help:"Most jobs in --rate-window; 0 is no limit."`
	Window    span   `name:"rate-window" default:"1m" placeholder:"DURATION" help:"The window of --rate."`
	MaxQueued count  `default:"0" placeholder:"N" help:"Most jobs that are not finished; 0 is no limit."`
}

// Run prints the key to standard output and everything else to standard error, so that the key can be piped.
func (c *keysCreateCmd) Run(s streams) error {
	errs := []error{}
	for flag, err := range map[string]error{
		"rate": c.Rate.check(0, 1_000_000_000), "rate-window": c.Window.check(time.Second),
		"max-queued": c.MaxQueued.check(0, 1_000_000_000),
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
	key.ReadOnly, key.MaxQueued = c.ReadOnly, int(c.MaxQueued.n)
	if c.Rate.n > 0 {
		key.Rate = &tenant.Rate{Jobs: int(c.Rate.n), Window: tenant.Window(c.Window.d)}
	}
	if err := tenant.AddToFile(c.File, key); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(s.err, "Key %s of tenant %s is in %s. This is the only time it is shown:\n", key.ID, key.Tenant, c.File)
	_, err = fmt.Fprintln(s.out, text)
	return err
}

type healthcheckCmd struct {
	Listen string `default:"127.0.0.1:8080" placeholder:"ADDR" help:"Address of the API."`
}

// Run asks /readyz.
func (c *healthcheckCmd) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("%w: --listen: %w", errUsage, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz answers %s", resp.Status)
	}
	return nil
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, "gather", version(), runtime.Version())
	return err
}
