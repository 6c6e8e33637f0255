package deploy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"
)

// A load drives a server over its API, and counts what the dashboards must show.
type load struct {
	t      *testing.T
	base   string
	header http.Header // of every request

	mu        sync.Mutex
	submitted map[string]int // by kind
	finished  map[string]int // by state, as it must come out
	rejected  int
	requests  map[string]int // by method and route
	squared   int            // numbers
	summed    int            // bytes of arrays
}

func newLoad(t *testing.T, s *server) *load {
	return &load{t: t, base: s.api, submitted: map[string]int{}, finished: map[string]int{}, requests: map[string]int{}}
}

// A jobView has the used fields of a job.
type jobView struct {
	ID            string     `json:"id"`
	State         string     `json:"state"`
	QueuePosition *int       `json:"queue_position"`
	CreatedAt     time.Time  `json:"created_at"`
	StartedAt     *time.Time `json:"started_at"`
	FinishedAt    *time.Time `json:"finished_at"`
}

// do sends a request, counts it and decodes the response into v.
func (l *load) do(method, route, id, body string, v any) int {
	path := route
	if id != "" {
		path = fmt.Sprintf(route, id)
	}
	// The load runs in goroutines, which may not end the test: an error of the transport is reported, and the status is 0.
	req, err := http.NewRequestWithContext(l.t.Context(), method, l.base+path, bytes.NewReader([]byte(body)))
	if err != nil {
		l.t.Error(err)
		return 0
	}
	maps.Copy(req.Header, l.header)
	switch {
	case method == http.MethodPut:
		req.Header.Set("Content-Type", "application/x-npy")
	case body != "":
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		l.t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	l.mu.Lock()
	l.requests[method+" "+route]++
	l.mu.Unlock()
	text, err := io.ReadAll(resp.Body)
	if err == nil && v != nil && resp.StatusCode < 300 {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		l.t.Errorf("%s %s: %s: %v in %.200s", method, path, resp.Status, err, text)
	}
	return resp.StatusCode
}

// submit submits a job that will end in a state.
func (l *load) submit(kind, state, spec string) jobView {
	var j jobView
	switch status := l.do(http.MethodPost, "/v1/jobs", "", `{"kind":"`+kind+`",`+spec+`}`, &j); status {
	case http.StatusAccepted, http.StatusOK:
		l.count(kind, state, 1)
	default:
		l.t.Errorf("%s: %d", spec, status)
	}
	return j
}

func (l *load) count(kind, state string, jobs int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.submitted[kind] += jobs
	l.finished[state] += jobs
}

const sizeOfFloat64 = 8

// mixed runs clients that submit jobs of all kinds, with all outcomes.
func (l *load) mixed(clients, each int) {
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range each {
				l.one(c*each + i)
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	wg.Wait()
}

func (l *load) one(i int) {
	switch i % 10 {
	case 0, 1, 2:
		priority := []string{"low", "normal", "high"}[i%10]
		l.submit("squares", "succeeded", `"range":{"start":0,"stop":1000},"priority":"`+priority+`"`)
		l.mu.Lock()
		l.squared += 1000
		l.mu.Unlock()
	case 3, 4:
		l.sum(300)
	case 5:
		l.sum(1000)
	case 6, 7:
		j := l.submit("sleep_batch", "succeeded", `"count":5,"duration":"`+[]string{"20ms", "150ms"}[i%2]+`"`)
		l.do(http.MethodGet, "/v1/jobs/%s/events", j.ID, "", nil) // until its end
	case 8:
		l.submit("sleep_batch", "failed", `"count":3,"duration":"10m","timeout":"50ms"`)
		l.do(http.MethodPost, "/v1/jobs", "", `{"kind":"nonsense"}`, nil)
		l.do(http.MethodGet, "/v1/jobs/%s", "00000000-0000-7000-8000-000000000000", "", nil)
	case 9:
		j := l.submit("sleep_batch", "cancelled", `"count":2,"duration":"10m"`)
		l.do(http.MethodPost, "/v1/jobs/%s/cancel", j.ID, "", nil)
	}
}

func (l *load) sum(side int) {
	l.submit("array_sum", "succeeded", fmt.Sprintf(`"array":{"source":"arange","shape":[%d,%d],"dtype":"float64"}`, side, side))
	l.mu.Lock()
	l.summed += side * side * sizeOfFloat64
	l.mu.Unlock()
}

// batch submits a job n times in one batch.
func (l *load) batch(jobs int, kind, state, spec string) []jobView {
	one := `{"kind":"` + kind + `",` + spec + `}`
	body := `{"jobs":[` + string(bytes.Repeat([]byte(one+","), jobs-1)) + one + `]}`
	var answer struct{ Jobs []jobView }
	switch status := l.do(http.MethodPost, "/v1/jobs:batch", "", body, &answer); status {
	case http.StatusAccepted:
		l.count(kind, state, jobs)
	case http.StatusServiceUnavailable:
		l.rejected += jobs
	default:
		l.t.Errorf("a batch: %d", status)
	}
	return answer.Jobs
}

// A depth is the number of queued jobs: the queue position of the last one.
type depth struct {
	at, received time.Time // of the request and its response
	value        float64
}

// drain records the queue position of the last job of a batch until its start.
func (l *load) drain(last jobView) []depth {
	var all []depth
	for deadline := time.Now().Add(waitTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var j jobView
		at := time.Now()
		l.do(http.MethodGet, "/v1/jobs/%s", last.ID, "", &j)
		d := depth{at: at, received: time.Now()}
		if j.QueuePosition != nil {
			d.value = float64(*j.QueuePosition)
		}
		if all = append(all, d); d.value == 0 {
			return all
		}
	}
	l.t.Error("the queue did not drain")
	return all
}

// cancelAll cancels jobs concurrently.
func (l *load) cancelAll(jobs []jobView) {
	var wg sync.WaitGroup
	for part := range slices.Chunk(jobs, (len(jobs)+7)/8) {
		wg.Go(func() {
			for _, j := range part {
				l.do(http.MethodPost, "/v1/jobs/%s/cancel", j.ID, "", nil)
			}
		})
	}
	wg.Wait()
}

// jobs returns all jobs that the API lists.
func (l *load) jobs(t *testing.T) []jobView {
	t.Helper()
	var all []jobView
	for token := ""; ; {
		var page struct {
			Jobs          []jobView
			NextPageToken *string `json:"next_page_token"`
		}
		l.mu.Lock()
		l.requests["GET /v1/jobs"]++
		l.mu.Unlock()
		if err := json.Unmarshal([]byte(fetch(t, l.base+"/v1/jobs?page_size=200"+token)), &page); err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Jobs...)
		if page.NextPageToken == nil {
			return all
		}
		token = "&page_token=" + url.QueryEscape(*page.NextPageToken)
	}
}

// quantile returns a quantile of the durations, ranked as by histogram_quantile.
func quantile(q float64, all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[max(0, int(math.Ceil(q*float64(len(all))))-1)]
}
