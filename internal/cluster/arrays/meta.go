package arrays

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"gather/internal/job"
)

// The header with which NATS marks a key of a bucket as deleted.
const (
	operationHeader = "KV-Operation"
	operationDelete = "DEL"
)

// The codes of the server for a compare-and-set that lost.
const (
	codeWrongSequence  = 10071
	codeSequenceInWork = 10164
)

func (s *Store) metaSubject(key string) string { return "$KV." + s.bucketName() + "." + key }

func (s *Store) subject(k arrayKey) string {
	return s.metaSubject(token(k.tenant) + "." + token(k.name))
}

// tenantSubject returns the subject filter for all records of a tenant.
func (s *Store) tenantSubject(tenant string) string { return s.metaSubject(token(tenant) + ".*") }

// last returns the last message of the bucket for a subject from the leader; nil if there is none.
func (s *Store) last(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	m, err := s.meta.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil //nolint:nilnil // no message is not an error
	}
	return m, err
}

// record returns the record of an array; nil if there is none.
func (s *Store) record(ctx context.Context, k arrayKey) (*record, error) {
	m, err := s.last(ctx, s.subject(k))
	if err != nil || m == nil {
		return nil, err
	}
	return recordOf(m), nil
}

// recordOf returns the record in a message; nil for a deletion.
func recordOf(m *jetstream.RawStreamMsg) *record {
	if m.Header.Get(operationHeader) != "" || len(m.Data) == 0 {
		return nil
	}
	r, err := parseRecord(m.Data, m.Sequence)
	if err != nil {
		tokens := strings.Split(m.Subject, ".")
		return &record{Tenant: untoken(tokens[max(0, len(tokens)-2)]), Name: nameOf(m.Subject), seq: m.Sequence, broken: err}
	}
	return r
}

// records returns the existing records of subjects, in the same order.
func (s *Store) records(ctx context.Context, subjects []string) ([]*record, error) {
	const parallel = 8
	found := make([]*record, len(subjects))
	errs := make([]error, parallel)
	var wg sync.WaitGroup
	for w := range min(parallel, len(subjects)) {
		wg.Go(func() {
			for i := w; i < len(subjects) && errs[w] == nil; i += parallel {
				errs[w] = s.retry(ctx, requestTimeout, func(ctx context.Context) error {
					m, err := s.last(ctx, subjects[i])
					if err == nil && m != nil {
						found[i] = recordOf(m)
					}
					return err
				})
			}
		})
	}
	wg.Wait()
	there := found[:0]
	for _, r := range found {
		if r != nil {
			there = append(there, r)
		}
	}
	return there, errors.Join(errs...)
}

// subjects returns the subjects of a stream that match a filter, including subjects of deleted records.
func (s *Store) subjects(ctx context.Context, of jetstream.Stream, filter string) (all []string, err error) {
	err = s.retry(ctx, requestTimeout, func(ctx context.Context) error {
		info, err := of.Info(ctx, jetstream.WithSubjectFilter(filter))
		if err != nil {
			return err
		}
		all = all[:0]
		for subject := range info.State.Subjects {
			all = append(all, subject)
		}
		return nil
	})
	return all, err
}

// nameOf returns the name of the array in the subject of its record.
func nameOf(subject string) string { return untoken(subject[strings.LastIndexByte(subject, '.')+1:]) }

// A recordUpdate is one update of a record: a compare-and-set on all records of the tenant.
type recordUpdate struct {
	// next returns the record to write in place of old, nil to delete it, given the tenant's usage; or an error, after
	// which nothing is written. It may be called several times, also after the update was written.
	next func(old *record, t usage) (next *record, err error)
	// unsure is true when a message was sent and it is unknown whether it was or will be stored.
	unsure bool
	// at is the sequence of the last message of the record when next was called, also of a deletion; 0 for none.
	at uint64
}

// decide replaces errChanged by job.ErrStorage if the update may have been stored before the change. Then it must not be
// repeated: it would take effect twice.
func (c *recordUpdate) decide(err error) error {
	if c.unsure && errors.Is(err, errChanged) {
		return fmt.Errorf("%w: the array was changed while it was unknown whether the update had been stored", job.ErrStorage)
	}
	return err
}

// errNoUpdate is returned by recordUpdate.next if nothing is to be written.
var errNoUpdate = errors.New("done")

// updateRecord makes an update, and repeats it while other updates of the tenant's records come first.
func (s *Store) updateRecord(ctx context.Context, k arrayKey, c *recordUpdate) error {
	return s.retry(ctx, uploadTimeout, func(ctx context.Context) error {
		before, err := s.last(ctx, s.tenantSubject(k.tenant))
		if err != nil {
			return err
		}
		// A later update makes the write fail.
		var seq uint64
		var now usage
		if before != nil {
			seq = before.Sequence
			if now, err = s.tenantUsage(ctx, k.tenant, before); err != nil {
				return err
			}
		}
		m, err := s.last(ctx, s.subject(k))
		if err != nil {
			return err
		}
		var old *record
		if c.at = 0; m != nil {
			old, c.at = recordOf(m), m.Sequence
		}
		next, err := c.next(old, now)
		switch {
		case errors.Is(err, errNoUpdate):
			return nil
		case err != nil:
			return permanentError{err}
		}
		update := nats.NewMsg(s.subject(k))
		if old == nil || old.broken == nil { // otherwise its bytes are unknown, and the next update counts all arrays
			update.Header.Set(usageHeader, now.with(old, next).String())
		}
		if next == nil {
			update.Header.Set(operationHeader, operationDelete)
		} else if update.Data, err = json.Marshal(next); err != nil {
			return permanentError{err}
		}
		_, err = s.js.PublishMsg(ctx, update, jetstream.WithExpectLastSequenceForSubject(seq, s.tenantSubject(k.tenant)))
		api, ok := errors.AsType[*jetstream.APIError](err)
		if ok && (api.ErrorCode == codeWrongSequence || api.ErrorCode == codeSequenceInWork) {
			return errConflict
		}
		c.unsure = c.unsure || err != nil && !ok
		return err
	})
}

// tenantUsage returns the usage that the last update of a tenant carries. It counts all arrays if the message was not
// written by this package.
func (s *Store) tenantUsage(ctx context.Context, tenant string, last *jetstream.RawStreamMsg) (usage, error) {
	if t, ok := parseUsage(last.Header); ok {
		return t, nil
	}
	subjects, err := s.subjects(ctx, s.meta, s.tenantSubject(tenant))
	if err != nil {
		return usage{}, err
	}
	list, err := s.records(ctx, subjects)
	if err != nil {
		return usage{}, err
	}
	var t usage
	for _, r := range list {
		t = t.with(nil, r)
	}
	return t, nil
}
