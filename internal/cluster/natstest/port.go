package natstest

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"testing"
)

// The ports are below the ranges for outgoing connections and for listeners on port 0, so that only another test of this
// kind can take one before a server starts or while it is stopped.
const firstPort, lastPort = 12_000, 32_000

// loopback returns the address of a port.
func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// freePorts returns ports without a listener. It holds all of them until the last one is found.
func freePorts(tb testing.TB, n int) []int {
	tb.Helper()
	var ports []int
	var l net.ListenConfig
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		held, err := l.Listen(context.Background(), "tcp", loopback(port))
		if err != nil {
			continue
		}
		defer func() { _ = held.Close() }() //nolint:revive // held until all are found
		if ports = append(ports, port); len(ports) == n {
			return ports
		}
	}
	tb.Fatalf("natstest: found only %d free ports of %d", len(ports), n)
	return nil
}

// write writes a file that only its owner may read.
func write(tb testing.TB, name, text string) {
	tb.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// must fails the test if any error is not nil.
func must(tb testing.TB, errs ...error) {
	tb.Helper()
	if err := errors.Join(errs...); err != nil {
		tb.Fatalf("natstest: %v", err)
	}
}
