//go:build !linux

package main

import "syscall"

// limitUnsent does nothing where the option does not exist.
func limitUnsent(_, _ string, _ syscall.RawConn) error { return nil }
