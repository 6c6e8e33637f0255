package array

// SetSync replaces how a directory is forced to disk.
func (s *Store) SetSync(sync func(dir string) error) { s.sync = sync }
