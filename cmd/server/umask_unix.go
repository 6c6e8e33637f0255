//go:build unix

package main

import "syscall"

// keepPrivate makes every file and directory that the process creates accessible to its user only.
func keepPrivate() { syscall.Umask(0o077) }
