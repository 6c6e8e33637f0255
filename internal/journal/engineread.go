package journal

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// get calls use with the value of a key, which is valid until use returns, and reports whether the key exists.
func get(db *pebble.DB, key []byte, use func(value []byte) error) (found bool, err error) {
	v, closer, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, errors.Join(use(v), closer.Close())
}

// errStop ends a scan without an error.
var errStop = errors.New("stop")

// scan visits the keys from low to high in order, without high, until visit returns an error. Key and value are valid until
// visit returns.
func scan(ctx context.Context, db *pebble.DB, low, high []byte, visit func(key, value []byte) error) error {
	it, err := db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: low, UpperBound: high})
	if err != nil {
		return err
	}
	defer func() { _ = it.Close() }()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err == nil {
			err = visit(it.Key(), value)
		}
		if errors.Is(err, errStop) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return it.Error()
}

// scanSpace is scan for the keys of a space.
func scanSpace(ctx context.Context, db *pebble.DB, space byte, visit func(key, value []byte) error) error {
	return scan(ctx, db, []byte{space}, []byte{space + 1}, visit)
}
