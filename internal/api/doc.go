// Package api implements the HTTP API that openapi.yaml specifies.
//
// # Guarantees
//
//   - Requests are decoded strictly, and an error lists everything that is wrong, each with its JSON pointer.
//   - A submission gets 202 only after Executor.Submit returned: its jobs are durable.
//   - Every response is read from the journal, so a crash cannot undo what a client has seen.
//   - Every error is application/problem+json, including panics, unknown paths, wrong methods and, through Listener,
//     requests that net/http cannot parse. A 500 has no internals; the log has them under the same request id.
//   - A tenant sees only its own jobs; another tenant's job is not found.
//   - Memory is bounded: bodies, concurrent bodies, pages and open streams. A client that reads too slowly is disconnected
//     and can resume.
//
// # Goroutines
//
// The package starts none. A waiting or streaming client uses the goroutine of its request, which ends when the client
// disconnects, when the stream is complete, or soon after Config.Stopping is done.
//
// # Failure
//
// One table, in problem.go, maps the errors of other packages to statuses; an unlisted error is a 500. An error in the
// middle of a stream aborts the connection, so that the client can distinguish it from the end.
package api

//go:generate go -C gen tool oapi-codegen -config config.yaml -templates templates ../../../openapi.yaml
//go:generate go -C gen tool gofumpt -w ../api.gen.go

//go:generate go -C gen tool oapi-codegen -config client.yaml -templates templates ../../../openapi.yaml
//go:generate go -C gen tool gofumpt -w ../../../client/types.gen.go
