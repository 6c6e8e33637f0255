package array

import "bytes"

// SetSync replaces how a directory is forced to disk.
func (s *Store) SetSync(sync func(dir string) error) { s.sync = sync }

// Check checks p, which was read at off of a file that was uploaded, and has not changed since.
func Check(file, p []byte, off int64) error {
	var s summer
	_, _ = s.Write(file) // never fails
	return newChecksums(s.close(), int64(len(file))).check(bytes.NewReader(file), p, off)
}
