package job

import "errors"

// A Document is a named value that is durable, and that all nodes of a cluster share: a pause or a schedule. Names consist of
// letters, digits and ".", "_", "-", "/".
type Document struct {
	Name  string
	Value []byte
	// Revision changes with every update, and is not used again after a deletion; 0 for a missing document.
	Revision uint64
}

// ErrChanged is returned for an update of a document that has another revision.
var ErrChanged = errors.New("the document was changed meanwhile")
