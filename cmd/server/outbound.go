package main

import (
	"context"
	"fmt"

	"gather/internal/kind"
	"gather/internal/outbound"
)

// openOutbound opens the sender of the requests of jobs, and returns the kinds with it if the operator may allow hosts.
func (s *server) openOutbound(kinds *kind.Registry) (*kind.Registry, error) {
	c := s.cfg
	policy, err := outbound.ParsePolicy(c.HTTPAllow)
	if err != nil {
		return nil, fmt.Errorf("--http-allow: %w", err)
	}
	s.outbound, err = outbound.New(outbound.Config{
		Policy: policy, Limits: s.httpLimits, InFlight: int(c.HTTPInFlight.n), Bytes: max(c.RequestBytes.n/4, 16<<20),
		SecretsDir: c.SecretsDir, TenantSecrets: s.tenants != nil, UserAgent: "gather/" + version(), Registerer: s.registry,
	})
	if err != nil {
		return nil, fmt.Errorf("--secrets-dir: %w", err)
	}
	if len(c.HTTPAllow) == 0 && s.tenants == nil {
		return kinds, nil
	}
	return kinds.WithHTTP(s.outbound), nil
}

// drainOutbound sends no further request, and gives those in flight half of the drain timeout to end.
func (s *server) drainOutbound(grace context.Context) {
	ctx, cancel := context.WithTimeout(grace, s.cfg.DrainTimeout.d/2)
	defer cancel()
	s.outbound.Drain(ctx)
}

// closeOutbound waits for the requests of jobs, which end with the executor.
func (s *server) closeOutbound() error { return s.outbound.Close() }
