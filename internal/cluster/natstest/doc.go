// Package natstest starts real NATS servers with JetStream for tests: one, or three as a cluster whose streams may have
// three replicas.
//
// Start runs them in the process of the test, StartProcesses as processes of their own, which can be killed and paused.
// Both listen on loopback only, store in files below the test's temporary directory, and keep their ports and files when
// one of them is stopped and started again. They are ended, and waited for, by the test's cleanup; those in the process
// leave no goroutine behind. What goes wrong fails the test. The methods are for the test's goroutine.
package natstest
