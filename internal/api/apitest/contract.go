package apitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"gather/internal/number"
)

// A contract is an OpenAPI 3.1 document with its schemas compiled.
type contract struct {
	doc        any
	compiler   *jsonschema.Compiler
	operations []*operation
	// events are the schemas of event data by event name.
	events map[string]*jsonschema.Schema
	// problem is the schema of every error.
	problem *jsonschema.Schema
}

// An operation is one method of one path of the contract.
type operation struct {
	id, method, path string
	// open is true for operations that need no API key.
	open      bool
	params    []param
	bodies    []body
	responses map[int]responseSpec
}

// A param is a parameter of an operation.
type param struct {
	name string
	// in is path, query or header.
	in       string
	schema   map[string]any
	compiled *jsonschema.Schema
}

// A body is one media type of a request body.
type body struct {
	media    string
	schema   map[string]any
	compiled *jsonschema.Schema
	examples []any
}

// A responseSpec is one status of an operation: the schemas of its documented headers and of its media types.
type responseSpec struct {
	headers, content map[string]*jsonschema.Schema
}

const location = "https://gather.invalid/openapi.json"

func loadContract(spec []byte) (*contract, error) {
	var parsed any
	if err := yaml.Unmarshal(spec, &parsed); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	text, err := json.Marshal(parsed)
	if err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	c := &contract{compiler: jsonschema.NewCompiler()}
	if c.doc, err = jsonschema.UnmarshalJSON(bytes.NewReader(text)); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	c.compiler.AssertFormat()
	for name, bits := range map[string]int{"int32": 32, "int64": 64, "uint64": 64} {
		c.compiler.RegisterFormat(&jsonschema.Format{Name: name, Validate: integerFormat(bits, name[0] == 'u')})
	}
	if err := c.compiler.AddResource(location, c.doc); err != nil {
		return nil, err
	}
	paths, _ := c.node("/paths")
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		item, at := c.node(member("/paths", path))
		for _, method := range []string{"get", "put", "post", "delete"} {
			if _, ok := item[method]; !ok {
				continue
			}
			op, err := c.operation(path, method, at)
			if err != nil {
				return nil, fmt.Errorf("openapi.yaml: %s %s: %w", method, path, err)
			}
			c.operations = append(c.operations, op)
		}
	}
	c.events = make(map[string]*jsonschema.Schema)
	for event, schema := range map[string]string{
		"state": "StateChange", "dependency": "DependencySucceeded", "result": "Item", "progress": "Progress", "end": "Job",
		"job": "Job", "group": "Group", "finished": "Group",
	} {
		if c.events[event], err = c.compile("/components/schemas/" + schema); err != nil {
			return nil, err
		}
	}
	if c.problem, err = c.compile("/components/schemas/Problem"); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *contract) operation(path, method, item string) (*operation, error) {
	node, at := c.node(item + "/" + method)
	op := &operation{method: strings.ToUpper(method), path: path, responses: make(map[int]responseSpec)}
	op.id, _ = node["operationId"].(string)
	if security, ok := node["security"].([]any); ok {
		op.open = len(security) == 0
	}
	for _, list := range []string{item + "/parameters", at + "/parameters"} {
		all, _ := c.lookup(list).([]any)
		for i := range all {
			p, where := c.node(list + "/" + strconv.Itoa(i))
			parameter := param{name: p["name"].(string), in: p["in"].(string)}
			parameter.schema, _ = c.node(where + "/schema")
			var err error
			if parameter.compiled, err = c.compile(where + "/schema"); err != nil {
				return nil, err
			}
			op.params = append(op.params, parameter)
		}
	}
	if _, ok := node["requestBody"]; ok {
		request, where := c.node(at + "/requestBody")
		content, _ := request["content"].(map[string]any)
		for _, media := range slices.Sorted(maps.Keys(content)) {
			b := body{media: media}
			where := member(where+"/content", media)
			b.schema, _ = c.node(where + "/schema")
			var err error
			if b.compiled, err = c.compile(where + "/schema"); err != nil {
				return nil, err
			}
			examples, _ := content[media].(map[string]any)["examples"].(map[string]any)
			for _, name := range slices.Sorted(maps.Keys(examples)) {
				b.examples = append(b.examples, examples[name].(map[string]any)["value"])
			}
			op.bodies = append(op.bodies, b)
		}
	}
	responses, _ := node["responses"].(map[string]any)
	for status := range responses {
		code, err := strconv.Atoi(status)
		if err != nil {
			return nil, fmt.Errorf("status %q: %w", status, err)
		}
		_, where := c.node(at + "/responses/" + status)
		if op.responses[code], err = c.response(where); err != nil {
			return nil, err
		}
	}
	return op, nil
}

func (c *contract) response(at string) (responseSpec, error) {
	r := responseSpec{headers: make(map[string]*jsonschema.Schema), content: make(map[string]*jsonschema.Schema)}
	node, _ := c.node(at)
	for list, schemas := range map[string]map[string]*jsonschema.Schema{"headers": r.headers, "content": r.content} {
		entries, _ := node[list].(map[string]any)
		for name := range entries {
			_, where := c.node(member(at+"/"+list, name))
			schema, err := c.compile(where + "/schema")
			if err != nil {
				return r, err
			}
			schemas[name] = schema
		}
	}
	return r, nil
}

// node returns the object at a JSON pointer, and the pointer of the object it references, if any.
func (c *contract) node(pointer string) (map[string]any, string) {
	object, _ := c.lookup(pointer).(map[string]any)
	if ref, ok := object["$ref"].(string); ok && len(object) == 1 {
		return c.node(strings.TrimPrefix(ref, "#"))
	}
	return object, pointer
}

func (c *contract) lookup(pointer string) any {
	at := c.doc
	for token := range jsontext.Pointer(pointer).Tokens() {
		switch v := at.(type) {
		case map[string]any:
			at = v[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i >= len(v) {
				return nil
			}
			at = v[i]
		default:
			return nil
		}
	}
	return at
}

func (c *contract) compile(pointer string) (*jsonschema.Schema, error) {
	_, pointer = c.node(pointer)
	return c.compiler.Compile(location + "#" + (&url.URL{Fragment: pointer}).EscapedFragment())
}

// member returns the pointer of a member.
func member(pointer, name string) string { return string(jsontext.Pointer(pointer).AppendToken(name)) }

// integerFormat checks that a number is in the range of an integer type.
func integerFormat(bits int, unsigned bool) func(any) error {
	return func(v any) error {
		literal, ok := v.(json.Number)
		if !ok {
			return nil
		}
		text, ok := number.Integer([]byte(literal))
		if !ok {
			return nil // type: integer reports it
		}
		_, err := strconv.ParseInt(string(text), 10, bits)
		if unsigned {
			_, err = strconv.ParseUint(string(text), 10, bits)
		}
		return err
	}
}

// documents returns the schema of a body by status and media type; ok is false when the contract has none.
func (op *operation) documents(status int, media string) (schema *jsonschema.Schema, ok bool) {
	r, known := op.responses[status]
	if !known {
		return nil, false
	}
	if len(r.content) == 0 {
		return nil, media == ""
	}
	if schema, ok = r.content[media]; !ok {
		schema, ok = r.content["*/*"]
	}
	return schema, ok
}
