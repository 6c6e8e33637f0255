package api

import (
	"bytes"

	"gather/internal/fields"
)

// maxMembers bounds the members of one object in a body, because the decoder keeps all names of an object until its
// end. No valid submission has nearly as many.
const maxMembers = 1000

// checkMembers returns a *fields.Errors for a body with an object of more than maxMembers members. It scans the body
// once in constant memory without validating it, and returns nil for nesting that the decoder rejects.
func checkMembers(data []byte) error {
	if bytes.Count(data, []byte{':'}) <= maxMembers {
		return nil
	}
	const maxDepth = 10_000 // of the decoder
	open := make([]int, 1, 16)
	most := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			if len(open) > maxDepth {
				return nil
			}
			open = append(open, 0)
		case '}', ']':
			if len(open) > 1 {
				open = open[:len(open)-1]
			}
		case ':':
			open[len(open)-1]++
			most = max(most, open[len(open)-1])
		}
	}
	if most <= maxMembers {
		return nil
	}
	return fields.Invalidf("", "an object has %d members; the limit is %d", most, maxMembers)
}
