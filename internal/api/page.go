package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"gather/internal/job"
)

// A page token is a version, the last job of the previous page, and a digest of the tenant and the filters. It needs no
// secret, because it only marks a position in the tenant's own listing; it is valid after a restart and on every node.
const pageVersion = 2

const digestSize = 12

// pageToken returns the token of the page after a job.
func pageToken(q *job.Query, before job.ID) string {
	token := append([]byte{pageVersion}, before[:]...)
	return base64.RawURLEncoding.EncodeToString(append(token, digest(q)...))
}

// readPageToken returns the job to continue before; false for a token of another tenant or of other filters.
func readPageToken(q *job.Query, token string) (job.ID, bool) {
	const size = 1 + len(job.ID{}) + digestSize
	// Check the length first, because the decoder ignores line breaks.
	if len(token) != base64.RawURLEncoding.EncodedLen(size) {
		return job.ID{}, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != size || raw[0] != pageVersion {
		return job.ID{}, false
	}
	id := job.ID(raw[1 : 1+len(job.ID{})])
	return id, subtle.ConstantTimeCompare(raw[1+len(id):], digest(q)) == 1
}

func digest(q *job.Query) []byte {
	var b []byte
	b = append(append(b, q.Tenant...), 0)
	for _, k := range slices.Compact(slices.Sorted(slices.Values(q.Kinds))) {
		b = append(append(b, k...), 0)
	}
	b = append(b, 0)
	states := slices.Clone(q.States)
	slices.Sort(states)
	for _, s := range slices.Compact(states) {
		b = append(b, byte(s))
	}
	b = append(b, 0)
	for _, p := range job.Priorities() {
		if slices.Contains(q.Priorities, p) {
			b = append(b, byte(p))
		}
	}
	b = append(b, 0)
	for _, labels := range []map[string]string{q.Labels, q.Prefixes} {
		for _, k := range slices.Sorted(maps.Keys(labels)) {
			b = append(append(append(append(b, k...), 0), labels[k]...), 0)
		}
		b = append(b, 0)
	}
	b = append(append(b, q.Group...), 0)
	for _, t := range []time.Time{q.CreatedAfter, q.CreatedBefore, q.FinishedAfter} {
		b = binary.BigEndian.AppendUint64(b, uint64(t.Unix()))
		b = binary.BigEndian.AppendUint32(b, uint32(t.Nanosecond()))
	}
	sum := sha256.Sum256(b)
	return sum[:digestSize]
}
