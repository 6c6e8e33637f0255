package api

import "time"

// minRate is the lowest rate, in bytes per second, at which a client must send an upload and read an answer. It is a
// mean over a window of time that the server waits for the client; the time of the server itself does not count.
const minRate = 8 << 10

// A pace measures a client against minRate. A client that stalls, or is slower in a window, is cut off.
type pace struct {
	window time.Duration
	spent  time.Duration
	bytes  int64
}

// left returns how much longer the client may take for the bytes of this window.
func (p *pace) left() time.Duration { return p.window - p.spent }

// add records bytes and the time that was spent on waiting for them.
func (p *pace) add(n int, took time.Duration) {
	p.spent += took
	p.bytes += int64(n)
	if float64(p.bytes) >= minRate*p.window.Seconds() {
		p.spent, p.bytes = 0, 0
	}
}
