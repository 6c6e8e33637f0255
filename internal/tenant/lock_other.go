//go:build !unix

package tenant

import (
	"io/fs"
	"os"
)

// lockFile does nothing: this system has no flock.
func lockFile(*os.File) error { return nil }

// keepOwner does nothing: on this system os cannot set the owner of a file.
func keepOwner(*os.File, fs.FileInfo) error { return nil }
