package zarr

// DecodeAs decodes with one codec into dst.
func DecodeAs(name string, dst, src []byte, s *Scratch) ([]byte, error) {
	return codecs[name](dst, src, s)
}

// CodecNames are the names of the codecs from bytes to bytes.
func CodecNames() (names []string) {
	for name := range codecs {
		names = append(names, name)
	}
	return names
}
