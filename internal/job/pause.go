package job

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// A PauseScope is the property of jobs that a pause selects by.
type PauseScope string

// The scopes of pauses.
const (
	PauseKind     PauseScope = "kind"
	PausePriority PauseScope = "priority"
	PauseTenant   PauseScope = "tenant"
)

// PauseScopes lists all scopes.
func PauseScopes() []PauseScope { return []PauseScope{PauseKind, PausePriority, PauseTenant} }

// A Pause keeps the jobs of a kind, a priority or a tenant from starting. Jobs that have started continue.
type Pause struct {
	Scope PauseScope
	// Name is the kind, the priority or the tenant.
	Name string
	// Reason is the operator's note; "" for none.
	Reason string
	At     time.Time
}

// PauseDocuments is the prefix of the names of the documents of pauses.
const PauseDocuments = "pause/"

// DocumentName returns the name of the pause's document.
func (p *Pause) DocumentName() string { return PauseDocuments + string(p.Scope) + "/" + p.Name }

// pauseFormat is the version of the encoding of pauses.
const pauseFormat = 1

type encodedPause struct {
	Format int        `json:"format"`
	Scope  PauseScope `json:"scope"`
	Name   string     `json:"name"`
	Reason string     `json:"reason,omitempty"`
	At     time.Time  `json:"at"`
}

// Encode returns the value of the pause's document.
func (p *Pause) Encode() []byte {
	b, err := json.Marshal(encodedPause{pauseFormat, p.Scope, p.Name, p.Reason, p.At.UTC()})
	if err != nil {
		panic(err) // not possible for strings and a time
	}
	return b
}

// DecodePause decodes the value of a document. It returns ErrVersion for a later format, and ErrCorrupt for any other value that
// Encode cannot have returned.
func DecodePause(data []byte) (Pause, error) {
	var e encodedPause
	if err := decodeDocument(data, pauseFormat, &e); err != nil {
		return Pause{}, fmt.Errorf("pause: %w", err)
	}
	if !slices.Contains(PauseScopes(), e.Scope) || e.Name == "" {
		return Pause{}, fmt.Errorf("pause: %w: scope %q, name %q", ErrCorrupt, e.Scope, e.Name)
	}
	return Pause{e.Scope, e.Name, e.Reason, e.At.UTC()}, nil
}

// decodeDocument decodes a JSON object with a member "format", the version of its encoding.
func decodeDocument(data []byte, newest int, v any) error {
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if head.Format > newest {
		return fmt.Errorf("%w: format %d", ErrVersion, head.Format)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if head.Format < 1 {
		return fmt.Errorf("%w: format %d", ErrCorrupt, head.Format)
	}
	return nil
}

// Pauses is a set of pauses. A nil Pauses holds no job.
type Pauses map[PauseScope]map[string]bool

// NewPauses returns the set of pauses.
func NewPauses(list []Pause) Pauses {
	set := make(Pauses)
	for i := range list {
		p := &list[i]
		if set[p.Scope] == nil {
			set[p.Scope] = make(map[string]bool)
		}
		set[p.Scope][p.Name] = true
	}
	return set
}

// Holds reports whether a job must not start.
func (s Pauses) Holds(j *Job) bool {
	return len(s) > 0 && (s[PauseKind][j.Kind] || s[PausePriority][j.Priority.String()] || s[PauseTenant][j.Tenant])
}
