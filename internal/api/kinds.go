package api

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"

	"gather"
	"gather/internal/job"
)

const (
	refPrefix = "#/components/schemas/"
	defPrefix = "#/$defs/"
	// kindMark is the member of a schema in the contract that says which kind's it is.
	kindMark = "x-gather-kind"
)

// describeKinds makes the answer of GET /v1/kinds: each kind with its limits and a JSON Schema of its submission, which
// is the contract's, made to stand alone. A kind that the contract has no schema for is an error.
func describeKinds(infos []job.KindInfo) ([]byte, error) {
	var doc struct {
		Components struct {
			Schemas yaml.Node `yaml:"schemas"`
		} `yaml:"components"`
	}
	if err := yaml.Unmarshal(gather.Spec, &doc); err != nil {
		return nil, fmt.Errorf("api: openapi.yaml: %w", err)
	}
	schemas := make(map[string]*yaml.Node)
	for i, all := 0, doc.Components.Schemas.Content; i+1 < len(all); i += 2 {
		schemas[all[i].Value] = all[i+1]
	}
	names := make(map[string]string)
	for name, node := range schemas {
		if mark := field(node, kindMark); mark != nil {
			names[mark.Value] = name
		}
	}
	list := make([]any, 0, len(infos))
	for _, info := range infos {
		name, ok := names[info.Name]
		if !ok {
			return nil, fmt.Errorf("api: kind %s has no schema in openapi.yaml: one with %s: %[1]s", info.Name, kindMark)
		}
		schema, err := standAlone(schemas, name)
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

// standAlone joins a kind's schema with the envelope's, and brings along what they refer to.
func standAlone(schemas map[string]*yaml.Node, name string) (object, error) {
	defs := make(map[string]any)
	todo := []string{"Envelope", name}
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
		value, err := convert(node, func(ref string) { todo = append(todo, ref) })
		if err != nil {
			return nil, err
		}
		defs[next] = value
	}
	return object{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"allOf", []any{
			object{{"$ref", defPrefix + "Envelope"}},
			object{{"$ref", defPrefix + name}},
		}},
		{"unevaluatedProperties", false},
		{"$defs", defs},
	}, nil
}

// convert makes JSON of YAML, in its order, with references into $defs.
func convert(n *yaml.Node, refers func(string)) (any, error) {
	switch n.Kind {
	case yaml.MappingNode:
		o := make(object, 0, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i].Value, n.Content[i+1]
			if key == kindMark {
				continue
			}
			if ref, ok := strings.CutPrefix(value.Value, refPrefix); key == "$ref" && ok {
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

// field returns a member of a mapping.
func field(n *yaml.Node, key string) *yaml.Node {
	i := slices.IndexFunc(n.Content, func(c *yaml.Node) bool { return c.Value == key })
	if n.Kind != yaml.MappingNode || i < 0 || i%2 != 0 {
		return nil
	}
	return n.Content[i+1]
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
