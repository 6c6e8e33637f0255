package arrays

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// sweepEvery is the pause between two sweeps. The first sweep starts after a random part of it, so that nodes that
	// start together do not sweep together.
	sweepEvery = 2 * time.Hour
	// usageEvery is the pause between two readings of the total usage.
	usageEvery = time.Minute
)

func (s *Store) blockSubject(upload string, number int64) string {
	return fmt.Sprintf("%s.arrays.blocks.%s.%d", s.cfg.Prefix, upload, number)
}

// blocksOf returns the subject filter for all blocks of an upload.
func (s *Store) blocksOf(upload string) string {
	return s.cfg.Prefix + ".arrays.blocks." + upload + ".*"
}

// purge removes the blocks of an upload.
func (s *Store) purge(ctx context.Context, upload string) error {
	return s.retry(ctx, requestTimeout, func(ctx context.Context) error {
		return s.blocks.Purge(ctx, jetstream.WithPurgeSubject(s.blocksOf(upload)))
	})
}

// maintain reads the total usage and sweeps periodically, until ctx is done.
func (s *Store) maintain(ctx context.Context) {
	defer close(s.done)
	sweep := time.NewTimer(rand.N(sweepEvery)) //nolint:gosec // only spreads
	defer sweep.Stop()
	look := time.NewTicker(usageEvery)
	defer look.Stop()
	for {
		if err := s.refreshUsage(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Debug("reading the usage of arrays failed", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		case <-sweep.C:
			sweep.Reset(sweepEvery)
			if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Logger.Warn("sweeping abandoned uploads failed; it is retried later", "error", err)
			}
		}
	}
}

// tenants returns the last update of each tenant's arrays, by the tenant's token, and the subjects of all records.
func (s *Store) tenants(ctx context.Context) (last map[string]*jetstream.RawStreamMsg, subjects []string, err error) {
	if subjects, err = s.subjects(ctx, s.meta, s.metaSubject(">")); err != nil {
		return nil, nil, err
	}
	last = make(map[string]*jetstream.RawStreamMsg)
	for _, subject := range subjects {
		tenant := tenantToken(subject)
		if _, ok := last[tenant]; ok {
			continue
		}
		err := s.retry(ctx, requestTimeout, func(ctx context.Context) (err error) {
			last[tenant], err = s.last(ctx, s.metaSubject(tenant+".*"))
			return err
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return last, subjects, nil
}

// tenantToken returns the tenant's token in the subject of a record.
func tenantToken(subject string) string {
	tokens := strings.Split(subject, ".")
	return tokens[max(0, len(tokens)-2)]
}

// refreshUsage reads the usage of all tenants.
func (s *Store) refreshUsage(ctx context.Context) error {
	last, _, err := s.tenants(ctx)
	if err != nil {
		return err
	}
	var sum usage
	for tenant, m := range last {
		if m == nil {
			continue
		}
		t, err := s.tenantUsage(ctx, untoken(tenant), m)
		if err != nil {
			return err
		}
		sum.arrays, sum.bytes = sum.arrays+t.arrays, sum.bytes+t.bytes
	}
	s.mu.Lock()
	s.totals = sum
	s.mu.Unlock()
	return nil
}

// maxBroken bounds the records that one error of Sweep lists.
const maxBroken = 10

// Sweep removes uploads without an array whose last block is older than Config.AbandonedAfter, and markers of deleted
// records. It may run on several nodes at the same time.
func (s *Store) Sweep(ctx context.Context) error {
	// List uploads before arrays: an upload that becomes an array in between has a recent block.
	firsts, err := s.subjects(ctx, s.blocks, s.blocksOf("*")[:len(s.blocksOf("*"))-1]+"0")
	if err != nil {
		return err
	}
	last, subjects, err := s.tenants(ctx)
	if err != nil {
		return err
	}
	arrays, err := s.records(ctx, subjects)
	if err != nil {
		return err
	}
	kept := make(map[string]bool)
	var broken []error
	for _, r := range arrays {
		if r.broken != nil {
			broken = append(broken, fmt.Errorf("the record of array %q of tenant %q: %w", r.Name, r.Tenant, r.broken))
		}
		kept[r.Upload] = true
	}
	s.mu.Lock()
	s.damaged = len(broken)
	s.mu.Unlock()
	if len(broken) > 0 { // their uploads are unknown
		return errors.Join(broken[:min(len(broken), maxBroken)]...)
	}
	for _, subject := range firsts {
		if upload := tenantToken(subject); !kept[upload] {
			if err := s.removeIfAbandoned(ctx, upload); err != nil {
				return err
			}
		}
	}
	for _, subject := range subjects {
		if m := last[tenantToken(subject)]; m != nil && m.Subject != subject {
			if err := s.purgeMarker(ctx, subject); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeIfAbandoned removes an upload if its last block is old.
func (s *Store) removeIfAbandoned(ctx context.Context, upload string) error {
	var newest *jetstream.RawStreamMsg
	err := s.retry(ctx, requestTimeout, func(ctx context.Context) (err error) {
		newest, err = s.blocks.GetLastMsgForSubject(ctx, s.blocksOf(upload))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			newest, err = nil, nil
		}
		return err
	})
	if err != nil || newest == nil || s.cfg.Now().Sub(newest.Time) <= s.cfg.AbandonedAfter {
		return err
	}
	s.cfg.Logger.Info("removing an abandoned upload", "upload", upload, "last_block", newest.Time)
	return s.purge(ctx, upload)
}

// purgeMarker removes the marker of a record that was deleted long ago: an upload under way compares the sequences of
// markers. The marker of a tenant's last update stays, because it carries the usage.
func (s *Store) purgeMarker(ctx context.Context, subject string) error {
	return s.retry(ctx, requestTimeout, func(ctx context.Context) error {
		m, err := s.last(ctx, subject)
		if err != nil || m == nil || m.Header.Get(operationHeader) == "" || s.cfg.Now().Sub(m.Time) <= s.cfg.AbandonedAfter {
			return err
		}
		return s.meta.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(m.Sequence+1))
	})
}
