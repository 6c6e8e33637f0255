package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gather/internal/job"
	"gather/internal/outbound"
)

// A Secret signs requests.
type Secret []byte

// The form of secrets: a prefix, and 24 to 64 bytes in base64.
const (
	secretPrefix = "whsec_"
	minSecret    = 24
	maxSecret    = 64
)

// ParseSecret parses a secret such as "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw". The error does not have it.
func ParseSecret(text string) (Secret, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, secretPrefix))
	if err != nil || !strings.HasPrefix(text, secretPrefix) || len(key) < minSecret || len(key) > maxSecret {
		return nil, errors.New("must be whsec_ and 24 to 64 random bytes in base64, as of echo whsec_$(openssl rand -base64 32)")
	}
	return key, nil
}

// sign returns the signature of a message.
func (s Secret) sign(id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, s)
	_, _ = mac.Write(strconv.AppendInt([]byte(id+"."), at.Unix(), 10))
	_, _ = mac.Write([]byte("."))
	_, _ = mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Bounds of an attempt.
const (
	attemptTimeout = 15 * time.Second
	// maxResponse is how much of a response is read, so that its connection can be used again.
	maxResponse = 4 << 10
)

// A message is one attempt of a delivery. It implements outbound.Source.
type message struct {
	id       string
	job      *job.Job
	url      string
	body     []byte
	secrets  []Secret
	receiver uint64
	at       time.Time

	outcome *outbound.Outcome
}

// payload returns the body of a delivery: the same bytes for all of its attempts.
func payload(j *job.Job, data []byte) []byte {
	b := append(make([]byte, 0, len(data)+96), `{"type":"`...)
	b = append(append(b, job.EventName(j.State)...), `","timestamp":"`...)
	b = append(j.FinishedAt.AppendFormat(b, time.RFC3339Nano), `","data":`...)
	return append(append(b, data...), '}')
}

// Request implements outbound.Source.
func (m *message) Request(int64) (*outbound.Request, error) {
	u, err := outbound.ParseURL(m.url)
	if err != nil {
		return nil, err
	}
	header := []outbound.Header{
		{Name: "Content-Type", Value: "application/json"},
		{Name: "Webhook-Id", Value: m.id},
		{Name: "Webhook-Timestamp", Value: strconv.FormatInt(m.at.Unix(), 10)},
	}
	signatures := make([]string, len(m.secrets))
	for i, s := range m.secrets {
		signatures[i] = s.sign(m.id, m.at, m.body)
	}
	if len(signatures) > 0 {
		header = append(header, outbound.Header{Name: "Webhook-Signature", Value: strings.Join(signatures, " ")})
	}
	return &outbound.Request{Method: http.MethodPost, URL: u, Header: header, Body: string(m.body)}, nil
}

// Host implements outbound.Source.
func (m *message) Host(int64) string { return m.url }

// Result implements outbound.Source.
func (m *message) Result(_ int64, o *outbound.Outcome) (value []byte, failure string) {
	m.outcome = o
	return nil, ""
}

// send sends a message once; nil if ctx has ended before.
func (d *Deliverer) send(ctx context.Context, m *message) *outbound.Outcome {
	group := [16]byte{'w', 'e', 'b', 'h', 'o', 'o', 'k', 's'}
	binary.BigEndian.PutUint64(group[8:], m.receiver)
	b := d.cfg.Sender.Start(ctx, outbound.Options{
		Job: group, Priority: int(job.Normal - job.Low), Tenant: m.job.Tenant, Source: m, Items: 1, Concurrency: 1,
		Timeout: attemptTimeout, MaxBody: maxResponse, Discard: true, NoRedirects: true,
		Retry: outbound.RetryPolicy{Attempts: 1}, Success: success, TraceParent: m.job.TraceParent,
	})
	for {
		ready := make(chan struct{})
		b.Await(func() { close(ready) })
		<-ready
		if _, _, ended := b.Collect(); ended {
			return m.outcome
		}
	}
}
