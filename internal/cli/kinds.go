package cli

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"gather"
)

// schema is the part of a JSON Schema that flags need.
type schema struct {
	Ref         string   `yaml:"$ref"`
	Title       string   `yaml:"title"`
	Description string   `yaml:"description"`
	Type        types    `yaml:"type"`
	Const       string   `yaml:"const"`
	Enum        []string `yaml:"enum"`
	AllOf       []schema `yaml:"allOf"`
	OneOf       []schema `yaml:"oneOf"`
	AnyOf       []schema `yaml:"anyOf"`
	Items       *schema  `yaml:"items"`
	Properties  members  `yaml:"properties"`
}

// types are the types of a value: one, or a list.
type types []string

func (t *types) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*t = types{n.Value}
		return nil
	}
	return n.Decode((*[]string)(t))
}

// members are the members of an object in the order of the document.
type members []member

type member struct {
	name   string
	schema schema
}

func (m *members) UnmarshalYAML(n *yaml.Node) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		var s schema
		if err := n.Content[i+1].Decode(&s); err != nil {
			return err
		}
		*m = append(*m, member{n.Content[i].Value, s})
	}
	return nil
}

// document is openapi.yaml.
type document struct {
	Components struct {
		Schemas map[string]schema `yaml:"schemas"`
	} `yaml:"components"`
}

// resolve returns the schema that s refers to; a description beside the reference is kept.
func (d *document) resolve(s schema) schema {
	for s.Ref != "" {
		description := s.Description
		s = d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
		if description != "" {
			s.Description = description
		}
	}
	// A schema or null is that schema.
	if len(s.OneOf) == 2 && len(s.OneOf[1].Type) == 1 && s.OneOf[1].Type[0] == "null" {
		inner := d.resolve(s.OneOf[0])
		if s.Description != "" {
			inner.Description = s.Description
		}
		return inner
	}
	return s
}

// accepts reports whether a value may have a type.
func (d *document) accepts(s schema, name string) bool {
	s = d.resolve(s)
	alternative := func(s schema) bool { return d.accepts(s, name) }
	return slices.Contains(s.Type, name) || slices.ContainsFunc(s.OneOf, alternative) || slices.ContainsFunc(s.AnyOf, alternative)
}

// has reports whether s is an object with these members.
func (s *schema) has(names ...string) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		return !slices.ContainsFunc(s.Properties, func(m member) bool { return m.name == name })
	})
}

// kindCommand is the command that submits jobs of one kind. It has a flag for each member of the submission.
type kindCommand struct {
	doc     *document
	name    string
	members []member
	// flags is the struct that kong sets: Labels, and the text of each member, nil if it is not given.
	flags reflect.Value
}

// addKinds adds a command for each kind that openapi.yaml describes.
func (c *submitCmd) addKinds() error {
	doc := new(document)
	if err := yaml.Unmarshal(gather.Spec, doc); err != nil {
		return fmt.Errorf("openapi.yaml: %w", err)
	}
	for _, alternative := range doc.Components.Schemas["JobSubmission"].OneOf {
		k := &kindCommand{doc: doc}
		summary := ""
		var envelope members
		for _, part := range doc.resolve(alternative).AllOf {
			part = doc.resolve(part)
			own := false
			for _, m := range part.Properties {
				if m.name == "kind" {
					own, k.name, summary = true, m.schema.Const, part.Title
				}
			}
			if own {
				k.members = append(k.members, part.Properties...)
			} else {
				envelope = append(envelope, part.Properties...)
			}
		}
		k.members = slices.DeleteFunc(append(k.members, envelope...), func(m member) bool { return m.name == "kind" || m.name == "labels" })
		c.kinds = append(c.kinds, k)
		c.Plugins = append(c.Plugins, k.command(summary))
	}
	return nil
}

// reserved are the flags of submit; a member of the same name has a flag with the kind before it.
var reserved = []string{
	"server", "api-key", "output", "retry-for", "wait", "label", "validate-only", "idempotency-key", "file", "help", "version",
}

// flagName returns the name of the flag of a member.
func (k *kindCommand) flagName(m *member) string {
	name := strings.ReplaceAll(m.name, "_", "-")
	if slices.Contains(reserved, name) {
		return k.name + "-" + name
	}
	return name
}

// command returns a pointer to a struct with the command as its only field, as kong.Plugins requires.
func (k *kindCommand) command(summary string) any {
	fields := []reflect.StructField{{
		Name: "Labels", Type: reflect.TypeFor[map[string]string](),
		Tag: `name:"label" env:"-" placeholder:"KEY=VALUE" help:"A label of the job; may be given several times."`,
	}}
	for i := range k.members {
		m := &k.members[i]
		s := k.doc.resolve(m.schema)
		fields = append(fields, reflect.StructField{
			Name: "Member" + strconv.Itoa(i), Type: reflect.TypeFor[*string](),
			Tag: tag("name", k.flagName(m), "env", "-", "help", k.doc.help(s), "placeholder", k.doc.placeholder(s)),
		})
	}
	command := reflect.New(reflect.StructOf([]reflect.StructField{{
		Name: "Kind", Type: reflect.StructOf(fields), Tag: tag("cmd", "", "name", k.name, "help", summary+"."),
	}}))
	k.flags = command.Elem().Field(0)
	return command.Interface()
}

// tag returns a struct tag of keys and values.
func tag(pairs ...string) reflect.StructTag {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		b.WriteString(pairs[i] + ":" + strconv.Quote(pairs[i+1]) + " ")
	}
	return reflect.StructTag(b.String())
}

// help returns the description of a member, without Markdown's code marks.
func (d *document) help(s schema) string {
	text := s.Description
	if text == "" && s.Items != nil {
		text = d.resolve(*s.Items).Description
	}
	text, _, _ = strings.Cut(text, "\n\n")
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "`", "'")
}

// placeholder returns the form of a value.
func (d *document) placeholder(s schema) string {
	switch {
	case s.has("start", "stop"):
		return "START:STOP[:STEP]"
	case s.has("source", "name"):
		return "NAME|URL|OBJECT"
	case len(s.Enum) > 0:
		return strings.Join(s.Enum[:min(3, len(s.Enum))], "|")
	case d.accepts(s, "array"):
		return "LIST"
	case d.accepts(s, "object"):
		return "OBJECT"
	case d.accepts(s, "string"):
		return "TEXT"
	}
	return "VALUE"
}

// submission returns the JSON of a job.
func (k *kindCommand) submission() (json.RawMessage, error) {
	job := map[string]any{"kind": k.name}
	if labels := k.flags.Field(0); labels.Len() > 0 {
		job["labels"] = labels.Interface()
	}
	for i := range k.members {
		text, ok := reflect.TypeAssert[*string](k.flags.Field(i + 1))
		if !ok || text == nil {
			continue
		}
		value, err := k.doc.value(k.members[i].schema, *text)
		if err != nil {
			return nil, fmt.Errorf("%w: --%s: %w", errUsage, k.flagName(&k.members[i]), err)
		}
		job[k.members[i].name] = value
	}
	return json.Marshal(job)
}
