// Package natstest starts real NATS servers with JetStream for tests: one, or three as a cluster whose streams may have
// three replicas.
//
// Start runs them in the process of the test, StartProcesses as processes that can be killed and paused. Both listen on
// loopback only, store files in the test's temporary directory, and keep their ports and files when a server is stopped and
// started again. The test's cleanup stops them, and no goroutine is left. Errors fail the test. The methods must be called by
// the test's goroutine.
package natstest
