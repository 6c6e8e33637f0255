package apitest

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A generator generates values of schemas.
type generator struct {
	*rand.Rand
	contract *contract
}

// of returns a value that a schema allows, except for mutually exclusive members that the schema does not express.
func (g *generator) of(schema map[string]any) *value {
	schema = g.flatten(schema)
	if examples, ok := schema["examples"].([]any); ok && !one(g.Rand, 4) {
		return valueOf(pick(g.Rand, examples))
	}
	if v, ok := schema["const"]; ok {
		return valueOf(v)
	}
	if list, ok := schema["enum"].([]any); ok {
		return valueOf(pick(g.Rand, list))
	}
	switch g.typeOf(schema) {
	case "object":
		return g.object(schema)
	case "array":
		array := &value{open: '['}
		items, _ := schema["items"].(map[string]any)
		for range g.count(schema) {
			array.sub = append(array.sub, g.of(items))
		}
		return array
	case "string":
		return text(g.text(schema))
	case "integer":
		return token(strconv.FormatInt(g.integer(schema), 10))
	case "number":
		return token(g.number(schema))
	case "boolean":
		return token(pick(g.Rand, []string{"true", "false"}))
	case "null":
		return token("null")
	}
	return g.anything(3)
}

// flatten merges referenced schemas, one branch of each alternative, and double negations.
func (g *generator) flatten(schema map[string]any) map[string]any {
	flat := make(map[string]any)
	add := func(s any) {
		sub, _ := s.(map[string]any)
		for name, v := range g.flatten(sub) {
			switch had := flat[name].(type) {
			case map[string]any:
				more, _ := v.(map[string]any)
				merged := maps.Clone(had)
				maps.Copy(merged, more)
				flat[name] = merged
			case []any:
				more, _ := v.([]any)
				flat[name] = append(slices.Clone(had), more...)
			default:
				flat[name] = v
			}
		}
	}
	own := maps.Clone(schema)
	if ref, ok := schema["$ref"].(string); ok {
		target, _ := g.contract.node(strings.TrimPrefix(ref, "#"))
		add(target)
		delete(own, "$ref")
	}
	if all, ok := schema["allOf"].([]any); ok {
		for _, s := range all {
			add(s)
		}
		delete(own, "allOf")
	}
	for _, alternative := range []string{"oneOf", "anyOf"} {
		if list, ok := schema[alternative].([]any); ok {
			add(pick(g.Rand, list))
			delete(own, alternative)
		}
	}
	if not, ok := schema["not"].(map[string]any); ok {
		if again, ok := not["not"]; ok {
			// Skip the members of the other branches, because the required members of branches are mutually exclusive.
			add(again)
			inner, _ := again.(map[string]any)
			others, _ := inner["oneOf"].([]any)
			flat["required"] = append(flat["required"].([]any), own["required"].([]any)...)
			delete(own, "required")
			properties := maps.Clone(own["properties"].(map[string]any))
			for _, o := range others {
				for name := range o.(map[string]any)["properties"].(map[string]any) {
					if !slices.Contains(flat["required"].([]any), any(name)) {
						delete(properties, name)
					}
				}
			}
			flat["properties"] = properties
			delete(own, "properties")
		}
		delete(own, "not")
	}
	for name, v := range own {
		if _, ok := flat[name]; !ok || name == "type" {
			flat[name] = v
		}
	}
	return flat
}

func (g *generator) typeOf(schema map[string]any) string {
	switch t := schema["type"].(type) {
	case string:
		return t
	case []any:
		return pick(g.Rand, t).(string)
	}
	if _, ok := schema["properties"]; ok {
		return "object"
	}
	return ""
}

func (g *generator) object(schema map[string]any) *value {
	object := &value{open: '{'}
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if slices.Contains(required, any(name)) || one(g.Rand, 6) {
			property, _ := properties[name].(map[string]any)
			object.set(name, g.of(property))
		}
	}
	if more, ok := schema["additionalProperties"].(map[string]any); ok {
		names, _ := schema["propertyNames"].(map[string]any)
		for i := range g.count(schema) {
			object.set(g.text(names)[:1]+strconv.Itoa(i), g.of(more))
		}
	}
	g.Shuffle(len(object.sub), func(i, j int) {
		object.sub[i], object.sub[j] = object.sub[j], object.sub[i]
		object.names[i], object.names[j] = object.names[j], object.names[i]
	})
	return object
}

// count returns a number of array elements or object members.
func (g *generator) count(schema map[string]any) int {
	n := pick(g.Rand, []int{0, 1, 1, 2, 2, 3, 5, 8})
	if least, ok := bound(schema, "minItems"); ok {
		n = max(n, int(least))
	}
	return n
}

func bound(schema map[string]any, name string) (int64, bool) {
	n, ok := schema[name].(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return i, err == nil
}

func (g *generator) integer(schema map[string]any) int64 {
	n := pick(g.Rand, []int64{0, 1, 1, 2, 2, 3, 5, 10, 100, 1000, -1, -2, 1<<31 - 1, 1 << 53, 1<<63 - 1})
	if least, ok := bound(schema, "minimum"); ok {
		n = max(n, least)
	}
	if most, ok := bound(schema, "maximum"); ok {
		n = min(n, most)
	}
	if schema["format"] == "int32" {
		n = min(n, 1<<31-1)
	}
	return n
}

func (g *generator) number(schema map[string]any) string {
	if least, ok := bound(schema, "minimum"); ok {
		return pick(g.Rand, []string{strconv.FormatInt(least, 10), strconv.FormatInt(least+1, 10), "0.001", "0.01", "1e-9", "2.5", "1e9"})
	}
	return pick(g.Rand, []string{
		"0", "-0.0", "1", "-1", "0.1", "2.5", "1e308", "-1.7976931348623157e308", "5e-324", "1e-400", "9007199254740993", "123456789",
		"1e22", "33000", "65504", "18446744073709551615", strconv.FormatFloat(g.NormFloat64()*1e6, 'g', -1, 64),
	})
}

// text returns a string with a schema's pattern, format or length.
func (g *generator) text(schema map[string]any) string {
	if pattern, ok := schema["pattern"].(string); ok {
		parsed, err := syntax.Parse(pattern, syntax.Perl)
		if err == nil {
			return g.match(parsed)
		}
	}
	switch schema["format"] {
	case "date-time":
		return time.Now().Add(time.Duration(g.IntN(2e9))).UTC().Format(time.RFC3339Nano)
	case "uuid":
		return "01890a5d-ac96-774b-bcce-b302099a8057"
	case "uri":
		return pick(g.Rand, []string{"s3://bucket/key.npy", "file:///none/a.npy", "https://example.com/"})
	}
	s := pick(g.Rand, []string{"a", "x", "readings", "auto", "16MiB", "1KiB", "sleep_batch", "squares", "ü€😀", "a b", strings.Repeat("n", 100)})
	if most, ok := bound(schema, "maxLength"); ok && int64(utf8.RuneCountInString(s)) > most {
		s = "a"
	}
	return s
}

// match returns a string that matches a regular expression.
func (g *generator) match(re *syntax.Regexp) string {
	repeat := func(least, most int) string {
		var b strings.Builder
		n := least
		if most > least {
			n += g.IntN(min(most-least, 4) + 1)
		}
		for range n {
			b.WriteString(g.match(re.Sub[0]))
		}
		return b.String()
	}
	switch re.Op {
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCharClass:
		i := 2 * g.IntN(len(re.Rune)/2)
		return string(re.Rune[i] + g.Int32N(re.Rune[i+1]-re.Rune[i]+1))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return "x"
	case syntax.OpStar:
		return repeat(0, 4)
	case syntax.OpPlus:
		return repeat(1, 5)
	case syntax.OpQuest:
		return repeat(0, 1)
	case syntax.OpRepeat:
		return repeat(re.Min, max(re.Min, re.Max))
	case syntax.OpAlternate:
		return g.match(pick(g.Rand, re.Sub))
	case syntax.OpConcat, syntax.OpCapture:
		var b strings.Builder
		for _, sub := range re.Sub {
			b.WriteString(g.match(sub))
		}
		return b.String()
	}
	return ""
}

// anything returns any JSON, mostly numbers and nested arrays of numbers.
func (g *generator) anything(depth int) *value {
	if depth > 0 && !one(g.Rand, 3) {
		array := &value{open: '['}
		n := g.IntN(4)
		element := g.anything(depth - 1)
		for range n {
			array.sub = append(array.sub, element.clone())
		}
		return array
	}
	return token(pick(g.Rand, []string{"0", "1", "2.5", "-7", "1e300", `"NaN"`, `"Infinity"`, `"-Infinity"`, "true", "9007199254740993", "65504"}))
}
