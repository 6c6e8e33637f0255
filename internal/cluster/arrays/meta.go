package arrays

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// How NATS marks a key of a bucket as deleted.
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

// all is the subject of every record of a tenant.
func (s *Store) all(tenant string) string { return s.metaSubject(token(tenant) + ".*") }

// last returns the last message of the bucket for a subject, nil if there is none, as the leader has it.
func (s *Store) last(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	m, err := s.meta.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil //nolint:nilnil // none is no error
	}
	return m, err
}

// record returns the record of an array, nil if there is none.
func (s *Store) record(ctx context.Context, k arrayKey) (*record, error) {
	m, err := s.last(ctx, s.subject(k))
	if err != nil || m == nil {
		return nil, err
	}
	return recordOf(m), nil
}

// recordOf returns the record in a message, nil if there is none.
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

// records returns the existing records of names, in their order.
func (s *Store) records(ctx context.Context, subjects []string) ([]*record, error) {
	const parallel = 8
	found := make([]*record, len(subjects))
	errs := make([]error, parallel)
	var wg sync.WaitGroup
	for w := range min(parallel, len(subjects)) {
		wg.Go(func() {
			for i := w; i < len(subjects) && errs[w] == nil; i += parallel {
				errs[w] = s.retry(ctx, shortPatience, func(ctx context.Context) error {
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

// subjects returns the subjects of the bucket that match a filter, including those of deleted records.
func (s *Store) subjects(ctx context.Context, of jetstream.Stream, filter string) (all []string, err error) {
	err = s.retry(ctx, shortPatience, func(ctx context.Context) error {
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

// nameOf is the name of an array in the subject of its record.
func nameOf(subject string) string { return untoken(subject[strings.LastIndexByte(subject, '.')+1:]) }

// change is one change of a record: a compare-and-set on all records of the tenant, tried until it is done or refused.
type change struct {
	// decide returns the record to write instead of old, nil to delete it, given the usage of before; or an error, after
	// which nothing is written. It may be asked several times, also after it was done.
	decide func(old *record, t usage) (next *record, err error)
	// unsure: a message was sent, and it is unknown whether it was or will be stored.
	unsure bool
}

// errDone is for decide: there is nothing to do.
var errDone = errors.New("done")

func (s *Store) change(ctx context.Context, k arrayKey, c *change) error {
	return s.retry(ctx, longPatience, func(ctx context.Context) error {
		before, err := s.last(ctx, s.all(k.tenant))
		if err != nil {
			return err
		}
		// Whatever changes from here on makes the write fail.
		var seq uint64
		var now usage
		if before != nil {
			seq = before.Sequence
			if now, err = s.tallyOf(ctx, k.tenant, before); err != nil {
				return err
			}
		}
		old, err := s.record(ctx, k)
		if err != nil {
			return err
		}
		next, err := c.decide(old, now)
		switch {
		case errors.Is(err, errDone):
			return nil
		case err != nil:
			return permanentError{err}
		}
		m := nats.NewMsg(s.subject(k))
		if old == nil || old.broken == nil { // else its bytes are not known, and the next change counts all
			m.Header.Set(tallyHeader, now.with(old, next).String())
		}
		if next == nil {
			m.Header.Set(operationHeader, operationDelete)
		} else if m.Data, err = json.Marshal(next); err != nil {
			return permanentError{err}
		}
		_, err = s.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequenceForSubject(seq, s.all(k.tenant)))
		api, ok := errors.AsType[*jetstream.APIError](err)
		if ok && (api.ErrorCode == codeWrongSequence || api.ErrorCode == codeSequenceInWork) {
			return errConflict
		}
		c.unsure = c.unsure || err != nil && !ok
		return err
	})
}

// tallyOf returns the usage that the last change of a tenant carries. If somebody wrote it by hand, all are counted.
func (s *Store) tallyOf(ctx context.Context, tenant string, last *jetstream.RawStreamMsg) (usage, error) {
	if t, ok := tallyOf(last.Header); ok {
		return t, nil
	}
	subjects, err := s.subjects(ctx, s.meta, s.all(tenant))
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
