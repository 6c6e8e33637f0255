package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// slice is a range in Python's notation: 5, 0:5, :5, 0:10:2.
var slice = regexp.MustCompile(`^(?:(-?[0-9]*):)?(-?[0-9]+)(?::(-?[0-9]+))?$`)

// value returns the JSON of a flag's text. It is JSON in which quotes may be left out, and the brackets of a list:
// [mean, std] or mean,std, {source: ones, shape: [1000, 1000]}, 5s. A range may be START:STOP:STEP, an array the name or
// URL of a stored one.
func (d *document) value(s schema, text string) (json.RawMessage, error) {
	s = d.resolve(s)
	if s.has("start", "stop") {
		if m := slice.FindStringSubmatch(text); m != nil {
			return rangeValue(m[1], m[2], m[3]), nil
		}
	}
	if s.has("source", "name") && !strings.HasPrefix(strings.TrimSpace(text), "{") {
		source, member := "npy", "name"
		if strings.Contains(text, "://") {
			member = "url"
			if strings.Contains(text, ".zarr") {
				source = "zarr"
			}
		}
		return json.Marshal(map[string]string{"source": source, member: text})
	}
	if len(s.Type) == 1 && s.Type[0] == "string" {
		return json.Marshal(text)
	}
	if trimmed := strings.TrimSpace(text); d.accepts(s, "array") && !strings.HasPrefix(trimmed, "[") && !strings.HasPrefix(trimmed, "{") {
		if strings.Contains(text, ",") || len(s.Type) == 1 {
			text = "[" + text + "]"
		}
	}
	return relaxed(text)
}

func rangeValue(start, stop, step string) json.RawMessage {
	var parts []string
	if start != "" {
		parts = append(parts, `"start":`+start)
	}
	parts = append(parts, `"stop":`+stop)
	if step != "" {
		parts = append(parts, `"step":`+step)
	}
	return json.RawMessage("{" + strings.Join(parts, ",") + "}")
}

// relaxed returns the JSON of YAML, and JSON as it is. Numbers keep all of their digits, and only what JSON has for
// numbers, booleans and null is one.
func relaxed(text string) (json.RawMessage, error) {
	if json.Valid([]byte(text)) {
		return json.RawMessage(text), nil
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(doc.Content) == 0 {
		return json.RawMessage(`""`), nil
	}
	v, err := plain(doc.Content[0])
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

func plain(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Style == 0 && json.Valid([]byte(n.Value)) {
			return json.RawMessage(n.Value), nil
		}
		return n.Value, nil
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, c := range n.Content {
			var err error
			if list[i], err = plain(c); err != nil {
				return nil, err
			}
		}
		return list, nil
	case yaml.MappingNode:
		object := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if _, twice := object[key]; twice {
				return nil, fmt.Errorf("the member %q is there twice", key)
			}
			var err error
			if object[key], err = plain(n.Content[i+1]); err != nil {
				return nil, err
			}
		}
		return object, nil
	}
	return nil, errors.New("aliases are not supported")
}
