package api

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"

	"gather"
	"gather/internal/job"
)

const (
	refPrefix = "#/components/schemas/"
	defPrefix = "#/$defs/"
)

// describeKinds returns the body of GET /v1/kinds: each kind with its limits and the JSON Schema of its submission from
// openapi.yaml, with the schemas it references. It fails for a kind without a schema.
func describeKinds(infos []job.KindInfo) ([]byte, error) {
	var doc struct {
		Components struct {
			Schemas map[string]yaml.Node `yaml:"schemas"`
		} `yaml:"components"`
	}
	if err := yaml.Unmarshal(gather.Spec, &doc); err != nil {
		return nil, fmt.Errorf("api: openapi.yaml: %w", err)
	}
	schemas := doc.Components.Schemas
	var submission struct {
		Discriminator struct {
			Mapping map[string]string `yaml:"mapping"`
		} `yaml:"discriminator"`
	}
	union := schemas["JobSubmission"]
	if err := union.Decode(&submission); err != nil {
		return nil, fmt.Errorf("api: openapi.yaml: JobSubmission: %w", err)
	}
	type kind struct {
		Name    string           `json:"name"`
		Summary string           `json:"summary"`
		Limits  map[string]int64 `json:"limits"`
		Schema  jsontext.Value   `json:"schema"`
	}
	var list struct {
		Kinds []kind `json:"kinds"`
	}
	for _, info := range infos {
		ref, ok := submission.Discriminator.Mapping[info.Name]
		if !ok {
			return nil, fmt.Errorf("api: kind %s has no schema in the mapping of JobSubmission in openapi.yaml", info.Name)
		}
		schema, err := standAlone(schemas, strings.TrimPrefix(ref, refPrefix))
		if err != nil {
			return nil, err
		}
		list.Kinds = append(list.Kinds, kind{info.Name, info.Summary, info.Limits, schema})
	}
	data, err := json.Marshal(list, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	return append(data, '\n'), nil
}

// standAlone returns a schema together with the schemas it references.
func standAlone(schemas map[string]yaml.Node, name string) (jsontext.Value, error) {
	todo := []string{name}
	defs := make(map[string]jsontext.Value)
	for i := 0; i < len(todo); i++ {
		next := todo[i]
		if defs[next] != nil {
			continue
		}
		node, ok := schemas[next]
		if !ok {
			return nil, fmt.Errorf("api: openapi.yaml has no schema %s", next)
		}
		var err error
		if defs[next], err = appendYAML(nil, &node, func(ref string) { todo = append(todo, ref) }); err != nil {
			return nil, err
		}
	}
	root := defs[name]
	if !slices.Contains(todo[1:], name) {
		delete(defs, name)
	}
	text, err := json.Marshal(defs, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	b := append([]byte(`{"$schema":"https://json-schema.org/draft/2020-12/schema",`), root[1:len(root)-1]...)
	return append(append(append(b, `,"$defs":`...), text...), '}'), nil
}

// specJSON returns openapi.yaml as JSON.
var specJSON = sync.OnceValues(func() ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(gather.Spec, &doc); err != nil {
		return nil, fmt.Errorf("api: openapi.yaml: %w", err)
	}
	b, err := appendYAML(nil, doc.Content[0], nil)
	return append(b, '\n'), err
})

// appendYAML appends a YAML value as JSON in the same order. If refers is not nil, appendYAML calls it for every
// referenced schema and rewrites the references to $defs.
func appendYAML(b []byte, n *yaml.Node, refers func(string)) (_ []byte, err error) {
	switch n.Kind {
	case yaml.MappingNode:
		b = append(b, '{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				b = append(b, ',')
			}
			key, value := n.Content[i].Value, n.Content[i+1]
			b = append(appendString(b, key), ':')
			if ref, ok := strings.CutPrefix(value.Value, refPrefix); key == "$ref" && ok && refers != nil {
				refers(ref)
				b = appendString(b, defPrefix+ref)
			} else if b, err = appendYAML(b, value, refers); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	case yaml.SequenceNode:
		b = append(b, '[')
		for i, c := range n.Content {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendYAML(b, c, refers); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case yaml.AliasNode:
		return appendYAML(b, n.Alias, refers)
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, fmt.Errorf("api: openapi.yaml: line %d: %w", n.Line, err)
	}
	text, err := json.Marshal(v)
	return append(b, text...), err
}
