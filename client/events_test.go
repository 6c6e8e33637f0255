package client_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gather/client"
)

// lines of a job's events; the ones with a seq are numbered from 1.
var jobEvents = []string{
	`{"seq":1,"event":"state","data":{"seq":1,"state":"queued","at":"2026-11-22T16:10:58Z"}}`,
	`{"seq":2,"event":"dependency","data":{"seq":2,"job_id":"01a20406-6d5b-7e36-8d42-6c29aed1723b","at":"2026-11-22T16:10:58Z"}}`,
	`{"seq":3,"event":"state","data":{"seq":3,"state":"running","at":"2026-11-22T16:10:58Z"}}`,
	`{"seq":4,"event":"result","data":{"seq":4,"index":1,"value":123456789012345678901234567890,"error":null,"duration_ms":1}}`,
	`{"event":"progress","data":{"total":2,"completed":1,"failed":0,"fraction":0.5,"eta_seconds":1,"bytes":0,"bytes_total":0}}`,
	`{"event":"of a later version","data":[]}`,
	`{"seq":5,"event":"result","data":{"seq":5,"index":0,"value":null,"error":"failed","duration_ms":1}}`,
	`{"seq":6,"event":"state","data":{"seq":6,"state":"succeeded","at":"2026-11-22T16:10:59Z"}}`,
	`{"event":"end","data":{"id":"j1","kind":"squares","state":"succeeded","result":2}}`,
}

// eventsAfter returns the body of /events.
func eventsAfter(after int) string {
	var b strings.Builder
	seq := 0
	for _, line := range jobEvents {
		if strings.HasPrefix(line, `{"seq":`) {
			seq++
		}
		if seq > after {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

func parameter(t *testing.T, r *http.Request, name string, missing int) int {
	t.Helper()
	text := r.URL.Query().Get(name)
	if text == "" {
		return missing
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Errorf("%s: %v", r.URL, err)
	}
	return n
}

// summary returns what a consumer sees of events, without progress.
func summary(events iter.Seq2[client.Event, error]) (all []string) {
	for e, err := range events {
		switch {
		case err != nil:
			all = append(all, "error "+err.Error())
		case e.State != nil:
			all = append(all, fmt.Sprint(e.Seq, " ", e.State.State))
		case e.Dependency != nil:
			all = append(all, fmt.Sprint(e.Seq, " after ", e.Dependency.JobID))
		case e.Result != nil:
			all = append(all, fmt.Sprint(e.Seq, " ", e.Result.Index, " ", string(e.Result.Value)))
		case e.End != nil:
			all = append(all, "end "+string(e.End.Result))
		case e.Progress == nil:
			all = append(all, "an empty event")
		}
	}
	return all
}

var wholeSummary = []string{
	"1 queued", "2 after 01a20406-6d5b-7e36-8d42-6c29aed1723b", "3 running", "4 1 123456789012345678901234567890", "5 0 null", "6 succeeded", "end 2",
}

// TestEventsResume: whatever the place where the streams are cut, and however, every event is yielded once.
func TestEventsResume(t *testing.T) {
	whole := eventsAfter(0)
	for _, ending := range []error{io.EOF, io.ErrUnexpectedEOF} {
		for cut := range len(whole) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				c := with(t, client.Config{}, func(r *http.Request) (*http.Response, error) {
					n++
					after := parameter(t, r, "after", 0)
					switch {
					case r.URL.Path == "/base/v1/jobs/j1":
						return answer(200, ended[:len(ended)-2]+"2}"), nil
					case n%3 == 2: // the server restarts
						return nil, errReset
					case after == 6:
						return answer(204, ""), nil
					}
					body := eventsAfter(after)
					if n == 1 {
						return answerFrom(200, io.NopCloser(io.MultiReader(strings.NewReader(body[:cut]), failing{ending}))), nil
					}
					return answer(200, body), nil
				})
				events := c.Events(t.Context(), "j1", 0)
				if got := summary(events); !slices.Equal(got, wholeSummary) {
					t.Fatalf("cut after %d bytes: got %q, want %q", cut, got, wholeSummary)
				}
				if got := summary(events); !slices.Equal(got, wholeSummary) {
					t.Fatalf("the same iterator again: got %q, want %q", got, wholeSummary)
				}
			})
		}
	}
}

// TestEventsStop: a consumer that stops ends the request, and an error is the last element.
func TestEventsStop(t *testing.T) {
	closed := make(closer, 1)
	c := with(t, client.Config{}, func(*http.Request) (*http.Response, error) {
		return answerFrom(200, struct {
			io.Reader
			io.Closer
		}{strings.NewReader(eventsAfter(0)), closed}), nil
	})
	for e, err := range c.Events(t.Context(), "j1", 0) {
		if err != nil || e.State == nil {
			t.Errorf("event %+v, error %v, want a state", e, err)
		}
		break
	}
	<-closed
	for want, rt := range map[string]transport{
		"404 Title":    func(*http.Request) (*http.Response, error) { return problem(404, "job-not-found"), nil },
		"not gather's": func(*http.Request) (*http.Response, error) { return answer(200, "{\"seq\":\"x\"}\n"), nil },
		"invalid":      func(*http.Request) (*http.Response, error) { return answer(200, "hello\n"), nil },
	} {
		got := summary(with(t, client.Config{}, rt).Events(t.Context(), "j1", 0))
		if len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("got %q, want an error with %q", got, want)
		}
	}
}

type closer chan struct{}

func (c closer) Close() error { c <- struct{}{}; return nil }

// TestStalledStream: a stream without a byte for a minute is requested again.
func TestStalledStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, began := 0, time.Now()
		c := with(t, client.Config{}, func(r *http.Request) (*http.Response, error) {
			if n++; n == 1 {
				reader, writer := io.Pipe()
				go func() {
					_, _ = writer.Write([]byte(jobEvents[0] + "\n"))
					<-r.Context().Done()
					writer.CloseWithError(r.Context().Err())
				}()
				return answerFrom(200, reader), nil
			}
			return answer(200, eventsAfter(parameter(t, r, "after", 0))), nil
		})
		if got := summary(c.Events(t.Context(), "j1", 0)); !slices.Equal(got, wholeSummary) {
			t.Errorf("got %q, want %q", got, wholeSummary)
		}
		if took := time.Since(began); took < time.Minute || took > 2*time.Minute {
			t.Errorf("resumed after %s, want a minute", took)
		}
	})
}

// TestResultsResume: items of a job are yielded once, wherever the responses are cut, in both orders, and while it runs.
func TestResultsResume(t *testing.T) {
	const items = 4
	item := func(seq int) string {
		return fmt.Sprintf(`{"seq":%d,"index":%d,"value":%d,"error":null,"duration_ms":1}`, seq+10, items-1-seq, seq)
	}
	for _, test := range []struct {
		name   string
		opts   []client.ResultsOption
		stored int // items in /results; the rest is in /events
		want   []int64
	}{
		{name: "finished", stored: items, want: []int64{3, 2, 1, 0}},
		{name: "running", stored: 1, want: []int64{3, 2, 1, 0}},
		{name: "queued", stored: 0, want: []int64{3, 2, 1, 0}},
		{name: "only stored", opts: []client.ResultsOption{client.Stored()}, stored: 2, want: []int64{3, 2}},
		{name: "after", opts: []client.ResultsOption{client.After(10)}, stored: 2, want: []int64{2, 1, 0}},
		{name: "by index", opts: []client.ResultsOption{client.ByIndex()}, stored: items, want: []int64{0, 1, 2, 3}},
		{name: "by index, after", opts: []client.ResultsOption{client.ByIndex(), client.After(0)}, stored: items, want: []int64{1, 2, 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for cut := range 400 {
				synctest.Test(t, func(t *testing.T) {
					n := 0
					c := with(t, client.Config{}, func(r *http.Request) (*http.Response, error) {
						var body strings.Builder
						switch {
						case strings.HasSuffix(r.URL.Path, "/j1"):
							return answer(200, ended), nil
						case strings.HasSuffix(r.URL.Path, "/events"):
							for seq := max(parameter(t, r, "after", 0)-9, 0); seq < items; seq++ {
								fmt.Fprintf(&body, "{\"seq\":%d,\"event\":\"result\",\"data\":%s}\n", seq+10, item(seq))
							}
							body.WriteString(jobEvents[len(jobEvents)-1] + "\n")
						case r.URL.Query().Get("order") == "index":
							for index := parameter(t, r, "after", -1) + 1; index < items; index++ {
								body.WriteString(item(items-1-index) + "\n")
							}
							body.WriteString(`{"next_after":3,"complete":true}` + "\n")
						default:
							for seq := max(parameter(t, r, "after", 0)-9, 0); seq < test.stored; seq++ {
								body.WriteString(item(seq) + "\n")
							}
							fmt.Fprintf(&body, "{\"next_after\":%d,\"complete\":%t}\n", 9+test.stored, test.stored == items)
						}
						text := body.String()
						if n++; n <= 2 {
							text = text[:min(cut, len(text))]
						}
						return answer(200, text), nil
					})
					var got []int64
					for it, err := range c.Results(t.Context(), "j1", test.opts...) {
						if err != nil {
							t.Fatalf("cut after %d bytes: %v", cut, err)
						}
						got = append(got, it.Index)
					}
					if !slices.Equal(got, test.want) {
						t.Fatalf("cut after %d bytes: items %v, want %v", cut, got, test.want)
					}
				})
			}
		})
	}
}

// TestDownloadResume: the bytes are those of the file, wherever the responses are cut.
func TestDownloadResume(t *testing.T) {
	file := []byte("\x93NUMPY and some data")
	for cut := range len(file) + 1 {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			rt := func(r *http.Request) (*http.Response, error) {
				if r.Header.Get("Accept") == "application/json" {
					return answer(200, fmt.Sprintf(`{"name":"a","sha256":"%x"}`, sha256.Sum256(file))), nil
				}
				from, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-"))
				if n++; n <= 2 {
					part := file[from:max(from, min(cut, len(file)))]
					return answerFrom(200, io.NopCloser(io.MultiReader(bytes.NewReader(part), failing{io.ErrUnexpectedEOF}))), nil
				}
				return answerFrom(200, io.NopCloser(bytes.NewReader(file[from:]))), nil
			}
			c := with(t, client.Config{}, rt)
			var array, result bytes.Buffer
			if _, err := c.DownloadArray(t.Context(), "a", &array); err != nil || !bytes.Equal(array.Bytes(), file) {
				t.Errorf("array cut after %d bytes: %q, error %v, want %q", cut, array.Bytes(), err, file)
			}
			n = 0
			if err := c.DownloadResult(t.Context(), "j1", &result); err != nil || !bytes.Equal(result.Bytes(), file) {
				t.Errorf("result cut after %d bytes: %q, error %v, want %q", cut, result.Bytes(), err, file)
			}
		})
	}
}

// TestDamagedDownload: bytes that do not have the array's SHA-256 are an error, and so is a writer that fails.
func TestDamagedDownload(t *testing.T) {
	c := with(t, client.Config{}, func(r *http.Request) (*http.Response, error) {
		if r.Header.Get("Accept") == "application/json" {
			return answer(200, fmt.Sprintf(`{"name":"a","sha256":"%x"}`, sha256.Sum256([]byte("abc")))), nil
		}
		return answer(200, "abd"), nil
	})
	if _, err := c.DownloadArray(t.Context(), "a", io.Discard); err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("other bytes: error %v, want one about their SHA-256", err)
	}
	reader, writer := io.Pipe()
	reader.Close()
	if err := c.DownloadResult(t.Context(), "j1", writer); err == nil {
		t.Error("a writer that fails: no error")
	}
}

// FuzzStream: any response to /events and /results ends, with events or an error.
func FuzzStream(f *testing.F) {
	f.Add([]byte(eventsAfter(0)))
	f.Add([]byte(`{"seq":1,"event":"end"}` + "\n"))
	f.Add([]byte(`{"next_after":1,"complete":false}` + "\n"))
	f.Add([]byte("null\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		c := with(t, client.Config{RetryFor: -1}, func(*http.Request) (*http.Response, error) { return answer(200, string(body)), nil })
		ended := false
		for e, err := range c.Events(t.Context(), "j1", 0) {
			if ended {
				t.Fatalf("%+v, %v follows the end", e, err)
			}
			ended = err != nil || e.End != nil
			if err == nil && e.State == nil && e.Dependency == nil && e.Result == nil && e.Progress == nil && e.End == nil {
				t.Fatal("an empty event")
			}
		}
		if !ended {
			t.Fatal("neither an end nor an error")
		}
		for it, err := range c.Results(t.Context(), "j1") {
			if (it == nil) == (err == nil) {
				t.Fatalf("item %v with error %v", it, err)
			}
		}
	})
}
