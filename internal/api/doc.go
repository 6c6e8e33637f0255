// Package api is the HTTP contract of gather: openapi.yaml, carried out.
//
// # Guarantees
//
//   - Requests are decoded strictly, and what is wrong with one is told at once, each fault with its JSON pointer.
//   - A submission is answered 202 only after Executor.Submit returned: its jobs are durable.
//   - Everything shown was read from the journal, so nothing is shown that a crash could take back.
//   - Every error is application/problem+json, panics, unknown paths and wrong methods included; through Listener, requests
//     that net/http cannot parse too. A 500 says nothing of the inside; the log does, under the same request id.
//   - A tenant sees only its own jobs: another's is not found.
//   - Memory is bounded: bodies, the bodies read at the same time, pages, and the streams that are open. A reader that
//     does not keep up is cut off, and can resume.
//
// # Goroutines
//
// The package starts none. A waiting or streaming client costs its request's own goroutine, which ends when the client
// goes, when there is nothing more to say, or soon after Config.Stopping is done.
//
// # Failure
//
// Errors of the other rooms are mapped to statuses by one table, in problem.go; an error that is not in it is a 500. What
// fails in the middle of a stream cuts the connection, so that the client can tell it from an end.
package api

//go:generate go -C gen tool oapi-codegen -config config.yaml -templates templates ../../../openapi.yaml
//go:generate go -C gen tool gofumpt -w ../api.gen.go
