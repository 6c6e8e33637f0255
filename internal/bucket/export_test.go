package bucket

import "time"

// CacheBytes and BlockBytes are the bound of a Set and the size of a block.
const (
	CacheBytes = cacheBytes
	BlockBytes = s3Block
)

// SetPatience changes how long one try to read a block of an S3 store may take.
func (s *Set) SetPatience(d time.Duration) {
	for _, b := range s.buckets {
		if s3, ok := b.store.(*s3); ok {
			s3.patience = d
		}
	}
}

// Held is how many bytes of blocks the set holds.
func (s *Set) Held() int64 {
	return s.cache.Held()
}
