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
	commandsOfArrays(t)
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
