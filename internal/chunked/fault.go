package chunked

import (
	"fmt"
	"strings"
)

// Fault is one thing wrong with a description.
type Fault struct {
	Pointer string // JSON pointer (RFC 6901) relative to what was parsed, "" for the whole of it
	Detail  string // what is wrong, and what to do
}

// Faults is everything wrong with a description, in the order it was found; empty means nothing is. At most maxFaults
// are kept: a million bad elements need not be a million lines.
type Faults []Fault //nolint:recvcheck // an error is a value; collecting grows it

const maxFaults = 64

// Error joins the faults in one line each.
func (f Faults) Error() string {
	var b strings.Builder
	for i, fault := range f {
		if i > 0 {
			b.WriteByte('\n')
		}
		if fault.Pointer != "" {
			b.WriteString(fault.Pointer)
			b.WriteString(": ")
		}
		b.WriteString(fault.Detail)
	}
	return b.String()
}

func (f *Faults) add(pointer, format string, args ...any) {
	if len(*f) < maxFaults {
		*f = append(*f, Fault{pointer, fmt.Sprintf(format, args...)})
	}
}

// full reports whether looking for more is in vain.
func (f *Faults) full() bool { return len(*f) >= maxFaults }

// escape makes a JSON pointer's reference token of a key.
func escape(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
