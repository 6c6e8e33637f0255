package api

import (
	_ "embed"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/swaggest/swgui/v5/static"

	"gather"
)

//go:embed docs.html
var docsPage []byte

//go:embed docs.js
var docsScript []byte

//go:embed index.html
var indexPage []byte

// indexJSON is the index page for programs.
const indexJSON = `{"name":"gather","links":{"docs":"/docs","openapi":"/openapi.json","jobs":"/v1/jobs","arrays":"/v1/arrays",` +
	`"kinds":"/v1/kinds","nodes":"/v1/nodes","stats":"/v1/stats","readiness":"/readyz"}}` + "\n"

// docsPolicy lets the docs page run only its own scripts and connect only to this server.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// docs are the documentation pages.
type docs struct {
	// assets are the files of the docs page by name; problems are the sections of the problem page by type.
	assets   map[string]asset
	problems map[string]string
}

type asset struct {
	media   string
	gzipped bool
	data    []byte
}

func newDocs() docs {
	d := docs{assets: map[string]asset{"init.js": {media: "text/javascript; charset=utf-8", data: docsScript}}}
	media := map[string]string{
		".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".png": "image/png",
	}
	files, _ := fs.ReadDir(static.FS, ".")
	for _, f := range files {
		name, gzipped := strings.CutSuffix(f.Name(), ".gz")
		if m := media[path.Ext(name)]; m != "" {
			data, _ := static.FS.ReadFile(f.Name())
			d.assets[name] = asset{m, gzipped, data}
		}
	}
	d.problems = make(map[string]string)
	for _, section := range strings.Split(gather.Problems, "\n## ")[1:] {
		name, _, _ := strings.Cut(section, "\n")
		d.problems[strings.TrimSpace(name)] = strings.TrimSpace(section) + "\n"
	}
	return d
}

// writeDocument responds with a document that was prepared at startup.
func (x *requestState) writeDocument(media, cache string, body []byte) error {
	x.set("Content-Type", media)
	x.set("Cache-Control", cache)
	x.set("Content-Length", strconv.Itoa(len(body)))
	x.WriteHeader(http.StatusOK)
	return clientError(x.srv.writeWithDeadline(x, body))
}

// writePage responds with an HTML page.
func (x *requestState) writePage(body []byte) error {
	x.set("Content-Security-Policy", docsPolicy)
	x.set("Referrer-Policy", "no-referrer")
	return x.writeDocument(mediaHTML+"; charset=utf-8", "no-cache", body)
}

// getIndex implements GET /.
func (s *server) getIndex(x *requestState) error {
	x.vary(varyAccept)
	switch {
	case x.media == mediaHTML && s.Console != nil:
		return x.redirect(http.StatusFound, "ui/")
	case x.media == mediaHTML:
		return x.writePage(indexPage)
	}
	return x.writeDocument(mediaJSON, "no-cache", []byte(indexJSON))
}

// getDocs implements GET /docs.
func (s *server) getDocs(x *requestState) error {
	return x.writePage(docsPage)
}

// getDocsAsset implements GET /docs/{asset}. Compressed assets are always sent compressed, because every browser
// accepts them.
func (s *server) getDocsAsset(x *requestState) error {
	a, ok := s.docs.assets[x.param("asset")]
	if !ok {
		return &problem{entry: noSuchResource, detail: "The documentation has no such file."}
	}
	if a.gzipped {
		x.set("Content-Encoding", "gzip")
	}
	return x.writeDocument(a.media, "public, max-age=3600", a.data)
}

// getSpec implements GET /openapi.yaml.
func (s *server) getSpec(x *requestState) error {
	return x.writeDocument("application/yaml", "no-cache", gather.Spec)
}

// getSpecJSON implements GET /openapi.json.
func (s *server) getSpecJSON(x *requestState) error {
	body, err := specJSON()
	if err != nil {
		return err
	}
	return x.writeDocument(mediaJSON, "no-cache", body)
}

// getProblem implements GET /problems/{problem}.
func (s *server) getProblem(x *requestState) error {
	text, ok := s.docs.problems[x.param("problem")]
	if !ok {
		return &problem{entry: noSuchResource, detail: "No problem type has this name."}
	}
	return x.writeDocument("text/plain; charset=utf-8", "no-cache", []byte(text))
}

// listKinds implements GET /v1/kinds.
func (s *server) listKinds(x *requestState) error {
	return x.writeDocument(mediaJSON, "private, no-cache", s.kinds)
}

// getLivez implements GET /livez.
func (s *server) getLivez(x *requestState) error {
	return x.writeJSON(http.StatusOK, Health{Status: HealthStatusOk})
}

// getReadyz implements GET /readyz.
func (s *server) getReadyz(x *requestState) error {
	if err := s.Ready(); err != nil {
		return err
	}
	return x.writeJSON(http.StatusOK, Health{Status: HealthStatusOk})
}
