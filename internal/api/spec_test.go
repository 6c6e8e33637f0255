package api_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// Optional parameters have no example, because the docs page would send it with every request: a used idempotency key,
// a filter without matches, a wait.
func TestSpecParameterExamples(t *testing.T) {
	doc := newContract(t).doc
	for _, path := range slices.Sorted(maps.Keys(doc.Paths.Map())) {
		item := doc.Paths.Value(path)
		for method, op := range item.Operations() {
			for _, p := range append(slices.Clone(item.Parameters), op.Parameters...) {
				if p := p.Value; !p.Required && (p.Example != nil || len(p.Examples) > 0 || p.Schema.Value.Example != nil) {
					t.Errorf("%s %s: the optional parameter %s has an example, want none", method, path, p.Name)
				}
			}
		}
	}
}

// Members of a submission have no default, because client generators would make them required.
func TestSpecDefaults(t *testing.T) {
	doc := newContract(t).doc
	members := 0
	visited := make(map[*openapi3.Schema]bool)
	var walk func(ref *openapi3.SchemaRef, at string)
	walk = func(ref *openapi3.SchemaRef, at string) {
		if ref == nil || visited[ref.Value] {
			return
		}
		s := ref.Value
		visited[s] = true
		for name, p := range s.Properties {
			members++
			if p.Value.Default != nil {
				t.Errorf("%s/%s has the default %v, want none", at, name, p.Value.Default)
			}
			walk(p, at+"/"+name)
		}
		for _, group := range []openapi3.SchemaRefs{s.OneOf, s.AnyOf, s.AllOf} {
			for _, sub := range group {
				walk(sub, at)
			}
		}
		walk(s.Items, at+"/[]")
	}
	walk(doc.Components.Schemas["BatchSubmission"], "")
	if members < 30 {
		t.Errorf("%d members found, want at least 30", members)
	}
}
