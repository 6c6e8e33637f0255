// Package cluster is the durable record of several nodes, and the work that they share, on NATS JetStream.
package cluster
