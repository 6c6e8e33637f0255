package array

import "bytes"

// SetSync replaces the function that syncs a directory.
func (s *Store) SetSync(sync func(dir string) error) { s.sync = sync }

// Check verifies p, which was read at off of an unchanged uploaded file.
func Check(file, p []byte, off int64) error {
	var s summer
	_, _ = s.Write(file) // never fails
	return newChecksums(s.close(), int64(len(file))).check(bytes.NewReader(file), p, off)
}
