package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"gather"
	"gather/internal/cli"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// execute runs a command line in this process.
func execute(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	commands, err := cli.New()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	exited := -1
	parser, err := kong.New(commands, kong.Name("gather"), kong.DefaultEnvars("GATHER"), kong.Writers(&out, &errs), kong.Exit(func(code int) { exited = code }))
	if err != nil {
		t.Fatal(err)
	}
	k, err := parser.Parse(args)
	if exited >= 0 {
		return exited, out.String(), errs.String()
	}
	if err == nil {
		k.BindTo(t.Context(), (*context.Context)(nil))
		k.Bind(cli.IO{In: strings.NewReader(stdin), Out: &out, Err: &errs})
		err = k.Run()
		code = cli.ExitCode(err)
	} else {
		code = cli.ExitUsage
	}
	if err != nil {
		fmt.Fprintln(&errs, err)
	}
	return code, out.String(), errs.String()
}

// fake is a server that records requests and answers each with the same response.
type fake struct {
	*httptest.Server
	requests []string // method and URI
	bodies   []string
	header   http.Header // of the last request
}

func answering(t *testing.T, status int, body string, headers ...string) *fake {
	t.Helper()
	f := new(fake)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		f.requests, f.bodies, f.header = append(f.requests, r.Method+" "+r.RequestURI), append(f.bodies, string(data)), r.Header
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(f.Close)
	t.Setenv("GATHER_SERVER", f.URL)
	return f
}

const job = `{"id":"j1","kind":"squares","state":%q,"priority":"normal","labels":{"team":"a"},"progress":{"total":5,"completed":5,"failed":1,"fraction":1,` +
	`"eta_seconds":null,"bytes":0,"bytes_total":0},"created_at":"2026-11-22T16:10:58Z","started_at":"2026-11-22T16:10:58Z","finished_at":"2026-11-22T16:11:00Z",` +
	`"result":100000000000000000000000000001,"values":[0,"a<b",null],"error":null}`

func state(s string) string { return fmt.Sprintf(job, s) }

// TestSubmission: the JSON that flags make.
func TestSubmission(t *testing.T) {
	f := answering(t, 202, state("queued"))
	for line, want := range map[string]string{
		"squares|--range|0:5":     `{"kind":"squares","range":{"start":0,"stop":5}}`,
		"squares|--range|5":       `{"kind":"squares","range":{"stop":5}}`,
		"squares|--range=-3:9:-2": `{"kind":"squares","range":{"start":-3,"stop":9,"step":-2}}`,
		"squares|--range|:5":      `{"kind":"squares","range":{"stop":5}}`,
		"squares|--range|100000000000000000000:100000000000000000002": `{"kind":"squares","range":{"start":100000000000000000000,"stop":100000000000000000002}}`,
		"squares|--range|{stop: 7}":                                   `{"kind":"squares","range":{"stop":7}}`,
		"squares|--numbers|1,-3,1000000000000000000,2.50,NaN":         `{"kind":"squares","numbers":[1,-3,1000000000000000000,2.50,"NaN"]}`,
		"squares|--numbers|7":                                         `{"kind":"squares","numbers":[7]}`,
		"squares|--numbers|[1, \"2\"]":                                `{"kind":"squares","numbers":[1,"2"]}`,
		"sleep_batch|--count|5|--duration|5s":                         `{"kind":"sleep_batch","count":5,"duration":"5s"}`,
		"sleep_batch|--durations|50ms,0.1":                            `{"kind":"sleep_batch","durations":["50ms",0.1]}`,
		"sleep_batch|--durations|1s|--timeout|1m|--priority|high|--label|team=a|--label|x=y=z|--start-after|2026-11-27T03:00:00Z|--retention|1h": `{"kind":"sleep_batch","durations":["1s"],"timeout":"1m",` +
			`"priority":"high","labels":{"team":"a","x":"y=z"},"start_after":"2026-11-27T03:00:00Z","retention":"1h"}`,
		"array_sum|--array|readings|--axis|0":                                                       `{"kind":"array_sum","array":{"source":"npy","name":"readings"},"axis":0}`,
		"array_sum|--array|a|--retry|{attempts: 8, backoff: 1s}|--failed-retention|168h":            `{"kind":"array_sum","array":{"source":"npy","name":"a"},"retry":{"attempts":8,"backoff":"1s"},"failed_retention":"168h"}`,
		"array_sum|--array|s3://b/k.npy|--axis=-1,0":                                                `{"kind":"array_sum","array":{"source":"npy","url":"s3://b/k.npy"},"axis":[-1,0]}`,
		"array_sum|--array|file:///d/w.zarr/t":                                                      `{"kind":"array_sum","array":{"source":"zarr","url":"file:///d/w.zarr/t"}}`,
		"array_sum|--array|{values: [[1e16, NaN], [~]]}":                                            `{"kind":"array_sum","array":{"values":[[1e16,"NaN"],["~"]]}}`,
		"array_sum|--array|{\"source\":\"ones\",\"shape\":[10,10]}|--keepdims|true|--dtype|float32": `{"kind":"array_sum","array":{"source":"ones","shape":[10,10]},"keepdims":true,"dtype":"float32"}`,
		"array_reduce|--ops|mean,std|--array|a|--ddof|1":                                            `{"kind":"array_reduce","ops":["mean","std"],"array":{"source":"npy","name":"a"},"ddof":1}`,
		"array_reduce|--ops|mean|--array|a":                                                         `{"kind":"array_reduce","ops":["mean"],"array":{"source":"npy","name":"a"}}`,
	} {
		f.bodies = nil
		args := strings.Split(line, "|")
		if code, _, stderr := execute(t, "", append([]string{"submit"}, args...)...); code != 0 || len(f.bodies) != 1 {
			t.Errorf("%s: exit code %d, %d requests: %s", line, code, len(f.bodies), stderr)
			continue
		}
		// Numbers are compared as text.
		if got := decode(t, f.bodies[0]); !reflect.DeepEqual(got, decode(t, want)) {
			t.Errorf("%s:\ngot  %s\nwant %s", line, f.bodies[0], want)
		}
	}
}

func decode(t *testing.T, text string) (v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// TestEveryMemberIsAFlag: each kind of openapi.yaml is a command, with a flag for each member.
func TestEveryMemberIsAFlag(t *testing.T) {
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Discriminator struct{ Mapping map[string]string }
				AllOf         []struct {
					Ref string `yaml:"$ref"`
				} `yaml:"allOf"`
				Properties map[string]any
			}
		}
	}
	if err := yaml.Unmarshal(gather.Spec, &doc); err != nil {
		t.Fatal(err)
	}
	schemas := doc.Components.Schemas
	name := func(ref string) string { return ref[strings.LastIndex(ref, "/")+1:] }
	kinds := schemas["JobSubmission"].Discriminator.Mapping
	if len(kinds) < 4 {
		t.Fatalf("%d kinds, want 4 or more", len(kinds))
	}
	for kind, ref := range kinds {
		code, help, stderr := execute(t, "", "submit", kind, "--help")
		if code != 0 {
			t.Errorf("submit %s --help: exit code %d: %s", kind, code, stderr)
		}
		for _, part := range schemas[name(ref)].AllOf {
			for member := range schemas[name(part.Ref)].Properties {
				flag := strings.ReplaceAll(strings.TrimSuffix(member, "s"), "_", "-") // --label of labels
				if member != "kind" && !regexp.MustCompile(`--(`+kind+`-)?`+flag+`s?=`).MatchString(help) {
					t.Errorf("submit %s: no flag for the member %s", kind, member)
				}
			}
		}
	}
}

// TestSubmitFile: a file is sent as it is; with --wait the outcome is awaited.
func TestSubmitFile(t *testing.T) {
	f := answering(t, 202, state("succeeded"))
	t.Setenv("GATHER_API_KEY", "gather_key")
	code, stdout, stderr := execute(t, `{"kind":"squares","numbers":[1e2]}`, "submit", "-f", "-", "--wait", "--idempotency-key=order-17")
	if code != 0 || !strings.HasPrefix(stdout, "{") || stderr != "" {
		t.Errorf("exit code %d, %s, %s", code, stdout, stderr)
	}
	want := []string{"POST /v1/jobs", "GET /v1/jobs/j1"}
	if !reflect.DeepEqual(f.requests, want) || f.bodies[0] != `{"kind":"squares","numbers":[1e2]}` {
		t.Errorf("requests %q with %q, want %q", f.requests, f.bodies, want)
	}
	if got := f.header.Get("Authorization"); got != "Bearer gather_key" {
		t.Errorf("Authorization %q, want the key of the environment", got)
	}
	for _, args := range [][]string{{"submit"}, {"submit", "-f", "-"}, {"submit", "squares", "--range", "{"}, {"submit", "squares", "--wrong"}, {"submit", "unknown"}} {
		if code, _, stderr := execute(t, "not JSON", args...); code != cli.ExitUsage {
			t.Errorf("%v: exit code %d, want %d: %s", args, code, cli.ExitUsage, stderr)
		}
	}
	if code, _, _ := execute(t, "", "submit", "-f", "/does/not/exist"); code != cli.ExitFailure {
		t.Errorf("no such file: exit code %d, want %d", code, cli.ExitFailure)
	}
}

// TestExitCodes: what scripts can tell apart.
func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
		args   []string
		want   int
	}{
		{200, state("succeeded"), []string{"submit", "squares", "--range=5", "--wait"}, 0},
		{200, state("failed"), []string{"submit", "squares", "--range=5", "--wait"}, cli.ExitJobFailed},
		{200, state("cancelled"), []string{"submit", "squares", "--range=5", "--wait"}, cli.ExitCancelled},
		{200, state("failed"), []string{"submit", "squares", "--range=5"}, 0},
		{200, state("failed"), []string{"get", "j1"}, 0},
		{200, state("failed"), []string{"watch", "j1", "-o", "table"}, cli.ExitJobFailed},
		{200, `{"event":"end","data":` + state("failed") + "}\n", []string{"watch", "j1"}, cli.ExitJobFailed},
		{200, `{"event":"end","data":` + state("succeeded") + "}\n", []string{"watch", "j1"}, 0},
		{404, `{}`, []string{"get", "j1"}, cli.ExitFailure},
		{410, `{}`, []string{"get", "j1", "j2"}, cli.ExitFailure},
		{422, `{}`, []string{"submit", "squares"}, cli.ExitFailure},
		{401, `{}`, []string{"list"}, cli.ExitFailure},
		{429, `{}`, []string{"list"}, cli.ExitUnavailable},
		{503, `{}`, []string{"delete", "j1"}, cli.ExitUnavailable},
		{200, `{`, []string{"nodes"}, cli.ExitUnavailable}, // cut
		{200, `hello`, []string{"nodes"}, cli.ExitFailure},
	} {
		answering(t, test.status, test.body)
		if code, _, stderr := execute(t, "", append(test.args, "--retry-for=0s")...); code != test.want {
			t.Errorf("%v with %d %s: exit code %d, want %d: %s", test.args, test.status, test.body, code, test.want, stderr)
		}
	}
	t.Setenv("GATHER_SERVER", "http://127.0.0.1:1")
	if code, _, stderr := execute(t, "", "list", "--retry-for=0s"); code != cli.ExitUnavailable {
		t.Errorf("no server: exit code %d, want %d: %s", code, cli.ExitUnavailable, stderr)
	}
	if code, _, stderr := execute(t, "", "list", "--retry-for=200ms"); code != cli.ExitUnavailable || strings.Count(stderr, "retrying for 200ms") != 1 {
		t.Errorf("no server: exit code %d, %q, want %d and one line about retries", code, stderr, cli.ExitUnavailable)
	}
	for _, args := range [][]string{{"list", "--server=localhost:8080"}, {"list", "-o", "xml"}, {"list", "--state=done"}, {"get"}, {"completion", "tcsh"}} {
		if code, _, stderr := execute(t, "", args...); code != cli.ExitUsage {
			t.Errorf("%v: exit code %d, want %d: %s", args, code, cli.ExitUsage, stderr)
		}
	}
}

// TestOutput: a job as a table, JSON and an id.
func TestOutput(t *testing.T) {
	answering(t, 200, state("failed"))
	_, table, _ := execute(t, "", "get", "j1", "-o", "table")
	for _, want := range []string{"ID          j1\n", "State       failed\n", "Progress    5/5, 1 failed\n", "Duration    2s\n", "Labels      team=a\n", "Result      100000000000000000000000000001\n", "Values      0 \"a<b\" null\n"} {
		if !strings.Contains(table, want) {
			t.Errorf("the table has no %q:\n%s", want, table)
		}
	}
	_, line, _ := execute(t, "", "get", "j1", "j1")
	if strings.Count(line, "\n") != 2 || !strings.Contains(line, `"result":100000000000000000000000000001`) || !strings.Contains(line, `"a<b"`) {
		t.Errorf("got %s, want two lines of JSON with the values as they are", line)
	}
	if _, id, _ := execute(t, "", "get", "j1", "-o", "id"); id != "j1\n" {
		t.Errorf("got %q, want the id", id)
	}
}

// TestTerminalSafety: what a server sends cannot control the terminal.
func TestTerminalSafety(t *testing.T) {
	answering(t, 200, `{"arrays":[{"name":"a\u001b[2Jb","dtype":"int8","shape":[3],"state":"ready"}],"next_after":null}`)
	if _, table, _ := execute(t, "", "arrays", "list", "-o", "table"); strings.Contains(table, "\x1b") || !strings.Contains(table, "a?[2Jb") || !strings.Contains(table, "(3,)") {
		t.Errorf("got %q, want the control character replaced", table)
	}
}

// TestList: filters and limit become parameters, and pages follow each other.
func TestList(t *testing.T) {
	f := answering(t, 200, `{"jobs":[`+state("running")+`,`+state("queued")+`],"next_page_token":"more"}`)
	code, out, stderr := execute(t, "", "list", "--state=running", "--state=queued", "--kind=squares", "--label", "team=a", "--limit=3", "-o", "id")
	if code != 0 || out != strings.Repeat("j1\n", 3) {
		t.Errorf("exit code %d, %q, %s; want three ids", code, out, stderr)
	}
	want := []string{
		"GET /v1/jobs?kind=squares&label=team%3Aa&page_size=3&state=running&state=queued",
		"GET /v1/jobs?kind=squares&label=team%3Aa&page_size=3&page_token=more&state=running&state=queued",
	}
	if !reflect.DeepEqual(f.requests, want) {
		t.Errorf("requests %q, want %q", f.requests, want)
	}
}

// TestRetry: the new job is shown, and with --wait its outcome is the exit code.
func TestRetry(t *testing.T) {
	f := answering(t, 202, state("failed"))
	code, out, stderr := execute(t, "", "retry", "j0", "--wait", "-o", "id")
	want := []string{"POST /v1/jobs/j0/retry", "GET /v1/jobs/j1"}
	if code != cli.ExitJobFailed || out != "j1\n" || !reflect.DeepEqual(f.requests, want) {
		t.Errorf("exit code %d, %q, %q, %s; want %d, j1 and %q", code, out, f.requests, stderr, cli.ExitJobFailed, want)
	}
}

// TestBulk: cancel and delete take ids, or filters with --all.
func TestBulk(t *testing.T) {
	f := answering(t, 200, `{"matched":3,"changed":2,"next_page_token":null}`)
	for _, c := range []struct {
		line string
		code int
		want string // the request, or a part of the error
		out  string
	}{
		{"cancel --all --state=queued --kind=squares --label team=a", 0, "POST /v1/jobs:cancel?kind=squares&label=team%3Aa&state=queued", `{"changed":2,"matched":3,"next_page_token":null}`},
		{"delete --all --count-only", 0, "POST /v1/jobs:delete?validate_only=true", `{"changed":2,"matched":3,"next_page_token":null}`},
		{"cancel --all -o table", 0, "POST /v1/jobs:cancel", "MATCHED   CHANGED\n3         2"},
		{"cancel --all --kind=squares --kind=array_sum --priority=low --label-prefix team=a --created-before=2026-01-31T08:00:00.5Z", 0, "POST /v1/jobs:cancel?created_before=2026-01-31T08%3A00%3A00.5Z&kind=squares&kind=array_sum&label_prefix=team%3Aa&priority=low", `{"changed":2,"matched":3,"next_page_token":null}`},
		{"delete --all --finished-after=soon", cli.ExitUsage, `"soon" is neither a time`, ""},
		{"cancel", cli.ExitUsage, "either the IDs of jobs or --all", ""},
		{"delete j1 --all", cli.ExitUsage, "either the IDs of jobs or --all", ""},
		{"delete j1 --kind=squares", cli.ExitUsage, "filters and --count-only are for --all", ""},
		{"delete j1 --finished-after=1h", cli.ExitUsage, "filters and --count-only are for --all", ""},
		{"cancel j1 --count-only", cli.ExitUsage, "filters and --count-only are for --all", ""},
	} {
		f.requests = nil
		code, out, stderr := execute(t, "", strings.Fields(c.line)...)
		got := strings.Join(f.requests, "\n") + stderr
		if code != c.code || !strings.Contains(got, c.want) || strings.TrimSpace(out) != c.out {
			t.Errorf("%s: exit code %d, %q, %q; want %d, %q, %q", c.line, code, got, out, c.code, c.want, c.out)
		}
	}
}

func TestCompletions(t *testing.T) {
	for line, want := range map[string]string{
		"":                        "arrays cancel completion count delete get groups list nodes pause pauses results resume retry schedules submit watch",
		"sub":                     "submit",
		"submit s":                "sleep_batch squares",
		"submit squares --r":      "--range --retention --retry-for",
		"submit squares --range ": "",
		"submit --wait arr":       "array_reduce array_sum",
		"submit --server x arr":   "array_reduce array_sum",
		"submit --server=x arr":   "array_reduce array_sum",
		"submit -f ":              "",
		"submit --fi":             "--file",
		"list --state ca":         "cancelled cancelling",
		"list -o ":                "auto id json table",
		"list -o json --lim":      "--limit",
		"completion ":             "bash fish zsh",
		"completion bash ":        "",
		"arrays ":                 "get list put rm",
		"groups ":                 "cancel delete get list",
		"schedules put x --over":  "--overlap",
		"list --priority ":        "high low normal",
		"get ":                    "",
	} {
		args := append([]string{"complete", "--"}, strings.Split(line, " ")...)
		code, out, stderr := execute(t, "", args...)
		if got := strings.Join(strings.Fields(out), " "); code != 0 || got != want {
			t.Errorf("%q: exit code %d, got %q, want %q; %s", line, code, got, want, stderr)
		}
	}
}

// FuzzRelaxed: the result is JSON, and JSON stays the same.
func FuzzRelaxed(f *testing.F) {
	for _, text := range []string{"", "5s", "[1, 2.50, NaN]", "{a: {b: [x, 'y', \"z\"]}}", "{a: 1, a: 2}", "[", "*a", "&a [*a]", "1e400", "- x\n- y", "\"\\u00e4\"", "~"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := cli.Relaxed(text)
		if err != nil {
			return
		}
		if !json.Valid(got) {
			t.Fatalf("%q: %s is not JSON", text, got)
		}
		again, err := cli.Relaxed(string(got))
		if err != nil || !bytes.Equal(got, again) {
			t.Errorf("%q: %s becomes %s, %v", text, got, again, err)
		}
	})
}
