package apitest

import "strings"

// distort changes the method or path of a request, or violates HTTP.
func (w *worker) distort(q *request) {
	switch n := w.g.IntN(10); {
	case n < 3:
		if q.method = pick(w.g.Rand, []string{
			"HEAD", "HEAD", "HEAD", "OPTIONS", "PATCH", "TRACE", "PUT", "POST", "GET", "DELETE", "PROPFIND", "get", "X", strings.Repeat("X", 1000),
		}); q.method != q.op.method && (q.method != "HEAD" || q.op.method != "GET") {
			q.loose = true
		}
	case n < 6:
		q.loose = true
		path, query, _ := strings.Cut(q.target, "?")
		if query != "" {
			query = "?" + query
		}
		q.target = pick(w.g.Rand, []string{
			"/" + path, path + "/", path + "//", strings.Replace(path, "/v1/", "/v1/./", 1), strings.Replace(path, "/v1/", "/v1/../v1/", 1), "/v1" + path,
			strings.ToUpper(path), strings.ReplaceAll(path, "o", "%6f"), "/" + strings.ReplaceAll(path[1:], "/", "%2f"), strings.Replace(path, "v1", "v2", 1), path + "%20",
			"http://other.example" + path, "/", "/favicon.ico", "/metrics", "/debug/pprof/", "/v1", "/docs/", "/problems/", "/openapi.json", path + ";v=1", path + "%3f", path + "\\",
		}) + query
	default:
		q.loose, q.malformed = true, true
		w.breakHTTP(q)
	}
}

// breakHTTP makes a request that is not valid HTTP or that net/http may reject itself.
func (w *worker) breakHTTP(q *request) {
	switch w.g.IntN(9) {
	case 0:
		q.target = pick(w.g.Rand, []string{"", "*", "x", "/%zz", "/v1/jobs/%", "/ x", "/\x00", "/\x7f", "//", "http://", "http://[::1/", "ftp://x/", "localhost:1", "/" + strings.Repeat("x", 20_000)})
	case 1:
		q.method = pick(w.g.Rand, []string{"", "GET\t", "G@T", "CONNECT", "PRI", "\x16\x03\x01", "ü", strings.Repeat("G", 20_000)})
	case 2:
		h := pick(w.g.Rand, []header{
			{"Host", ""},
			{"Host", "a b"},
			{"Host", "x, y"},
			{"Host", "\xff"},
			{"Host", "evil.example"},
			{"", "x"},
			{"Bad Name", "x"},
			{"Na\x00me", "x"},
			{"X", "a\x00b"},
			{"X", "a\rb"},
			{"X", "a\nb"},
			{"X", "a\r\n folded"},
			{"Ünicode", "x"},
			{"Host ", "x"},
		})
		q.add(h.name, h.value)
	case 3:
		q.add("Content-Length", pick(w.g.Rand, []string{"0", "5", "-1", "+5", "5, 5", "5, 6", "9223372036854775808", "99999999999999999999", "x", "0x5", " 5 ", ""}))
	case 4:
		q.add("Transfer-Encoding", pick(w.g.Rand, []string{"gzip", "chunked, gzip", "gzip, chunked", "identity", "Chunked", "\vchunked", "chunked;q=1", ""}))
	case 5:
		q.add("Expect", pick(w.g.Rand, []string{"x", "100-Continue, x", "200-ok"}))
	case 6:
		for range 1 + w.g.IntN(400) {
			q.add("X-"+strings.Repeat("y", w.g.IntN(100)), strings.Repeat("z", w.g.IntN(200)))
		}
	case 7:
		q.method += " " + pick(w.g.Rand, []string{"/x HTTP/1.0\r\nA: b\r\n\r\nGET", "/ HTTP/9.9\r\n\r\nGET", "/ HTTP/0.9\r\n\r\nGET", "/ HTTP/1.1\n\nGET", "/"})
	default:
		for range 2 {
			q.add(pick(w.g.Rand, []string{"Host", "Content-Type", "Accept", "Authorization", "Idempotency-Key", "If-None-Match", "Content-Length", "X-Request-Id"}), pick(w.g.Rand, []string{"a", "5", "application/json", ""}))
		}
		q.id = ""
	}
}
