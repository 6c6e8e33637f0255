package main

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// maxUnsent bounds the unsent bytes of a response in the kernel. Otherwise the send buffer grows to MiBs: a slow but
// steady client makes no visible progress for many seconds, and every stalled client holds a whole buffer.
const maxUnsent = 128 << 10

// limitUnsent sets the option on a listener; its connections inherit it.
func limitUnsent(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent)
	})
	if err != nil {
		return err
	}
	return failed
}
