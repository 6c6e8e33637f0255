package array

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"gather/internal/job"
)

// scrubPiece is the size of one read of Scrub, scrubPause the pause after it: 64 MiB per second leave the disk to
// others.
const (
	scrubPiece = 1 << 20
	scrubPause = time.Second / 64
)

// Scrub reads arrays without checksums, stored by an early version: an array that matches its SHA-256 gets checksums,
// others are damaged. It returns when all were read or ctx is done.
func (s *Store) Scrub(ctx context.Context) {
	type one struct {
		tenant string
		entry  *entry
	}
	var old []one
	s.mu.Lock()
	for tenant, t := range s.tenants {
		for _, e := range t.arrays {
			if e.sums.Load() == nil && e.damaged == nil {
				old = append(old, one{tenant, e})
			}
		}
	}
	s.mu.Unlock()
	for _, o := range old {
		if err := s.scrub(ctx, o.tenant, o.entry); err != nil && ctx.Err() == nil {
			s.log.Warn("a stored array without checksums could not be checked", "tenant", o.tenant, "array", o.entry.Name, "error", err)
		}
	}
}

// scrub checks one array.
func (s *Store) scrub(ctx context.Context, tenant string, e *entry) error {
	f, err := s.openFile(tenant, e)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	whole, sums := sha256.New(), &summer{}
	pause := time.NewTicker(scrubPause)
	defer pause.Stop()
	for {
		_, err := io.CopyN(io.MultiWriter(whole, sums), f, scrubPiece)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	checked := newChecksums(sums.close(), e.Bytes)
	if hex.EncodeToString(whole.Sum(nil)) != e.SHA256 || checked == nil {
		s.mu.Lock()
		now, err := s.find(tenant, e.Name)
		s.mu.Unlock()
		if err == nil && now == e {
			s.damage(e, fmt.Errorf("%w: it does not match its SHA-256", job.ErrCorrupt))
		}
		return nil
	}
	return s.addChecksums(tenant, e, checked)
}

// addChecksums stores the checksums of an array if it still exists.
func (s *Store) addChecksums(tenant string, e *entry, c *checksums) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now, err := s.find(tenant, e.Name); err != nil || now != e {
		return nil // it was replaced or deleted
	}
	next := e.record
	next.CRC32C = c.sums
	data, err := json.Marshal(next)
	if err != nil {
		return err
	}
	// The directory is not synced: after a crash the previous record is as good.
	if err := replaceFile(filepath.Join(s.dir(tenant), e.Name+".json"), data); err != nil {
		return err
	}
	e.CRC32C = c.sums
	e.sums.Store(c)
	return nil
}
