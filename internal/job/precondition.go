package job

import "slices"

// A Precondition holds the If-Match and the If-None-Match of a request (RFC 9110, section 13). The zero value always holds.
type Precondition struct {
	// Match lists the entity tags of If-Match without quotes: the resource must have one of them, and "*" matches any. Weak
	// tags are left out, because they never match. Nil without If-Match.
	Match []string
	// NoneMatch lists the entity tags of If-None-Match: the resource must have none of them. Nil without If-None-Match.
	NoneMatch []string
}

// Check returns ErrPrecondition unless the condition holds for a resource with this entity tag; "" if the resource does not
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
