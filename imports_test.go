package gather_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// dependencies are the imports that a package may have besides the standard library and its own directory tree.
type dependencies struct {
	// inside are the packages of this module.
	inside []string
	// outside are modules or packages of others; nil is any that no package owns.
	outside []string
}

var none = []string{}

// deps is the table of the architecture: imports go down only. A package that is not in it may not exist; where a
// directory has none of its own, that of its parent holds.
var deps = map[string]dependencies{
	".": {none, none},

	"internal/fields":   {none, []string{"github.com/go-json-experiment/json"}},
	"internal/job":      {[]string{"internal/number"}, []string{"github.com/google/uuid"}},
	"internal/exactsum": {none, []string{"golang.org/x/sys/cpu"}},
	"internal/extrema":  {[]string{"internal/npy"}, []string{"golang.org/x/sys/cpu"}},
	"internal/npy":      {none, none},
	"internal/zarr": {[]string{"internal/npy"}, []string{
		"github.com/go-json-experiment/json", "github.com/klauspost/compress", "github.com/pierrec/lz4",
	}},
	"internal/number": {none, none},
	"internal/tenant": {none, []string{"github.com/go-json-experiment/json", "golang.org/x/time"}},

	"internal/chunked":  {[]string{"internal/exactsum", "internal/extrema", "internal/npy", "internal/number", "internal/fields"}, []string{"github.com/go-json-experiment/json"}},
	"internal/outbound": {none, nil},
	"internal/webhook":  {[]string{"internal/job", "internal/notify", "internal/outbound"}, nil},
	"internal/kind":     {[]string{"internal/job", "internal/chunked", "internal/number", "internal/fields", "internal/outbound"}, []string{"github.com/go-json-experiment/json"}},

	"internal/array":     {[]string{"internal/job", "internal/npy", "internal/reads", "internal/mapping", "internal/fields"}, []string{"github.com/google/uuid"}},
	"internal/blocks":    {none, []string{"golang.org/x/sync"}},
	"internal/npz":       {[]string{"internal/blocks"}, none},
	"internal/concat":    {[]string{"internal/blocks", "internal/npy"}, none},
	"internal/bucket":    {[]string{"internal/blocks", "internal/reads", "internal/mapping"}, nil},
	"internal/zarrstore": {[]string{"internal/blocks", "internal/bucket", "internal/zarr"}, none},
	"internal/mapping":   {none, []string{"golang.org/x/sys/unix"}},
	"internal/reads":     {none, none},
	"internal/notify":    {none, none},
	"internal/schedule":  {[]string{"internal/job", "internal/fields"}, []string{"github.com/prometheus/client_golang", "github.com/robfig/cron", "github.com/google/uuid"}},
	"internal/pause":     {[]string{"internal/job"}, []string{"github.com/prometheus/client_golang"}},
	"internal/executor":  {[]string{"internal/job", "internal/fields", "internal/notify"}, nil},
	"internal/journal":   {[]string{"internal/job", "internal/notify"}, nil},
	"internal/backup":    {[]string{"internal/array", "internal/journal"}, none},
	"internal/cluster":   {[]string{"internal/job", "internal/journal", "internal/notify", "internal/npy", "internal/array", "internal/blocks"}, nil},
	"internal/api":       {[]string{".", "internal/job", "internal/schedule", "internal/fields", "internal/npy", "internal/number", "internal/tenant"}, nil},

	"client":       {none, none},
	"internal/cli": {[]string{".", "client"}, []string{"github.com/alecthomas/kong", "go.yaml.in/yaml"}},
	"cmd/server":   {[]string{"."}, nil},
	"bench":        {[]string{"."}, nil},
	"deploy":       {none, nil},
	"web":          {none, none},
}

// all may import every package: they wire.
var all = []string{"cmd/server", "bench"}

// owned are modules that one package alone imports.
var owned = map[string]string{
	"github.com/go-chi":       "internal/api",
	"github.com/oapi-codegen": "internal/api",
	"github.com/cockroachdb":  "internal/journal",
	"github.com/nats-io":      "internal/cluster",
}

// vague are names under which anything would find a place.
var vague = []string{"util", "utils", "common", "base", "types", "models", "helpers", "misc", "shared", "lib"}

// TestImports enforces the table of deps on the imports of everything but tests, under all build tags.
func TestImports(t *testing.T) {
	packages := packagesOf(t)
	if len(packages) < 5 {
		t.Fatalf("found only %d packages: the test looks in the wrong place", len(packages))
	}
	for dir, imports := range packages {
		if slices.Contains(vague, path.Base(dir)) {
			t.Errorf("%s: a package is named for what it provides", dir)
		}
		name, ok := dependenciesOf(dir)
		if !ok {
			t.Errorf("%s: not in the table of deps; say there what it may import", dir)
			continue
		}
		for _, imp := range imports {
			if fault := deps[name].fault(name, imp); fault != "" {
				t.Errorf("%s imports %s: %s", dir, imp, fault)
			}
		}
	}
}

// fault returns why the package of that name may not import another.
func (r dependencies) fault(name, imp string) string {
	first, _, _ := strings.Cut(imp, "/")
	switch {
	case first == "gather":
		target, ok := dependenciesOf(strings.TrimPrefix(strings.TrimPrefix(imp, "gather"), "/"))
		switch {
		case !ok:
			return "it is not in the table of deps"
		case target == name || slices.Contains(r.inside, target):
		case slices.Contains(all, name) && !slices.Contains(all, target):
		default:
			return "imports go down only; it may import " + list(r.inside)
		}
		if strings.HasSuffix(imp, "test") && name != "bench" {
			return "it is for tests"
		}
	case strings.Contains(first, "."):
		for module, owner := range owned {
			if within(imp, module) && owner != name {
				return "only " + owner + " sees it"
			}
		}
		if r.outside != nil && !slices.ContainsFunc(r.outside, func(m string) bool { return within(imp, m) }) {
			return "of other modules it may import " + list(r.outside)
		}
	}
	return ""
}

func list(s []string) string {
	if len(s) == 0 {
		return "none"
	}
	return strings.Join(s, ", ")
}

// dependenciesOf returns the entry of the table that holds for a directory.
func dependenciesOf(dir string) (string, bool) {
	for dir = path.Clean(dir); ; dir = path.Dir(dir) {
		if _, ok := deps[dir]; ok {
			return dir, true
		}
		if !strings.Contains(dir, "/") {
			return "", false
		}
	}
}

// within reports whether a package is module, or below it.
func within(imp, module string) bool { return imp == module || strings.HasPrefix(imp, module+"/") }

// packagesOf returns the imports of every package of the module, without its tests, by directory. Directories with a
// go.mod of their own are other modules.
func packagesOf(t *testing.T) map[string][]string {
	t.Helper()
	packages := make(map[string][]string)
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, err := os.Stat(filepath.Join(file, "go.mod"))
			if file != "." && (err == nil || d.Name() == "testdata" || strings.ContainsAny(d.Name()[:1], "._")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(file))
		packages[dir] = append(packages[dir], "")
		for _, spec := range f.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			packages[dir] = append(packages[dir], imp)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, imports := range packages {
		slices.Sort(imports)
		packages[dir] = slices.Compact(imports)[1:] // without the "" that stands for a package with no imports
	}
	return packages
}
