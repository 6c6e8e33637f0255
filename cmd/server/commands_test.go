package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gather/client"
	"gather/internal/cli"
)

// command runs a command of a client against a server, and expects an exit code.
func command(t *testing.T, want int, args ...string) string {
	t.Helper()
	code, stdout, stderr := cliRun(t, args...)
	if code != want {
		t.Fatalf("gather %s: exit code %d, want %d: %s", strings.Join(args, " "), code, want, stderr)
	}
	return stdout
}

// decoded decodes the JSON lines that a command printed.
func decoded[T any](t *testing.T, stdout string) (all []T) {
	t.Helper()
	for d := json.NewDecoder(strings.NewReader(stdout)); d.More(); {
		var v T
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%v: %s", err, stdout)
		}
		all = append(all, v)
	}
	return all
}

// TestCommands: the life of jobs and arrays by commands, on a server with API keys.
func TestCommands(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys.json")
	key := command(t, exitOK, "keys", "create", "acme", "--api-keys", keys)
	srv, stop := launch(t, "--data-dir", filepath.Join(t.TempDir(), "data"), "--api-keys", keys)
	defer stop()
	t.Setenv("GATHER_SERVER", "http://"+srv.apiListener.Addr().String())
	command(t, exitFailure, "list") // no key
	t.Setenv("GATHER_API_KEY", strings.TrimSpace(key))

	j := decoded[client.Job](t, command(t, exitOK, "submit", "squares", "--range", "0:5", "--label", "team=a", "--wait"))[0]
	if got, err := json.Marshal(j.Values); err != nil || string(got) != "[0,1,4,9,16]" {
		t.Errorf("values %s, %v, want the squares", got, err)
	}
	if p := decoded[client.SubmissionPreview](t, command(t, exitOK, "submit", "squares", "--range=7", "--validate-only"))[0]; p.Items != 7 {
		t.Errorf("%d items would be made, want 7", p.Items)
	}
	if items := decoded[client.Item](t, command(t, exitOK, "results", j.ID, "--by-index", "--after=1")); len(items) != 3 || string(items[0].Value) != "4" {
		t.Errorf("items %+v, want the last three", items)
	}
	events := strings.Split(strings.TrimSpace(command(t, exitOK, "watch", j.ID)), "\n")
	if last := events[len(events)-1]; len(events) < 8 || !strings.HasPrefix(last, `{"event":"end"`) {
		t.Errorf("%d events, the last is %s; want at least 8 and the end", len(events), last)
	}
	if got, want := command(t, exitOK, "get", j.ID, "--submission"), `"range":{"start":0,"stop":5}`; !strings.Contains(got, want) || !strings.Contains(got, `"labels":{"team":"a"}`) {
		t.Errorf("submission %s, want %s and the label", got, want)
	}
	failed := command(t, cli.ExitJobFailed, "submit", "sleep_batch", "--count=1", "--duration=1h", "--timeout=10ms", "--wait")
	command(t, cli.ExitJobFailed, "results", decoded[client.Job](t, failed)[0].ID)
	sleeping := strings.TrimSpace(command(t, exitOK, "submit", "sleep_batch", "--durations=1h", "-o", "id"))
	if got := command(t, exitOK, "list", "--state=queued", "--state=running", "-o", "id"); strings.TrimSpace(got) != sleeping {
		t.Errorf("unfinished jobs %q, want %s", got, sleeping)
	}
	command(t, exitFailure, "delete", sleeping)
	if j := decoded[client.Job](t, command(t, exitOK, "cancel", sleeping, "--wait"))[0]; j.State != client.StateCancelled {
		t.Errorf("state %s, want cancelled", j.State)
	}
	command(t, cli.ExitCancelled, "watch", sleeping)
	command(t, exitOK, "delete", sleeping, j.ID)
	command(t, exitFailure, "get", sleeping)
	if got := command(t, exitOK, "list", "--label=team=a"); got != "" {
		t.Errorf("jobs %s, want none", got)
	}
	if nodes := decoded[client.Node](t, command(t, exitOK, "nodes")); len(nodes) != 1 || !nodes[0].Self {
		t.Errorf("nodes %+v, want this one", nodes)
	}
	commandsOfGroups(t)
	commandsOfSchedules(t)
	commandsOfArrays(t)
}

func commandsOfGroups(t *testing.T) {
	t.Helper()
	command(t, exitOK, "submit", "squares", "--range=3", "--group=nightly")
	sleeping := strings.TrimSpace(command(t, exitOK, "submit", "sleep_batch", "--durations=1h", "--group=nightly", "-o", "id"))
	if got := command(t, exitOK, "groups", "list", "-o", "id"); got != "nightly\n" {
		t.Errorf("groups %q, want nightly", got)
	}
	command(t, exitFailure, "groups", "delete", "nightly")
	if got := command(t, exitOK, "groups", "cancel", "nightly", "--count-only", "-o", "table"); !strings.HasSuffix(got, "\n1         0\n") {
		t.Errorf("count %q, want one job of which none is cancelled", got)
	}
	command(t, exitOK, "groups", "cancel", "nightly")
	g := decoded[client.Group](t, command(t, cli.ExitCancelled, "groups", "get", "nightly", "--wait"))[0]
	if g.Jobs.Succeeded != 1 || g.Jobs.Cancelled != 1 || g.FinishedAt == nil {
		t.Errorf("group %+v, want one job that succeeded and one that was cancelled", g)
	}
	if retry := decoded[client.Job](t, command(t, exitOK, "retry", sleeping))[0]; retry.RetryOf == nil || *retry.RetryOf != sleeping || *retry.Group != "nightly" {
		t.Errorf("retry of %v in the group %v, want of %s in nightly", retry.RetryOf, retry.Group, sleeping)
	}
	if got := command(t, exitOK, "cancel", "--all", "--group=nightly", "--created-after=1h", "-o", "id"); got != "1\n" {
		t.Errorf("%q jobs were cancelled, want 1", got)
	}
	command(t, cli.ExitCancelled, "groups", "get", "nightly", "--wait")
	if got := command(t, exitOK, "groups", "delete", "nightly", "-o", "id"); got != "3\n" {
		t.Errorf("%q jobs were deleted, want 3", got)
	}
	command(t, exitFailure, "groups", "get", "nightly")
}

func commandsOfSchedules(t *testing.T) {
	t.Helper()
	const submission = "{kind: squares, numbers: [100000000000000000000000000001]}"
	put := decoded[client.Schedule](t, command(t, exitOK, "schedules", "put", "nightly", submission, "--cron=30 4 * * 1-5", "--time-zone=Europe/Berlin"))[0]
	if !strings.Contains(string(put.Submission), "[100000000000000000000000000001]") || put.CatchUp.Runs != 1 || put.NextRunAt == nil {
		t.Errorf("schedule %+v with %s, want the number, the default to catch up, and a next run", put, put.Submission)
	}
	run := decoded[client.Job](t, command(t, exitOK, "schedules", "run", "nightly", "--wait"))[0]
	if run.State != client.StateSucceeded || run.Labels["schedule"] != "nightly" {
		t.Errorf("run %s with labels %v, want succeeded, of the schedule", run.State, run.Labels)
	}
	if got := command(t, exitOK, "schedules", "history", "nightly", "-o", "id"); strings.TrimSpace(got) != run.ID {
		t.Errorf("history %q, want %s", got, run.ID)
	}
	if paused := decoded[client.Schedule](t, command(t, exitOK, "schedules", "pause", "nightly"))[0]; !paused.Paused {
		t.Error("the schedule is not paused")
	}
	if resumed := decoded[client.Schedule](t, command(t, exitOK, "schedules", "resume", "nightly"))[0]; resumed.Paused || resumed.NextRunAt == nil {
		t.Errorf("schedule %+v, want a resumed one", resumed)
	}
	command(t, exitFailure, "schedules", "put", "nightly", submission, "--cron=61 4 * * *")
	if got := command(t, exitOK, "schedules", "list", "-o", "id"); got != "nightly\n" {
		t.Errorf("schedules %q, want nightly", got)
	}
	command(t, exitOK, "schedules", "delete", "nightly")
	command(t, exitFailure, "schedules", "get", "nightly")
	if counts := decoded[client.JobCounts](t, command(t, exitOK, "count", "--kind=squares"))[0]; counts.Succeeded != 1 || counts.Total != 1 {
		t.Errorf("counts %+v, want the run", counts)
	}
	command(t, exitOK, "delete", "--all", "--label-prefix=schedule=night")
}

func commandsOfArrays(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	sums, copied := filepath.Join(dir, "sums.npy"), filepath.Join(dir, "copy.npy")
	id := strings.TrimSpace(command(t, exitOK, "submit", "array_sum", "--array", "{source: ones, shape: [3, 1000]}", "--axis=0", "--wait", "-o", "id"))
	command(t, exitOK, "results", id, "--npy", sums)
	a := decoded[client.StoredArray](t, command(t, exitOK, "arrays", "put", "sums", sums))[0]
	if a.Name != "sums" || len(a.Shape) != 1 || a.Shape[0] != 1000 {
		t.Errorf("array %+v, want 1000 sums", a)
	}
	j := decoded[client.Job](t, command(t, exitOK, "submit", "array_sum", "--array", "sums", "--wait"))[0]
	if string(j.Result) != "3000.0" {
		t.Errorf("result %s, want 3000.0", j.Result)
	}
	command(t, exitOK, "arrays", "get", "sums", copied)
	want, err := os.ReadFile(sums)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(copied); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the copy has %d bytes, %v, want the same %d", len(got), err, len(want))
	}
	if got := command(t, exitOK, "arrays", "get", "sums", "-"); got != string(want) {
		t.Errorf("standard output has %d bytes, want the same %d", len(got), len(want))
	}
	if got := command(t, exitOK, "arrays", "list", "-o", "id"); got != "sums\n" {
		t.Errorf("arrays %q, want sums", got)
	}
	command(t, exitOK, "arrays", "rm", "sums")
	command(t, exitFailure, "arrays", "get", "sums", copied)
	if files, err := os.ReadDir(dir); err != nil || len(files) != 2 {
		t.Errorf("files %v, %v: want the two, and no partial download", files, err)
	}
}

// TestBashCompletion: bash completes commands, flags and values with the script.
func TestBashCompletion(t *testing.T) {
	needs(t, "bash")
	dir := t.TempDir()
	if err := os.Symlink(build(t), filepath.Join(dir, "gather")); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"gather sub":                      "submit",
		"gather submit squares --ra":      "--range",
		"gather list --state canc":        "cancelled cancelling",
		"gather arrays ":                  "get list put rm",
		"gather keys create --read-only ": "",
	} {
		cmd := exec.CommandContext(t.Context(), "bash", "--norc", "-c", `source <(gather completion bash)
			COMP_WORDS=($1); [[ $1 != *" " ]] || COMP_WORDS+=("")
			COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _gather; echo "${COMPREPLY[@]}"`, "bash", line)
		cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", line, got, err, want)
		}
	}
}
