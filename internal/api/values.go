package api

import (
	"context"

	"gather/internal/job"
)

const (
	// maxValues bounds the items whose values are part of the job's JSON, maxValuesBytes the total bytes of these
	// values as the kind wrote them.
	maxValues      = 100
	maxValuesBytes = 16 << 10
)

// values returns the item values of a finished job as a JSON array in input order, with null for items that failed or
// did not run. It returns nil for a job that has not ended, has too many or too large values, or whose kind has a
// complete result without them. Errors: the errors of Log, job.ErrExpired.
func (s *server) values(ctx context.Context, j *job.Job, ints intEncoding) ([]byte, error) {
	if !j.State.Terminal() || j.Progress.Total > maxValues || !s.valueKinds[j.Kind] {
		return nil, nil
	}
	values, size := make([][]byte, j.Progress.Total), 0
	for after := uint64(0); after < j.Seq && len(values) > 0; {
		records, err := s.Log.Log(ctx, j.ID, after, 2*maxValues)
		if err != nil {
			return nil, err
		}
		if len(records) == 0 {
			return nil, job.ErrExpired // the job was deleted after it was read
		}
		for i := range records {
			after = records[i].Seq
			block, _ := itemsOf(&records[i])
			if block == nil {
				continue
			}
			for _, it := range block.All() {
				if it.Index < 0 || it.Index >= int64(len(values)) {
					return nil, job.ErrCorrupt
				}
				if size += len(it.Value); size > maxValuesBytes {
					return nil, nil
				}
				values[it.Index] = it.Value
			}
		}
	}
	b := make([]byte, 0, size+5*len(values)+2) // 5: a comma, and quotes or null
	b = append(b, '[')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendValue(b, v, ints)
	}
	return append(b, ']'), nil
}
