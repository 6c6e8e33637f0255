package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"gather/internal/fields"
	"gather/internal/job"
	"gather/internal/npy"
)

// npyResponse is the result of a job as an .npy file.
type npyResponse struct {
	x              *requestState
	job            *job.Job
	op             string // the statistic, or ""
	dtype          npy.Type
	name           string // dtype name
	shape          []int64
	floats, signed bool
	// fits is a dtype that can hold all integers of the result; "" if the result has none.
	fits string
}

// resultDetails is what npyResponse needs of the details of an array_sum, or of a statistic of an array_reduce.
type resultDetails struct {
	DType    string  `json:"dtype"`
	Shape    []int64 `json:"shape"`
	Overflow struct {
		DType string `json:"dtype"`
	} `json:"overflow"`
}

// writeNPY responds with the result of a job as an .npy file. It fails unless the job is a reduction of an array that
// succeeded, because only its result is an array. op is the statistic of an array_reduce; "" if it has only one.
func (x *requestState) writeNPY(j *job.Job, op string) error {
	if !j.State.Terminal() {
		return job.ErrNotFinished
	}
	var details struct {
		resultDetails
		Ops map[string]resultDetails `json:"ops"`
	}
	if j.State != job.Succeeded || j.Details == nil || json.Unmarshal(j.Details, &details) != nil || details.DType == "" && details.Ops == nil {
		return &problem{entry: notAcceptable, detail: "Only an array_sum or array_reduce that has succeeded has a result that is an array."}
	}
	names := slices.Sorted(maps.Keys(details.Ops))
	if op == "" && len(names) == 1 {
		op = names[0]
	}
	of, ok := details.Ops[op]
	switch {
	case details.Ops == nil && op != "":
		return malformed("parameter", "op", "is only for an array_reduce: omit it")
	case details.Ops == nil:
		of = details.resultDetails
	case !ok:
		return malformed("parameter", "op", "must be one of the job's statistics: "+strings.Join(names, ", "))
	}
	a := &npyResponse{x: x, job: j, op: op, shape: of.Shape, name: of.DType, fits: of.Overflow.DType}
	switch of.DType {
	case "float64", "float32", "float16":
		a.dtype, a.floats = npy.Type{Kind: 'f'}, true
	case "int64", "int32", "int16", "int8":
		a.dtype, a.signed = npy.Type{Kind: 'i'}, true
	case "bool":
		a.dtype = npy.Type{Kind: 'b', Size: 1}
		return a.respond()
	default:
		a.dtype = npy.Type{Kind: 'u'}
	}
	bits, err := strconv.Atoi(string(bytes.TrimLeft([]byte(of.DType), "abcdefghijklmnopqrstuvwxyz")))
	if err != nil {
		return fmt.Errorf("dtype of a result: %w", err)
	}
	a.dtype.Size = bits / 8
	return a.respond()
}

// member returns the value of the statistic from a result or the value of an item.
func (a *npyResponse) member(value []byte) []byte {
	if a.op == "" {
		return value
	}
	o, _ := fields.Read(value, new(fields.Errors))
	return o.Get(a.op)
}

// respond writes the file. It reads the elements twice, page by page: first to check them, so that an element that does
// not fit its dtype becomes an error instead of a truncated file, then to write them.
func (a *npyResponse) respond() error {
	if !a.x.srv.openStream() {
		return errStreams
	}
	defer a.x.srv.closeStream()
	want := npy.Header{Shape: a.shape}.Elements()
	got := int64(0)
	if err := a.elements(func(literal []byte) error {
		if _, err := a.encode(literal); err != nil {
			return a.unfit(got, literal)
		}
		got++
		return nil
	}); err != nil {
		return err
	}
	switch {
	case got < want:
		return job.ErrExpired // the items were deleted between two reads
	case got > want:
		return fmt.Errorf("a result of %d elements has shape %v: %w", got, a.shape, job.ErrCorrupt)
	}
	var header bytes.Buffer
	if _, err := npy.WriteHeader(&header, a.dtype, a.shape); err != nil {
		return err
	}
	h := a.x.Header()
	h["Content-Type"] = []string{mediaNPY}
	h["Cache-Control"] = privateNoCache
	a.x.vary(varyResults)
	a.x.srv.setAge(a.x)
	a.x.mode = modeStream
	a.x.set("Content-Length", strconv.FormatInt(int64(header.Len())+want*int64(a.dtype.Size), 10))
	a.x.set("Content-Disposition", `attachment; filename="`+a.job.ID.String()+`.npy"`)
	a.x.WriteHeader(http.StatusOK)
	if a.x.req.Method == http.MethodHead {
		_, err := a.x.Write(make([]byte, min(minEncoded, header.Len()+int(want)*a.dtype.Size))) // net/http omits the body
		return clientError(err)
	}
	return abortStream(a.write(header.Bytes()))
}

// write writes a header and the elements.
func (a *npyResponse) write(header []byte) error {
	buf := getBuffer()
	defer putBuffer(buf)
	*buf = append(*buf, header...)
	if err := a.elements(func(literal []byte) error {
		bits, err := a.encode(literal)
		if err != nil {
			return err
		}
		for i := range a.dtype.Size {
			*buf = append(*buf, byte(bits>>(8*i)))
		}
		if len(*buf) >= flushSize {
			err = a.x.srv.writeWithDeadline(a.x, *buf)
			*buf = (*buf)[:0]
		}
		return err
	}); err != nil {
		return err
	}
	return a.x.srv.writeWithDeadline(a.x, *buf)
}

// elements yields the literals of the result in C order, from the job if it has them, otherwise from its items.
func (a *npyResponse) elements(yield func(literal []byte) error) error {
	if string(a.job.Result) != "null" {
		for _, literal := range bytes.FieldsFunc(a.member(a.job.Result), func(r rune) bool { return r == '[' || r == ']' || r == ',' }) {
			if err := yield(literal); err != nil {
				return err
			}
		}
		return nil
	}
	after := int64(-1)
	for more := true; more; {
		items, again, err := a.x.readByIndex(a.job.ID, after, logPage)
		if err != nil {
			return err
		}
		more = again
		for i := range items {
			if err := yield(a.member(items[i].Value)); err != nil {
				return err
			}
			after = items[i].Index
		}
	}
	return nil
}

// encode returns the bits of a literal in the dtype of the result.
func (a *npyResponse) encode(literal []byte) (uint64, error) {
	text := string(bytes.Trim(literal, `"`))
	bits := 8 * a.dtype.Size
	var v uint64
	var err error
	switch {
	case a.dtype.Kind == 'b':
		if text == "true" {
			v = 1
		}
	case !a.floats && a.signed:
		var n int64
		n, err = strconv.ParseInt(text, 10, bits)
		v = uint64(n)
	case !a.floats:
		v, err = strconv.ParseUint(text, 10, bits)
	default:
		var f float64
		// Earlier versions stored the shortest literal of the narrower float, which is rounded to it once.
		if f, err = strconv.ParseFloat(text, max(bits, 32)); err == nil {
			switch bits {
			case 64:
				v = math.Float64bits(f)
			case 32:
				v = uint64(math.Float32bits(float32(f)))
			default:
				v = uint64(npy.Float16bits(f))
			}
		}
	}
	return v, err
}

// unfit returns the error for element i (in C order) that the dtype of the result cannot hold.
func (a *npyResponse) unfit(i int64, literal []byte) error {
	text := string(bytes.Trim(literal, `"`))
	wider := "a wider dtype"
	if a.fits != "" {
		wider = `"dtype": "` + a.fits + `"`
	}
	return &problem{entry: notAcceptable, detail: fmt.Sprintf(
		"Element %d of the result in C order, %s, does not fit %s. Submit the sum with %s, or read the result as JSON, which has no such limit.",
		i, fields.Clip(text), a.name, wider,
	)}
}
