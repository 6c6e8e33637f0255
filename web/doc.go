// Package web has the console, the pages at /ui/.
//
// Its sources are TypeScript in src; go generate checks and bundles them to dist, which is committed, so that building the
// server needs no Node. The bundle loads nothing from other hosts.
package web

import (
	"embed"
	"io/fs"
)

//go:generate go -C build run .

//go:embed dist
var dist embed.FS

// Files are the files of the console; index.html is the page.
var Files = func() fs.FS {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the name is valid
	}
	return files
}()
