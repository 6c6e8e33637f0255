package npz

// NewSegments returns a reader of a deflated member in segments of a length.
func NewSegments(m Member, read ReadAt, segment int64) *Reader {
	return newReader(m, read, NewCache(), segment)
}
