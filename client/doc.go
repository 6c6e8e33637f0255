// Package client is a client of gather's HTTP API, as openapi.yaml specifies it.
//
// Every call is retried while the server cannot be reached, restarts, is full or enforces a rate (503, 429), with the pause that it
// requests; Config.RetryFor bounds that. Submissions have an Idempotency-Key, so that a retry creates no second job.
// Streams of events and results, and downloads, resume where they were cut.
//
// A response with a status of 4xx or 5xx is an *Error, with the problem object of the response:
//
//	if e, ok := errors.AsType[*client.Error](err); ok && e.Status == http.StatusUnprocessableEntity {
//		for _, field := range e.Errors { ... field.Pointer, field.Detail ... }
//	}
//
// Values and results are JSON (json.RawMessage), because integers may have any size.
//
// types.gen.go is generated from openapi.yaml by go generate in internal/api.
package client
