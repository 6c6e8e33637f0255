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
	// sweepEvery is the pause between two sweeps; the first one comes after a part of it, so that nodes that start
	// together do not sweep together.
	sweepEvery = 2 * time.Hour
	// usageEvery is the pause between two readings of the total usage.
	usageEvery = time.Minute
)

func (s *Store) blockSubject(upload string, number int64) string {
	return fmt.Sprintf("%s.arrays.blocks.%s.%d", s.cfg.Prefix, upload, number)
}

// blocksOf is the subject of every block of an upload.
func (s *Store) blocksOf(upload string) string {
	return s.cfg.Prefix + ".arrays.blocks." + upload + ".*"
}

// purge removes the blocks of an upload.
func (s *Store) purge(ctx context.Context, upload string) error {
	return s.retry(ctx, shortPatience, func(ctx context.Context) error {
		return s.blocks.Purge(ctx, jetstream.WithPurgeSubject(s.blocksOf(upload)))
	})
}

// maintain runs the maintenance of the store, until ctx is done.
func (s *Store) maintain(ctx context.Context) {
	defer close(s.done)
	sweep := time.NewTimer(rand.N(sweepEvery)) //nolint:gosec // only spreads
	defer sweep.Stop()
	look := time.NewTicker(usageEvery)
	defer look.Stop()
	for {
		if err := s.look(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Debug("the arrays could not be counted", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		case <-sweep.C:
			sweep.Reset(sweepEvery)
			if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Logger.Warn("abandoned uploads could not be swept; tried again later", "error", err)
			}
		}
	}
}

// tenants returns, by tenant's token, the last change of its arrays, and the subjects of all records.
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
		err := s.retry(ctx, shortPatience, func(ctx context.Context) (err error) {
			last[tenant], err = s.last(ctx, s.metaSubject(tenant+".*"))
			return err
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return last, subjects, nil
}

// tenantToken is the token of the tenant in the subject of a record.
func tenantToken(subject string) string {
	tokens := strings.Split(subject, ".")
	return tokens[max(0, len(tokens)-2)]
}

// look counts the arrays of all tenants.
func (s *Store) look(ctx context.Context) error {
	last, _, err := s.tenants(ctx)
	if err != nil {
		return err
	}
	var sum usage
	for tenant, m := range last {
		if m == nil {
			continue
		}
		t, err := s.tallyOf(ctx, untoken(tenant), m)
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

// maxBroken bounds the records that one error of Sweep names.
const maxBroken = 10

// Sweep removes uploads without an array that got no block for longer than Config.AbandonedAfter, and the rest of
// deleted records. It may run on several nodes at the same time.
func (s *Store) Sweep(ctx context.Context) error {
	// In this order: an upload that becomes an array in between had a block just now.
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
	if len(broken) > 0 { // which uploads are theirs is not known
		return errors.Join(broken[:min(len(broken), maxBroken)]...)
	}
	for _, subject := range firsts {
		if upload := tenantToken(subject); !kept[upload] {
			if err := s.abandon(ctx, upload); err != nil {
				return err
			}
		}
	}
	for _, subject := range subjects {
		if m := last[tenantToken(subject)]; m != nil && m.Subject != subject {
			if err := s.forget(ctx, subject); err != nil {
				return err
			}
		}
	}
	return nil
}

// abandon removes an upload if its last block is old.
func (s *Store) abandon(ctx context.Context, upload string) error {
	var newest *jetstream.RawStreamMsg
	err := s.retry(ctx, shortPatience, func(ctx context.Context) (err error) {
		newest, err = s.blocks.GetLastMsgForSubject(ctx, s.blocksOf(upload))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			newest, err = nil, nil
		}
		return err
	})
	if err != nil || newest == nil || s.cfg.Now().Sub(newest.Time) <= s.cfg.AbandonedAfter {
		return err
	}
	s.cfg.Logger.Info("remove an abandoned upload", "upload", upload, "last_block", newest.Time)
	return s.purge(ctx, upload)
}

// forget removes the marker of a deleted record. The marker of the last change of a tenant stays: it has the usage.
func (s *Store) forget(ctx context.Context, subject string) error {
	return s.retry(ctx, shortPatience, func(ctx context.Context) error {
		m, err := s.last(ctx, subject)
		if err != nil || m == nil || m.Header.Get(operationHeader) == "" {
			return err
		}
		return s.meta.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(m.Sequence+1))
	})
}
