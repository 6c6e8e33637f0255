package apitest

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A request is a request to send, and the facts that the checks need.
type request struct {
	// op is the operation that the request was generated for; loose is true if the method or the path may name another
	// one.
	op             *operation
	loose          bool
	method, target string
	headers        []header
	body           []byte
	// framing is the framing of the body: length, chunked or none.
	framing framing
	// sent is the number of body bytes sent; less than all only for an incomplete ending.
	sent   int
	ending ending
	// malformed is true if the request may violate HTTP itself, so that net/http may reject it.
	malformed bool
	// key is the API key of the request; nil for none or an invalid one.
	key *Key
	// job is the job in the path; nil if this run did not create it.
	job *knownJob
	// id is the X-Request-Id that the response must return; "" for any.
	id string
}

type header struct{ name, value string }

type framing int

const (
	byLength framing = iota
	chunked
	unframed
)

// An ending is the client's action after it has sent its request.
type ending int

const (
	complete ending = iota
	// halfClosed ends the sending side within the body.
	halfClosed
	// closed closes the connection within the body.
	closed
	// stalled stops sending and waits.
	stalled
)

// has reports whether the request has a header.
func (q *request) has(name string) bool {
	return slices.ContainsFunc(q.headers, func(h header) bool { return strings.EqualFold(h.name, name) })
}

// bytes returns the request on the wire.
func (q *request) bytes(host string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", q.method, q.target)
	if !q.has("Host") {
		fmt.Fprintf(&b, "Host: %s\r\n", host)
	}
	for _, h := range q.headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h.name, h.value)
	}
	switch q.framing {
	case byLength:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", len(q.body))
		b.Write(q.body[:q.sent])
	case chunked:
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		for rest := q.body[:q.sent]; len(rest) > 0; {
			n := min(len(rest), 1+len(q.body)/3)
			fmt.Fprintf(&b, "%x\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		if q.ending == complete {
			b.WriteString("0\r\n\r\n")
		}
	case unframed:
		b.WriteString("\r\n")
	}
	return b.Bytes()
}

// request returns the next request.
func (w *worker) request() *request {
	q := &request{op: pick(w.g.Rand, w.contract.operations), framing: unframed}
	if one(w.g.Rand, 3) { // submissions have the most variants
		for !strings.HasPrefix(q.op.id, "submit") {
			q.op = pick(w.g.Rand, w.contract.operations)
		}
	}
	q.method = q.op.method
	w.authorize(q)
	q.target = w.path(q)
	w.query(q)
	w.headers(q)
	w.payload(q)
	if one(w.g.Rand, 12) {
		w.distort(q)
	}
	q.sent = len(q.body)
	if len(q.body) > 0 && one(w.g.Rand, 40) {
		q.sent, q.ending = w.g.IntN(len(q.body)), pick(w.g.Rand, []ending{halfClosed, closed, stalled})
	}
	return q
}

func (w *worker) authorize(q *request) {
	keys := w.config.Keys
	if len(keys) == 0 {
		if one(w.g.Rand, 50) {
			q.add("Authorization", pick(w.g.Rand, hostileKeys))
		}
		return
	}
	if one(w.g.Rand, 10) {
		if !one(w.g.Rand, 3) {
			q.add("Authorization", pick(w.g.Rand, hostileKeys))
		}
		return
	}
	q.key = &keys[w.g.IntN(len(keys))]
	q.add("Authorization", "Bearer "+q.key.Secret)
}

var hostileKeys = []string{
	"", "Bearer", "Bearer ", "Bearer x", "Bearer gather_x_y", "Basic Og==", "gather_0_0", "Bearer gather_" + strings.Repeat("0", 5000), "Bearer gather_a_\x80", "bearer  ,",
}

func (q *request) add(name, value string) { q.headers = append(q.headers, header{name, value}) }

// path fills in the path parameters, mostly with existing resources.
func (w *worker) path(q *request) string {
	path := q.op.path
	for _, p := range q.op.params {
		if p.in != "path" {
			continue
		}
		path = strings.ReplaceAll(path, "{"+p.name+"}", w.pathValue(q, p))
	}
	return path
}

var (
	arrayNames = []string{"a", "b", "readings", "in.npy", strings.Repeat("n", 128)}
	groupNames = []string{"nightly", "a", "0.x", "01890a5d-ac96-774b-bcce-b302099a8057"}
	assets     = []string{"swagger-ui.css", "init.js", "swagger-ui-bundle.js", "favicon-32x32.png"}
	pages      = []string{"queue-full", "validation-error", "job-expired"}
	// hostileSegments are encoded path segments.
	hostileSegments = []string{
		"", ".", "..", "%2e%2e", "%2F", "a%2Fb", "..%2f..%2fetc%2fpasswd", "%00", "%ff", "%C0%AF", "a%20b", "a+b", "%25", "%2525", "a;b", "a:b", "*", "{job_id}",
		"01890a5d-ac96-774b-bcce-b302099a8057", "01890A5D-AC96-774B-BCCE-B302099A8057", "{01890a5d-ac96-774b-bcce-b302099a8057}", "01890a5dac96774bbcceb302099a8057",
		"urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", ".npy", "-", "~",
		"%F0%9F%98%80", "a%0d%0aX-Injected:%201", "cancel", "results", "jobs:batch", strings.Repeat("n", 129), strings.Repeat("x", 4000), strings.Repeat("%41", 1000),
	}
)

func (w *worker) pathValue(q *request, p param) string {
	if one(w.g.Rand, 8) {
		q.loose = true
		return pick(w.g.Rand, hostileSegments)
	}
	switch p.name {
	case "job_id":
		if j := w.jobs.pick(w.g); j != nil {
			q.job = j
			if one(w.g.Rand, 20) {
				return strings.ToUpper(j.id)
			}
			return j.id
		}
		return "01890a5d-ac96-774b-bcce-b302099a8057"
	case "delivery_id":
		if q.job != nil {
			return q.job.id + "-0"
		}
		return "01890a5d-ac96-774b-bcce-b302099a8057-0"
	case "array_name":
		return pick(w.g.Rand, arrayNames)
	case "group_id":
		return pick(w.g.Rand, groupNames)
	case "asset":
		return pick(w.g.Rand, assets)
	case "problem":
		return pick(w.g.Rand, pages)
	case "schedule_name":
		return pick(w.g.Rand, []string{"nightly", "a.b", "none"})
	case "scope":
		return pick(w.g.Rand, []string{"kind", "priority", "tenant"})
	case "name":
		return pick(w.g.Rand, []string{"low", "nobody"}) // little that other requests need
	}
	return w.g.text(p.schema)
}

// query adds parameters of the operation, and sometimes unknown ones.
func (w *worker) query(q *request) {
	var pairs []string
	for _, p := range q.op.params {
		if p.in != "query" || !one(w.g.Rand, 4) {
			continue
		}
		n := 1
		if p.schema["type"] == "array" && one(w.g.Rand, 2) {
			n = w.g.IntN(4)
		}
		for range n {
			pairs = append(pairs, p.name+"="+w.queryValue(p))
		}
		if one(w.g.Rand, 40) {
			pairs = append(pairs, p.name+"="+w.queryValue(p))
		}
	}
	if one(w.g.Rand, 30) {
		pairs = append(pairs, pick(w.g.Rand, []string{
			"unknown=1", "=", "=1", "&", ";", "a", "%", "%zz=1", "%00=1", "%ff", "Page_size=1", "page_size", "page_size[]=1", "state%20=x", strings.Repeat("x", 3000),
		}))
	}
	if len(pairs) > 0 {
		q.target += "?" + strings.Join(pairs, "&")
	}
}

func (w *worker) queryValue(p param) string {
	switch n := w.g.IntN(12); {
	case n == 0:
		return pick(w.g.Rand, []string{"", "%", "%zz", "%ff", "%00", "a;b", "+", "+1", "01", "1e3", "1.0", "-1", "0", "9223372036854775807", "9223372036854775808", "NaN", "null", "%22x%22", "a%26b", strings.Repeat("9", 400), "x,y"})
	case n < 5 && p.name == "page_token":
		return w.remembered("page_token", "x")
	case n < 5 && p.name == "after":
		return w.remembered("after", "0")
	}
	schema := w.g.flatten(p.schema)
	if schema["type"] == "array" {
		schema, _ = schema["items"].(map[string]any)
	}
	v := w.g.of(schema)
	s := strings.Trim(v.token, `"`)
	if w.g.typeOf(w.g.flatten(schema)) == "string" && p.name == "label" {
		s += pick(w.g.Rand, []string{"", "a", "ü"})
	}
	return url.QueryEscape(s)
}

// headers adds the operation's own headers, preconditions, Accept, and a request id.
func (w *worker) headers(q *request) {
	for _, p := range q.op.params {
		if p.in == "header" && one(w.g.Rand, 3) {
			q.add(p.name, w.headerValue(p.name))
		}
	}
	if one(w.g.Rand, 3) {
		q.add("Accept", pick(w.g.Rand, w.accepts))
	}
	if one(w.g.Rand, 8) {
		name := pick(w.g.Rand, []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range", "Prefer", "Idempotency-Key", "Content-Range", "Last-Event-ID", "Content-Digest"})
		q.add(name, w.headerValue(name))
	}
	if one(w.g.Rand, 2) {
		q.id = fmt.Sprintf("fuzz-%d-%d", w.number, w.requests)
		q.add("X-Request-Id", q.id)
	} else if one(w.g.Rand, 20) {
		q.add("X-Request-Id", pick(w.g.Rand, []string{"", " ", "a b", "ü", strings.Repeat("x", 65), "a\tb", `"<>`}))
	}
	if one(w.g.Rand, 30) {
		h := pick(w.g.Rand, []header{
			{"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
			{"Traceparent", "00-" + strings.Repeat("0", 32) + "-0-zz"},
			{"X-Forwarded-For", "10.0.0.1, ::1, x"},
			{"Accept-Encoding", "gzip, *;q=0"},
			{"Accept-Charset", "latin1"},
			{"Accept-Language", "de"},
			{"Cookie", "a=b"},
			{"Origin", "null"},
			{"X-HTTP-Method-Override", "DELETE"},
			{"Cache-Control", "no-cache"},
			{"TE", "trailers"},
			{"Upgrade", "h2c"},
			{"X-" + strings.Repeat("x", 2000), "1"},
			{"Connection", "close"},
			{"Connection", "Upgrade, X-Request-Id"},
		})
		q.add(h.name, h.value)
	}
}

func (w *worker) headerValue(name string) string {
	if one(w.g.Rand, 6) {
		return pick(w.g.Rand, []string{"", " ", ",", `"`, "\xff", "ü", "a, b", "-1", "0", "1", "9223372036854775808", strings.Repeat("x", 600), strings.Repeat(",", 2000), "\t", `""`})
	}
	switch name {
	case "Prefer":
		return pick(w.g.Rand, []string{"wait=0", "wait=1", "wait=2", "wait=30", `wait="1"`, "wait=1, respond-async", "return=minimal", "WAIT=1;x=y", "wait", "wait=-1", "wait=99999999999999999999"})
	case "Idempotency-Key":
		return pick(w.g.Rand, []string{"k1", "k2", `"k1"`, `"a\"b"`, strconv.Itoa(w.g.IntN(1e6)), strings.Repeat("k", 255), strings.Repeat("k", 256)})
	case "If-None-Match", "If-Match", "If-Range":
		return pick(w.g.Rand, []string{"*", w.remembered("etag", `"1"`), w.remembered("etag", `W/"1"`), `W/"0"`, `"a", W/"b", "c"`, "bare", `"unclosed`})
	case "If-Modified-Since", "If-Unmodified-Since":
		return pick(w.g.Rand, []string{"Thu, 26 Nov 2026 10:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "yesterday"})
	case "Range", "Content-Range":
		return pick(w.g.Rand, []string{"bytes=0-0", "bytes=0-", "bytes=-1", "bytes=1-0", "bytes=0-0,2-3", "bytes 0-1/2", "bytes */9", "items=0-1", "bytes=99999999999999999999-"})
	case "Last-Event-ID":
		return pick(w.g.Rand, []string{"0", "1", "2", w.remembered("after", "1"), "18446744073709551615", "yesterday", "1.0"})
	case "Content-Digest":
		return pick(w.g.Rand, []string{"sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:", "sha-256=:x:", "sha-512=:AA==:", "md5=:AA==:, sha-256=:AA==:", "sha-256=47DE"})
	}
	return "x"
}

// remembered returns a cursor, a token or a tag of an earlier response.
func (w *worker) remembered(what, otherwise string) string {
	if list := w.memory[what]; len(list) > 0 {
		return pick(w.g.Rand, list)
	}
	return otherwise
}

func (w *worker) remember(what, value string) {
	if value == "" || len(value) > 200 || slices.Contains(w.memory[what], value) {
		return
	}
	list := append(w.memory[what], value)
	w.memory[what] = list[max(0, len(list)-20):]
}
