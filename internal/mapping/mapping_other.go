//go:build !linux

package mapping

import "os"

func mapFile(*os.File, int64) ([]byte, error) { return nil, ErrUnsupported }
func unmap([]byte) error                      { return nil }
func populate([]byte) error                   { return ErrUnsupported }
func readAhead([]byte)                        {}
func seesPages(*os.File) bool                 { return false }
func resident([]byte) bool                    { return false }
func contains([]byte, uintptr) bool           { return false }
