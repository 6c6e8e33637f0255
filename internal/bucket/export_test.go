package bucket

import "time"

// CacheBytes and BlockBytes are the bound of a Set and the size of a block.
const (
	CacheBytes = cacheBytes
	BlockBytes = s3Block
)

// SetReadTimeout changes the time limit of one attempt to read a block of an S3 store.
func (s *Set) SetReadTimeout(d time.Duration) {
	for _, b := range s.buckets {
		if s3, ok := b.store.(*s3); ok {
			s3.timeout = d
		}
	}
}

// Held returns the bytes of blocks that the set holds.
func (s *Set) Held() int64 {
	return s.cache.Held()
}

// Matches reports whether a name matches a pattern.
func Matches(pattern, name string) bool { return glob(pattern).matches(name) }
