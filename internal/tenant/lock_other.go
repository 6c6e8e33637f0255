//go:build !unix

package tenant

import (
	"io/fs"
	"os"
)

// lockFile does nothing: this system has no flock.
func lockFile(*os.File) error { return nil }

// keepOwner does nothing: this system has no owners of files that os can set.
func keepOwner(*os.File, fs.FileInfo) error { return nil }
