package main

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// Connections of the API listener hold few unsent bytes.
func TestLimitUnsent(t *testing.T) {
	l, err := listen(t.Context(), "listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var d net.Dialer
	client, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var got int
	var failed error
	if err := raw.Control(func(fd uintptr) {
		got, failed = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT)
	}); err != nil || failed != nil || got != maxUnsent {
		t.Errorf("TCP_NOTSENT_LOWAT: got %d (%v, %v), want %d", got, err, failed, maxUnsent)
	}
}
