package api

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/fields"
)

// A decoder reads one JSON text and rejects duplicate names and invalid UTF-8.
type decoder struct {
	*jsontext.Decoder
	src  bytes.Buffer
	data []byte
}

var decoders = sync.Pool{New: func() any {
	return &decoder{Decoder: jsontext.NewDecoder(new(bytes.Buffer))}
}}

// newDecoder returns a decoder of data, which it does not modify. The caller must call free.
func newDecoder(data []byte) *decoder {
	d := decoders.Get().(*decoder)
	d.data = data
	d.src = *bytes.NewBuffer(data)
	d.Reset(&d.src)
	return d
}

func (d *decoder) free() {
	d.data, d.src = nil, bytes.Buffer{}
	d.Reset(&d.src)
	decoders.Put(d)
}

// end returns an error when anything but white space follows.
func (d *decoder) end() error {
	if _, err := d.ReadToken(); err == nil {
		return d.syntaxError(errors.New("unexpected data after the end of the JSON text"))
	} else if !errors.Is(err, io.EOF) {
		return d.syntaxError(err)
	}
	return nil
}

// syntaxError returns the problem for invalid JSON, with the position of the error; nil for nil.
func (d *decoder) syntaxError(err error) error {
	if err == nil {
		return nil
	}
	pointer, offset, text := "", d.InputOffset(), err.Error()
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		offset, text = int64(len(d.data)), "unexpected end of the JSON text"
	case errors.As(err, &syntactic):
		pointer, offset, text = string(syntactic.JSONPointer), syntactic.ByteOffset, syntactic.Err.Error()
	}
	text = strings.TrimPrefix(text, "jsontext: ")
	if name := bareNumber(d.data, offset); name != "" {
		text = name + " is not a JSON number: write it in quotes, as \"" + name + "\""
	}
	before := d.data[:min(offset, int64(len(d.data)))]
	line := bytes.Count(before, []byte{'\n'}) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n')
	detail := text + ", at line " + strconv.Itoa(line) + ", column " + strconv.Itoa(column)
	return &problem{
		entry: malformedRequest, detail: "The request body is not valid JSON.",
		errors: []fieldError{{"pointer", fields.Clip(pointer), fields.Clip(detail)}},
	}
}

// bareNumber returns the special number that stands without quotes in data at offset, as Python's json.dumps writes it,
// or "". For -Infinity the decoder may report the offset one byte further.
func bareNumber(data []byte, offset int64) string {
	at := min(int(offset), len(data))
	for _, name := range []string{"NaN", "Infinity", "-Infinity"} {
		if bytes.HasPrefix(data[at:], []byte(name)) {
			if name == "Infinity" && at > 0 && data[at-1] == '-' {
				return "-Infinity"
			}
			return name
		}
	}
	return ""
}
