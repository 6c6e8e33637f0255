package deploy_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// waitTimeout is the maximum wait for an expected state, on a machine that may be busy.
const waitTimeout = 5 * time.Minute

// A prometheus is a Prometheus process with the deployed configuration that scrapes every second.
type prometheus struct{ url string }

// A series is a result of a query: its labels and points.
type series struct {
	labels map[string]string
	points []point
}

type point struct {
	at    time.Time
	value float64
}

// last returns the value of an instant query.
func (s series) last() float64 { return s.points[len(s.points)-1].value }

// watch starts a Prometheus with the given features and waits until it has scraped the servers often enough for a rate.
func watch(t *testing.T, features string, servers ...*server) *prometheus {
	t.Helper()
	var targets []string
	for _, s := range servers {
		targets = append(targets, s.ops)
	}
	program := need(t, "prometheus")
	dir := t.TempDir()
	write := func(name string, text []byte, old ...string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(old); i += 2 {
			if !strings.Contains(string(text), old[i]) {
				t.Fatalf("%s has no %q", name, old[i])
			}
		}
		if err := os.WriteFile(file, []byte(strings.NewReplacer(old...).Replace(string(text))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("prometheus.yml", read(t, "prometheus/prometheus.yml"),
		"scrape_interval: 5s", "scrape_interval: 1s", "evaluation_interval: 15s", "evaluation_interval: 1s", `"gather:9091"`, `"`+strings.Join(targets, `", "`)+`"`)
	write("rules/recording.yaml", read(t, "prometheus/rules/recording.yaml"), "interval: 30s", "interval: 1s", "interval: 5m", "interval: 1s")
	write("rules/alerts.yaml", read(t, "prometheus/rules/alerts.yaml"))
	books, err := filepath.Abs(runbooks)
	if err != nil {
		t.Fatal(err)
	}
	address := freePort(t)
	log, _ := launch(t, program, "--enable-feature="+features, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--web.external-url=http://"+address, "--web.user-assets="+books)
	p := &prometheus{"http://" + address}
	deadline := time.Now().Add(waitTimeout)
	for {
		var found []series
		if err := p.get("query", url.Values{"query": {`count_over_time(gather_workers[1m]) > 4`}}, &found); err == nil && len(found) == len(servers) {
			return p
		}
		if time.Now().After(deadline) {
			for len(log) > 0 {
				t.Log(<-log)
			}
			t.Fatal("Prometheus does not scrape the server")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// get sends a request to the API of Prometheus and decodes the data of the response into data, a *[]series for queries.
func (p *prometheus) get(path string, query url.Values, data any) error {
	resp, err := http.Get(p.url + "/api/v1/" + path + "?" + query.Encode()) //nolint:forbidigo,noctx // a test's own server
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", query.Get("query"), answer.Error)
	}
	found, ok := data.(*[]series)
	if !ok {
		return json.Unmarshal(answer.Data, data)
	}
	var result struct {
		ResultType string
		Result     []struct {
			Metric map[string]string
			Value  [2]any
			Values [][2]any
		}
	}
	if err := json.Unmarshal(answer.Data, &result); err != nil {
		return err
	}
	for _, r := range result.Result {
		if result.ResultType == "vector" {
			r.Values = [][2]any{r.Value}
		}
		one := series{labels: r.Metric}
		for _, v := range r.Values {
			seconds, _ := v[0].(float64)
			text, _ := v[1].(string)
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return err
			}
			one.points = append(one.points, point{time.UnixMilli(int64(math.Round(seconds * 1000))), value})
		}
		*found = append(*found, one)
	}
	return nil
}

// query evaluates an expression at a time.
func (p *prometheus) query(t *testing.T, expr string, at time.Time) []series {
	t.Helper()
	var found []series
	err := p.get("query", url.Values{"query": {expr}, "time": {strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64)}}, &found)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// value returns the value of an expression with one result.
func (p *prometheus) value(t *testing.T, expr string, at time.Time) float64 {
	t.Helper()
	found := p.query(t, expr, at)
	if len(found) != 1 {
		t.Fatalf("%d results of %s", len(found), expr)
	}
	return found[0].last()
}

// until waits for a result of an expression, and returns its time.
func (p *prometheus) until(t *testing.T, expr string) time.Time {
	t.Helper()
	for deadline := time.Now().Add(waitTimeout); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		now := time.Now()
		if len(p.query(t, expr, now)) > 0 {
			return now
		}
	}
	t.Fatalf("got no result of %s", expr)
	return time.Time{}
}

// evaluated waits until every group of rules has been evaluated twice, because rules use the results of others, and returns the
// time.
func (p *prometheus) evaluated(t *testing.T) time.Time {
	t.Helper()
	began := time.Now()
	for deadline, rounds := began.Add(waitTimeout), 0; ; time.Sleep(100 * time.Millisecond) {
		var rules struct {
			Groups []struct{ LastEvaluation time.Time }
		}
		if err := p.get("rules", nil, &rules); err != nil {
			t.Fatal(err)
		}
		now, late := time.Now(), 0
		for _, g := range rules.Groups {
			if !g.LastEvaluation.After(began) {
				late++
			}
		}
		if late == 0 {
			if began, rounds = now, rounds+1; rounds == 2 {
				return now
			}
		}
		if now.After(deadline) {
			t.Fatalf("got %d of %d groups of rules without an evaluation in %s, want 0", late, len(rules.Groups), waitTimeout)
		}
	}
}

// panel returns the value of a panel's curve by its legend, with every variable set to all.
func (p *prometheus) panel(t *testing.T, title, legend, window string, at time.Time) float64 {
	t.Helper()
	for _, q := range queries(t) {
		if q.panel.Title != title {
			continue
		}
		for _, s := range p.query(t, substitute(q.target.Expr, window), at) {
			name := q.target.LegendFormat
			for label, value := range s.labels {
				name = strings.ReplaceAll(name, "{{"+label+"}}", value)
			}
			if name == legend {
				return s.last()
			}
		}
	}
	t.Fatalf("got no panel %q with a curve %q at %s, want one", title, legend, at)
	return 0
}
