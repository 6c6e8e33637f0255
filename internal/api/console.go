package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
)

// consolePolicy lets the console run only its own scripts, connect only to this server, and use no HTML sinks.
const consolePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// consolePage is the file of the page.
const consolePage = "index.html"

// A consoleFile is a file of the console.
type consoleFile struct {
	media, etag string
	gzipped     []byte
}

var consoleMedia = map[string]string{
	".html": mediaHTML + "; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8",
}

// newConsole compresses the files of the console.
func newConsole(files fs.FS) (map[string]consoleFile, error) {
	console := make(map[string]consoleFile)
	if files == nil {
		return console, nil
	}
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, fmt.Errorf("api: console: %w", err)
	}
	for _, e := range entries {
		data, err := fs.ReadFile(files, e.Name())
		if err != nil {
			return nil, fmt.Errorf("api: console: %w", err)
		}
		var b bytes.Buffer
		w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
		_, _ = w.Write(data) // a buffer does not fail
		_ = w.Close()
		sum := sha256.Sum256(data)
		console[e.Name()] = consoleFile{consoleMedia[path.Ext(e.Name())], `"` + hex.EncodeToString(sum[:16]) + `"`, b.Bytes()}
	}
	if _, ok := console[consolePage]; !ok {
		return nil, fmt.Errorf("api: console: no %s", consolePage)
	}
	return console, nil
}

// getConsole implements GET /ui/.
func (s *server) getConsole(x *requestState) error { return s.writeConsole(x, consolePage) }

// getConsoleAsset implements GET /ui/{asset}.
func (s *server) getConsoleAsset(x *requestState) error { return s.writeConsole(x, x.param("asset")) }

// writeConsole responds with a file of the console. Files are always sent compressed, because every browser accepts that.
func (s *server) writeConsole(x *requestState, name string) error {
	f, ok := s.console[name]
	if !ok {
		return &problem{entry: noSuchResource, detail: "The console has no such file, or --ui=false has turned it off."}
	}
	x.set("ETag", f.etag)
	x.set("Content-Security-Policy", consolePolicy)
	x.set("Referrer-Policy", "no-referrer")
	if matches(x.req.Header["If-None-Match"], f.etag) {
		x.set("Cache-Control", "no-cache")
		return x.writeNothing(http.StatusNotModified)
	}
	x.set("Content-Encoding", "gzip")
	return x.writeDocument(f.media, "no-cache", f.gzipped)
}

// redirect responds with a relative Location, for proxies that add a prefix to the path.
func (x *requestState) redirect(status int, location string) error {
	x.set("Location", location)
	return x.writeNothing(status)
}
