package api

import (
	"context"
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

// indexJSON is the index for programs.
const indexJSON = `{"name":"gather","links":{"docs":"/docs","openapi":"/openapi.json","jobs":"/v1/jobs","arrays":"/v1/arrays",` +
	`"kinds":"/v1/kinds","nodes":"/v1/nodes","readiness":"/readyz"}}` + "\n"

// docsPolicy lets the page run its own scripts and talk to this server, and nothing else.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// docs are the documents the service serves about itself.
type docs struct {
	// assets are the files of the docs page by name; problems the sections of the problem page by type.
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

// A document is an answer that is there from the start.
type document struct {
	x       *exchange
	media   string
	policy  string
	gzipped bool
	cache   string
	body    []byte
}

func (d *document) write() error {
	x := d.x
	x.set("Content-Type", d.media)
	x.set("Cache-Control", d.cache)
	if d.policy != "" {
		x.set("Content-Security-Policy", d.policy)
		x.set("Referrer-Policy", "no-referrer")
	}
	if d.gzipped {
		x.set("Content-Encoding", "gzip")
	}
	x.set("Content-Length", strconv.Itoa(len(d.body)))
	x.WriteHeader(http.StatusOK)
	return clientError(x.srv.push(x, d.body))
}

// VisitGetIndexResponse implements GetIndexResponseObject.
func (d *document) VisitGetIndexResponse(http.ResponseWriter) error { return d.write() }

// VisitGetSpecJSONResponse implements GetSpecJSONResponseObject.
func (d *document) VisitGetSpecJSONResponse(http.ResponseWriter) error { return d.write() }

// VisitGetDocsResponse implements GetDocsResponseObject.
func (d *document) VisitGetDocsResponse(http.ResponseWriter) error { return d.write() }

// VisitGetDocsAssetResponse implements GetDocsAssetResponseObject.
func (d *document) VisitGetDocsAssetResponse(http.ResponseWriter) error { return d.write() }

// VisitGetSpecResponse implements GetSpecResponseObject.
func (d *document) VisitGetSpecResponse(http.ResponseWriter) error { return d.write() }

// VisitGetProblemResponse implements GetProblemResponseObject.
func (d *document) VisitGetProblemResponse(http.ResponseWriter) error { return d.write() }

// VisitListKindsResponse implements ListKindsResponseObject.
func (d *document) VisitListKindsResponse(http.ResponseWriter) error { return d.write() }

// GetIndex implements GET /.
func (s *server) GetIndex(ctx context.Context, _ GetIndexRequestObject) (GetIndexResponseObject, error) {
	x := exchangeOf(ctx)
	media, err := negotiate(x.req.Header, mediaJSON, mediaHTML)
	if err != nil {
		return nil, err
	}
	x.Header()["Vary"] = varyAccept
	if media == mediaHTML {
		return &document{x: x, media: mediaHTML + "; charset=utf-8", policy: docsPolicy, cache: "no-cache", body: indexPage}, nil
	}
	return &document{x: x, media: mediaJSON, cache: "no-cache", body: []byte(indexJSON)}, nil
}

// GetDocs implements GET /docs.
func (s *server) GetDocs(ctx context.Context, _ GetDocsRequestObject) (GetDocsResponseObject, error) {
	return &document{
		x: exchangeOf(ctx), media: "text/html; charset=utf-8", policy: docsPolicy, cache: "no-cache", body: docsPage,
	}, nil
}

// GetDocsAsset implements GET /docs/{asset}. What is stored compressed is sent so: every browser takes it.
func (s *server) GetDocsAsset(ctx context.Context, req GetDocsAssetRequestObject) (GetDocsAssetResponseObject, error) {
	a, ok := s.docs.assets[req.Asset]
	if !ok {
		return nil, &problem{row: noSuchResource, detail: "The docs page has no such file."}
	}
	return &document{x: exchangeOf(ctx), media: a.media, gzipped: a.gzipped, cache: "public, max-age=3600", body: a.data}, nil
}

// GetSpec implements GET /openapi.yaml.
func (s *server) GetSpec(ctx context.Context, _ GetSpecRequestObject) (GetSpecResponseObject, error) {
	return &document{x: exchangeOf(ctx), media: "application/yaml", cache: "no-cache", body: gather.Spec}, nil
}

// GetSpecJSON implements GET /openapi.json.
func (s *server) GetSpecJSON(ctx context.Context, _ GetSpecJSONRequestObject) (GetSpecJSONResponseObject, error) {
	body, err := specJSON()
	if err != nil {
		return nil, err
	}
	return &document{x: exchangeOf(ctx), media: mediaJSON, cache: "no-cache", body: body}, nil
}

// GetProblem implements GET /problems/{problem}.
func (s *server) GetProblem(ctx context.Context, req GetProblemRequestObject) (GetProblemResponseObject, error) {
	text, ok := s.docs.problems[req.Problem]
	if !ok {
		return nil, &problem{row: noSuchResource, detail: "There is no such problem type."}
	}
	return &document{x: exchangeOf(ctx), media: "text/plain; charset=utf-8", cache: "no-cache", body: []byte(text)}, nil
}

// ListKinds implements GET /v1/kinds.
func (s *server) ListKinds(ctx context.Context, _ ListKindsRequestObject) (ListKindsResponseObject, error) {
	x := exchangeOf(ctx)
	if _, err := negotiate(x.req.Header, mediaJSON); err != nil {
		return nil, err
	}
	return &document{x: x, media: mediaJSON, cache: "private, no-cache", body: s.kinds}, nil
}

// GetLivez implements GET /livez.
func (s *server) GetLivez(context.Context, GetLivezRequestObject) (GetLivezResponseObject, error) {
	return GetLivez200JSONResponse{HealthJSONResponse{Status: HealthStatusOk}}, nil
}

// GetReadyz implements GET /readyz.
func (s *server) GetReadyz(context.Context, GetReadyzRequestObject) (GetReadyzResponseObject, error) {
	if err := s.Ready(); err != nil {
		return nil, err
	}
	return GetReadyz200JSONResponse{HealthJSONResponse{Status: HealthStatusOk}}, nil
}
