package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"gather/internal/array"
	"gather/internal/chunked"
	"gather/internal/job"
	"gather/internal/kind"
)

// storedArrays finds the arrays that specs name, for package kind.
type storedArrays struct{ store *array.Store }

// namePin tells an uploaded array from any other.
type namePin struct {
	SHA256 string `json:"sha256"`
}

// Open implements kind.Arrays.
func (a storedArrays) Open(_ context.Context, tenant string, ref chunked.Ref, pin []byte) (kind.Opened, error) {
	if ref.URL != "" {
		return kind.Opened{}, errors.New("is not in a bucket that this server may read")
	}
	h, err := a.store.Acquire(tenant, ref.Name)
	if errors.Is(err, job.ErrArrayNotFound) {
		return kind.Opened{}, errors.New("names no array of yours: upload it with PUT /v1/arrays/{name}")
	}
	if err != nil {
		return kind.Opened{}, err
	}
	now := namePin{SHA256: h.SHA256}
	if pin != nil {
		var then namePin
		if err := json.Unmarshal(pin, &then); err != nil || then != now {
			return kind.Opened{}, errors.Join(fmt.Errorf("the array %s is not the one the job was submitted with", ref.Name), h.Close())
		}
	}
	text, err := json.Marshal(now)
	if err != nil {
		return kind.Opened{}, errors.Join(err, h.Close())
	}
	return kind.Opened{Stored: chunked.Stored{Header: h.Header, Reader: h}, Pin: text, Close: h.Close}, nil
}
