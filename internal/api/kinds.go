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
	list := make([]any, 0, len(infos))
	for _, info := range infos {
		ref, ok := submission.Discriminator.Mapping[info.Name]
		if !ok {
			return nil, fmt.Errorf("api: kind %s has no schema in the mapping of JobSubmission in openapi.yaml", info.Name)
		}
		schema, err := standAlone(schemas, strings.TrimPrefix(ref, refPrefix))
		if err != nil {
			return nil, err
		}
		limits := info.Limits
		if limits == nil {
			limits = map[string]int64{}
		}
		list = append(list, object{
			{"name", info.Name}, {"summary", info.Summary}, {"limits", limits}, {"schema", schema},
		})
	}
	data, err := json.Marshal(object{{"kinds", list}}, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	return append(data, '\n'), nil
}

// standAlone returns a schema together with the schemas it references.
func standAlone(schemas map[string]yaml.Node, name string) (object, error) {
	var todo []string
	refers := func(ref string) { todo = append(todo, ref) }
	root := schemas[name]
	schema, err := convert(&root, refers)
	if err != nil {
		return nil, err
	}
	members, ok := schema.(object)
	if !ok {
		return nil, fmt.Errorf("api: openapi.yaml has no schema %s", name)
	}
	defs := make(map[string]any)
	for len(todo) > 0 {
		next := todo[0]
		todo = todo[1:]
		if _, done := defs[next]; done {
			continue
		}
		node, ok := schemas[next]
		if !ok {
			return nil, fmt.Errorf("api: openapi.yaml has no schema %s", next)
		}
		if defs[next], err = convert(&node, refers); err != nil {
			return nil, err
		}
	}
	return slices.Concat(object{{"$schema", "https://json-schema.org/draft/2020-12/schema"}}, members, object{{"$defs", defs}}), nil
}

// specJSON returns openapi.yaml as JSON.
var specJSON = sync.OnceValues(func() ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(gather.Spec, &doc); err != nil {
		return nil, fmt.Errorf("api: openapi.yaml: %w", err)
	}
	v, err := convert(doc.Content[0], nil)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("api: openapi.yaml: %w", err)
	}
	return append(data, '\n'), nil
})

// convert converts YAML to JSON in the same order. If refers is not nil, convert calls it for every referenced schema
// and rewrites the references to $defs.
func convert(n *yaml.Node, refers func(string)) (any, error) {
	switch n.Kind {
	case yaml.MappingNode:
		o := make(object, 0, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i].Value, n.Content[i+1]
			if ref, ok := strings.CutPrefix(value.Value, refPrefix); key == "$ref" && ok && refers != nil {
				refers(ref)
				o = append(o, member{key, defPrefix + ref})
				continue
			}
			v, err := convert(value, refers)
			if err != nil {
				return nil, err
			}
			o = append(o, member{key, v})
		}
		return o, nil
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, c := range n.Content {
			var err error
			if list[i], err = convert(c, refers); err != nil {
				return nil, err
			}
		}
		return list, nil
	case yaml.AliasNode:
		return convert(n.Alias, refers)
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, fmt.Errorf("api: openapi.yaml: line %d: %w", n.Line, err)
	}
	return v, nil
}

// An object is a JSON object that keeps the order of its members.
type object []member

type member struct {
	key   string
	value any
}

// MarshalJSONTo implements json.MarshalerTo.
func (o object) MarshalJSONTo(e *jsontext.Encoder) error {
	if err := e.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for _, m := range o {
		if err := e.WriteToken(jsontext.String(m.key)); err != nil {
			return err
		}
		if err := json.MarshalEncode(e, m.value); err != nil {
			return err
		}
	}
	return e.WriteToken(jsontext.EndObject)
}
