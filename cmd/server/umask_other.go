//go:build !unix

package main

// keepPrivate does nothing: this system has no file mode creation mask.
func keepPrivate() {}
