package apitest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"gather/internal/npy"
)

// payload sets the body of a request: valid, mutated, or for an operation without a body.
func (w *worker) payload(q *request) {
	if len(q.op.bodies) == 0 {
		if one(w.g.Rand, 25) {
			q.framing, q.body = pick(w.g.Rand, []framing{byLength, chunked}), []byte(w.g.long(w.size()))
		}
		return
	}
	b := pick(w.g.Rand, q.op.bodies)
	media := b.media
	if b.schema["format"] == "binary" {
		q.body = w.file()
		if one(w.g.Rand, 4) {
			sum := sha256.Sum256(q.body)
			q.add("Content-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
		}
	} else {
		q.body = w.json(b)
	}
	if one(w.g.Rand, 25) {
		media = pick(w.g.Rand, []string{
			"", "text/plain", "application/json; charset=utf-8", "application/json;charset=latin1", "Application/JSON", "application/json, application/json",
			"application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json;", ";", "*/*", "application/problem+json", strings.Repeat("a", 3000),
		})
	}
	if media != "" {
		q.add("Content-Type", media)
	}
	if one(w.g.Rand, 40) {
		q.add("Content-Encoding", pick(w.g.Rand, []string{"gzip", "identity", "", "br, gzip"}))
	}
	if one(w.g.Rand, 40) {
		q.add("Expect", "100-continue")
	}
	q.framing = byLength
	if one(w.g.Rand, 5) {
		q.framing = chunked
	}
	if one(w.g.Rand, 60) {
		q.framing, q.body = unframed, nil
	}
}

// size returns the length of a long part of a request, rarely as large as the server accepts, or larger.
func (w *worker) size() int {
	if one(w.g.Rand, 10) {
		return int(w.config.MaxBody) - 200 + w.g.IntN(400)
	}
	return 1 << w.g.IntN(16)
}

func (w *worker) json(b body) []byte {
	v := w.g.of(b.schema)
	if len(b.examples) > 0 && one(w.g.Rand, 3) {
		v = valueOf(pick(w.g.Rand, b.examples))
	}
	switch n := w.g.IntN(40); {
	case n < 14:
		return v.append(nil)
	case n < 33:
		return w.g.mutate(v).append(nil)
	case n < 37:
		return w.g.corrupt(v.append(nil))
	case n < 39:
		return w.g.corrupt(w.g.mutate(v).append(nil))
	}
	return w.g.enlarge(v, w.size())
}

// file returns an .npy file, valid or nearly so.
func (w *worker) file() []byte {
	t := pick(w.g.Rand, []npy.Type{{Kind: 'f', Size: 8}, {Kind: 'f', Size: 4}, {Kind: 'f', Size: 2}, {Kind: 'i', Size: 1}, {Kind: 'i', Size: 8}, {Kind: 'u', Size: 4}, {Kind: 'b', Size: 1}})
	shape := pick(w.g.Rand, [][]int64{{}, {0}, {1}, {7}, {100}, {3, 4}, {2, 0, 5}, {10, 10, 10}, {1, 1, 1, 1, 1, 1, 1, 1, 1}})
	var b bytes.Buffer
	if _, err := npy.WriteHeader(&b, t, shape); err != nil {
		return nil
	}
	n := int64(t.Size)
	for _, length := range shape {
		n *= length
	}
	data := make([]byte, n)
	if t.Kind != 'b' {
		for i := range data {
			data[i] = byte(w.g.Uint32())
		}
	}
	file := append(b.Bytes(), data...)
	switch w.g.IntN(8) {
	case 0: // the header
		file[w.g.IntN(min(len(file), 128))] = byte(w.g.Uint32())
	case 1:
		file = file[:w.g.IntN(len(file))]
	case 2:
		file = append(file, make([]byte, w.size())...)
	case 3:
		old := pick(w.g.Rand, []string{"(", "<", "False", "descr", "f8", "0", "1", ")"})
		file = bytes.Replace(file, []byte(old), []byte(pick(w.g.Rand, []string{">", "True", "O8", "(((", "-1", "99999999999", "9223372036854775807, 9223372036854775807", "#", "\x00", "c16"})), 1)
	}
	return file
}
