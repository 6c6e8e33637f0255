package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// ErrNotAllowed is returned for a URL whose host and port the policy does not have.
var ErrNotAllowed = errors.New("the operator of the server does not allow requests to this host")

// ErrNoSecret is returned for a secret that does not exist, or that cannot be a header value.
var ErrNoSecret = errors.New("no such secret")

var (
	errAddress   = errors.New("address refused")
	errTimeout   = errors.New("timeout")
	errRedirects = errors.New("redirect not followed")
)

// A Class is the reason for which a request has no response, a label of the metrics.
type Class string

// The classes.
const (
	DNS        Class = "dns"         // the host name cannot be resolved
	Connect    Class = "connect"     // no connection
	TLS        Class = "tls"         // the TLS handshake failed
	Timeout    Class = "timeout"     // no complete response in time
	Connection Class = "connection"  // the connection broke before the response was complete
	Refused    Class = "refused"     // the host or its address is not allowed
	Redirect   Class = "redirect"    // a redirect is not followed
	BadRequest Class = "bad_request" // the request cannot be made, such as of a missing secret
	Cancelled  Class = "cancelled"   // the job ended first
)

// classes lists all classes.
var classes = []Class{DNS, Connect, TLS, Timeout, Connection, Refused, Redirect, BadRequest, Cancelled}

// transient reports whether another attempt may succeed.
func (c Class) transient() bool {
	return c == DNS || c == Connect || c == Timeout || c == Connection
}

// describe returns the class of an error of an attempt, and a text for clients, without addresses of the server's network.
func describe(ctx context.Context, err error) (Class, string) {
	switch {
	case errors.Is(context.Cause(ctx), errTimeout):
		return Timeout, "no complete response within the request timeout"
	case ctx.Err() != nil:
		return Cancelled, "cancelled"
	case errors.Is(err, ErrNotAllowed):
		return Refused, err.Error()
	case errors.Is(err, errAddress):
		return Refused, "the address of the host is not public, and the operator of the server does not allow it"
	case errors.Is(err, errRedirects):
		return Redirect, err.Error()
	case errors.Is(err, ErrNoSecret):
		return BadRequest, err.Error()
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return DNS, "the host name cannot be resolved"
	}
	if isTLS(err) {
		return TLS, "TLS: " + clip(err.Error())
	}
	op, isOp := errors.AsType[*net.OpError](err)
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
		if isOp && op.Op == "dial" {
			return Connect, "no connection: timeout"
		}
		return Timeout, "timeout"
	}
	reason := "the connection was closed before the response was complete"
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		reason = errno.Error()
	} else if !isOp && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		reason = clip(err.Error())
	}
	if isOp && op.Op == "dial" {
		return Connect, "no connection: " + reason
	}
	return Connection, reason
}

func isTLS(err error) bool {
	var (
		header    tls.RecordHeaderError
		alert     tls.AlertError
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
	)
	return errors.As(err, &header) || errors.As(err, &alert) || errors.As(err, &verify) || errors.As(err, &authority) || errors.As(err, &host)
}

// maxText bounds the texts of errors, which servers can choose.
const maxText = 200

func clip(s string) string {
	if len(s) > maxText {
		return fmt.Sprintf("%.*s...", maxText, s)
	}
	return s
}
