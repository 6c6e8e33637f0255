// Package natstest starts real NATS servers with JetStream for tests: one, or three as a cluster whose streams may have
// three replicas.
//
// Each is a process, which can be stopped, killed and paused. They listen on loopback only, store files in the test's temporary
// directory, and keep their ports and files when they are started again. The program is of the version in go.mod and without the race
// detector. The test's cleanup kills the servers. Errors fail the test. The methods must be called by the test's goroutine.
package natstest
