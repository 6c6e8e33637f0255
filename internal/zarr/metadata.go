package zarr

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/npy"
)

// Parse parses the metadata document of an array: zarr.json of version 3, or .zarray of version 2. Errors: ErrFormat.
func Parse(document []byte) (*Array, error) {
	if len(document) > MaxMetadata {
		return nil, formatf("metadata of %d bytes; at most %d are read", len(document), MaxMetadata)
	}
	var head struct {
		Format int64 `json:"zarr_format"`
	}
	if err := unmarshal(document, &head); err != nil {
		return nil, err
	}
	var a *Array
	var err error
	switch head.Format {
	case 2:
		a, err = parseV2(document)
	case 3:
		a, err = parseV3(document)
	default:
		return nil, formatf("zarr_format %d; 2 and 3 are read", head.Format)
	}
	if err == nil {
		err = a.check()
	}
	if err != nil {
		return nil, err
	}
	if err := a.finish(); err != nil {
		return nil, err
	}
	return a, nil
}

func unmarshal(raw []byte, v any) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return formatf("its metadata is not the JSON that the format requires: %.200v", err)
	}
	return nil
}

// finish sets what depends on the checked sizes.
func (a *Array) finish() error {
	if a.shard != nil {
		if err := a.shard.check(a); err != nil {
			return err
		}
	}
	order := a.chain.order
	switch {
	case order == nil || slices.IsSorted(order):
		a.chain.order = nil
	case slices.IsSortedFunc(order, func(x, y int) int { return y - x }):
		a.Header.Fortran, a.chain.order = true, nil
	}
	return nil
}

// named is a codec, a chunk grid or the like: its name and configuration.
type named struct {
	Name          string         `json:"name"`
	Configuration jsontext.Value `json:"configuration"`
}

// UnmarshalJSON accepts a bare name too.
func (n *named) UnmarshalJSON(raw []byte) error {
	if jsontext.Value(raw).Kind() == '"' {
		return json.Unmarshal(raw, &n.Name)
	}
	type plain named
	return json.Unmarshal(raw, (*plain)(n))
}

func (n *named) configure(v any) error {
	if n.Configuration == nil {
		return nil
	}
	if err := json.Unmarshal(n.Configuration, v); err != nil {
		return formatf("the configuration of %.40q is malformed: %.200v", n.Name, err)
	}
	return nil
}

func parseV2(document []byte) (*Array, error) {
	var m struct {
		Shape      []int64          `json:"shape"`
		Chunks     []int64          `json:"chunks"`
		DType      jsontext.Value   `json:"dtype"`
		Compressor jsontext.Value   `json:"compressor"`
		Filters    []jsontext.Value `json:"filters"`
		Fill       jsontext.Value   `json:"fill_value"`
		Order      string           `json:"order"`
		Separator  string           `json:"dimension_separator"`
	}
	if err := unmarshal(document, &m); err != nil {
		return nil, err
	}
	a := &Array{Header: npy.Header{Shape: m.Shape}, Chunk: m.Chunks, keys: keyEncoding{separator: m.Separator}}
	var err error
	if a.Header.Type, a.bigEndian, err = typeOfV2(m.DType); err != nil {
		return nil, err
	}
	switch m.Order {
	case "C":
	case "F":
		a.Header.Fortran = len(m.Shape) > 1
	default:
		return nil, formatf("order %.20q; C and F are read", m.Order)
	}
	switch m.Separator {
	case "":
		a.keys.separator = "."
	case ".", "/":
	default:
		return nil, formatf("dimension_separator %.20q; . and / are read", m.Separator)
	}
	if len(m.Filters) > 0 {
		return nil, formatf("filter %.40q; arrays without filters are read", idOf(m.Filters[0]))
	}
	if m.Compressor != nil && m.Compressor.Kind() != 'n' {
		id := idOf(m.Compressor)
		if a.chain.codecs, err = appendCodec(nil, named{Name: id, Configuration: m.Compressor}); err != nil {
			return nil, err
		}
	}
	if m.Fill != nil && m.Fill.Kind() != 'n' {
		a.HasFill = true
		if a.fill, err = parseFill(m.Fill, a.Header.Type); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// idOf returns the name of a codec of version 2.
func idOf(raw jsontext.Value) string {
	var c struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(raw, &c)
	return c.ID
}

// typeOfV2 parses a dtype such as "<f8".
func typeOfV2(raw jsontext.Value) (t npy.Type, bigEndian bool, err error) {
	var s string
	if raw.Kind() == '"' {
		_ = json.Unmarshal(raw, &s)
	}
	if len(s) == 3 && strings.ContainsRune("<>|", rune(s[0])) {
		t = npy.Type{Kind: s[1], Size: int(s[2]) - '0'}
	}
	if !slices.Contains(types, t) || s[0] == '|' && t.Size != 1 {
		return t, false, formatf("dtype %.60s; bool, int8-64, uint8-64 and float16-64 are read", raw)
	}
	return t, s[0] == '>', nil
}

// types are the element types, and typeNames their names in version 3.
var (
	types = []npy.Type{
		{Kind: 'b', Size: 1},
		{Kind: 'i', Size: 1},
		{Kind: 'i', Size: 2},
		{Kind: 'i', Size: 4},
		{Kind: 'i', Size: 8},
		{Kind: 'u', Size: 1},
		{Kind: 'u', Size: 2},
		{Kind: 'u', Size: 4},
		{Kind: 'u', Size: 8},
		{Kind: 'f', Size: 2},
		{Kind: 'f', Size: 4},
		{Kind: 'f', Size: 8},
	}
	typeNames = []string{
		"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
	}
)

func parseV3(document []byte) (*Array, error) {
	var m struct {
		Node         string                    `json:"node_type"`
		Shape        []int64                   `json:"shape"`
		DataType     jsontext.Value            `json:"data_type"`
		Grid         named                     `json:"chunk_grid"`
		Keys         named                     `json:"chunk_key_encoding"`
		Fill         jsontext.Value            `json:"fill_value"`
		Codecs       []named                   `json:"codecs"`
		Transformers []named                   `json:"storage_transformers"`
		Others       map[string]jsontext.Value `json:",embed"`
	}
	if err := unmarshal(document, &m); err != nil {
		return nil, err
	}
	if m.Node != "array" {
		return nil, formatf("node_type %.40q; an array is read", m.Node)
	}
	for name, v := range m.Others {
		var o struct {
			Must *bool `json:"must_understand"`
		}
		if slices.Contains([]string{"zarr_format", "attributes", "dimension_names"}, name) ||
			v.Kind() == '{' && json.Unmarshal(v, &o) == nil && o.Must != nil && !*o.Must {
			continue
		}
		return nil, formatf("an unknown metadata member %.40q", name)
	}
	if len(m.Transformers) > 0 {
		return nil, formatf("storage transformer %.40q", m.Transformers[0].Name)
	}
	var grid struct {
		Shape []int64 `json:"chunk_shape"`
	}
	if m.Grid.Name != "regular" {
		return nil, formatf("chunk grid %.40q; regular ones are read", m.Grid.Name)
	}
	if err := m.Grid.configure(&grid); err != nil {
		return nil, err
	}
	a := &Array{Header: npy.Header{Shape: m.Shape}, Chunk: grid.Shape, HasFill: true}
	var name string
	if m.DataType.Kind() == '"' {
		_ = json.Unmarshal(m.DataType, &name)
	}
	i := slices.Index(typeNames, name)
	if i < 0 {
		return nil, formatf("data_type %.60s; %s are read", m.DataType, strings.Join(typeNames, ", "))
	}
	a.Header.Type = types[i]
	var err error
	if a.keys, err = parseKeys(m.Keys); err != nil {
		return nil, err
	}
	if m.Fill == nil {
		return nil, formatf("no fill_value")
	}
	if a.fill, err = parseFill(m.Fill, a.Header.Type); err != nil {
		return nil, err
	}
	return a, a.parseCodecs(m.Codecs)
}

func parseKeys(n named) (keyEncoding, error) {
	k := keyEncoding{prefix: "c", separator: "/"}
	switch n.Name {
	case "default":
	case "v2":
		k = keyEncoding{separator: "."}
	default:
		return k, formatf("chunk key encoding %.40q; default and v2 are read", n.Name)
	}
	var c struct {
		Separator string `json:"separator"`
	}
	if err := n.configure(&c); err != nil {
		return k, err
	}
	switch c.Separator {
	case "":
	case ".", "/":
		k.separator = c.Separator
	default:
		return k, formatf("a key separator %.20q; . and / are read", c.Separator)
	}
	return k, nil
}

// ArraysOfGroup reports whether a document is that of a group: zarr.json of version 3, or consolidated metadata of version
// 2. It returns the paths of the arrays that its consolidated metadata names.
func ArraysOfGroup(document []byte) (arrays []string, group bool) {
	type consolidated struct {
		Metadata map[string]jsontext.Value `json:"metadata"`
	}
	var m struct {
		consolidated
		Node  string       `json:"node_type"`
		Inner consolidated `json:"consolidated_metadata"`
	}
	if json.Unmarshal(document, &m, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) != nil {
		return nil, false
	}
	for name, raw := range m.Inner.Metadata {
		var n struct {
			Node string `json:"node_type"`
		}
		if json.Unmarshal(raw, &n) == nil && n.Node == "array" {
			arrays = append(arrays, name)
		}
	}
	for name := range m.Metadata {
		if array, ok := strings.CutSuffix(name, "/"+MetadataV2); ok {
			arrays = append(arrays, array)
		}
	}
	return arrays, m.Node == "group" || m.Node == "" && m.Metadata != nil
}
