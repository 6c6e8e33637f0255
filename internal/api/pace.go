package api

import "time"

// minRate is the lowest rate, in bytes per second, at which a client must send an upload or read a response. It is an
// average over the time that the server waits for the client; time spent in the server does not count.
const minRate = 8 << 10

// A pace measures a client's rate against minRate. A client that stalls, or is slower in one window, is disconnected.
type pace struct {
	window time.Duration
	spent  time.Duration
	bytes  int64
}

// left returns how long the client may still take for the bytes of this window.
func (p *pace) left() time.Duration { return p.window - p.spent }

// add records n bytes and the time spent waiting for them.
func (p *pace) add(n int, took time.Duration) {
	p.spent += took
	p.bytes += int64(n)
	if float64(p.bytes) >= minRate*p.window.Seconds() {
		p.spent, p.bytes = 0, 0
	}
}
