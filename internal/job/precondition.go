package job

import "slices"

// Precondition is the If-Match and the If-None-Match of a request (RFC 9110, section 13). The zero value always holds.
type Precondition struct {
	// Match are the entity tags of If-Match, of which the resource must have one, without quotes; "*" is any. Weak ones are
	// left out, because they never match. Nil: there is no If-Match.
	Match []string
	// NoneMatch are the entity tags of If-None-Match, of which the resource must have none. Nil: there is none.
	NoneMatch []string
}

// Check returns ErrPrecondition unless the condition holds for a resource with this entity tag; "" is one that does not
// exist.
func (p Precondition) Check(tag string) error {
	has := func(tags []string) bool {
		return tag != "" && (slices.Contains(tags, "*") || slices.Contains(tags, tag))
	}
	if p.Match != nil && !has(p.Match) || has(p.NoneMatch) {
		return ErrPrecondition
	}
	return nil
}
