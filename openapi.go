// Package gather holds the documents that the service serves about itself.
package gather

import _ "embed"

// Spec is the HTTP contract, openapi.yaml.
//
//go:embed openapi.yaml
var Spec []byte

// Problems documents every problem type: one section each, headed by the type's name.
//
//go:embed docs/problems.md
var Problems string
