package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// launch runs a server in this process, on free ports, until stop is called.
func launch(t *testing.T, args ...string) (srv *server, stop func()) {
	t.Helper()
	c := parsed(t, append([]string{"--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--min-free-disk", "0"}, args...)...)
	if err := c.validate(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	srv, err := newServer(ctx, c, slog.New(slog.DiscardHandler))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.run(ctx) }()
	return srv, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	}
}

// needs skips a test if a program that it runs is missing; in CI, where everything is installed, it fails the test.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is not installed", p)
			}
			t.Skipf("%s is not installed", p)
		}
	}
}

// example is one command of the README, with the output below it.
type example struct {
	line           int
	command, shown string
}

// examples parses the console blocks of a Markdown file: a line that begins with "$ " is a command, continued after a
// backslash; the lines after it are its output.
func examples(t *testing.T, file string) []example {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []example
	in, continued := false, false
	for i, line := range strings.Split(string(data), "\n") {
		switch {
		case line == "```console":
			in = true
		case line == "```":
			in = false
		case !in:
		case continued:
			list[len(list)-1].command += "\n" + line
			continued = strings.HasSuffix(line, `\`)
		case strings.HasPrefix(line, "$ "):
			list = append(list, example{line: i + 1, command: line[2:]})
			continued = strings.HasSuffix(line, `\`)
		case len(list) == 0:
			t.Fatalf("%s:%d: output before a command", file, i+1)
		default:
			list[len(list)-1].shown += line + "\n"
		}
	}
	return list
}

var (
	uuids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)
	// Patterns of values that differ in each run, and their replacements.
	varying = []struct {
		is    *regexp.Regexp
		means string
	}{
		{uuids, "<id>"},
		{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "<time>"},
		{regexp.MustCompile(`(?m)^(Created|Duration) .*`), "$1 <any>"},
		{regexp.MustCompile(`"duration_ms":[-0-9.e]+`), `"duration_ms":<ms>`},
		{regexp.MustCompile(`"value":\d+\.\d{6}\b`), `"value":<seconds>`},
		{regexp.MustCompile(`(?i)(x-request-id: |date: |"request_id":"|etag: )[^"\r\n]+`), "$1<any>"},
	}
)

func normal(s string) string {
	s = strings.ReplaceAll(s, "\r", "")
	for _, v := range varying {
		s = v.is.ReplaceAllString(s, v.means)
	}
	return strings.TrimSpace(s)
}

// Every example runs in order against a real server and produces the output below it.
func TestReadme(t *testing.T) { runExamples(t, "../../README.md", 10) }

func TestArraysPage(t *testing.T) { runExamples(t, "../../docs/arrays.md", 3) }

func runExamples(t *testing.T, file string, least int) {
	t.Helper()
	needs(t, "sh", "curl", "jq", "python3")
	bucket, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	srv, stop := launch(t, "--data-dir", filepath.Join(t.TempDir(), "data"), "--array-bucket", "file://"+bucket, "--http-allow", "127.0.0.1")
	defer stop()
	api, metrics := srv.apiListener.Addr().String(), srv.opsListener.Addr().String()
	var lc net.ListenConfig
	free, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0") // for a receiver of webhooks
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	_ = free.Close()
	dir := t.TempDir()
	if err := os.Symlink(build(t), filepath.Join(dir, "gather")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("GATHER_SERVER", "http://"+api)
	ids := make(map[string]string) // of the README's jobs, in this run
	list := examples(t, file)
	if len(list) < least {
		t.Fatalf("got %d examples in %s, want at least %d", len(list), file, least)
	}
	for _, e := range list {
		command := strings.NewReplacer("localhost:8080", api, "localhost:9091", metrics, "file:///data", "file://"+bucket, "9099", port).Replace(e.command)
		for shown, actual := range ids {
			command = strings.ReplaceAll(command, shown, actual)
		}
		if id := uuids.FindString(e.command); id != "" && ids[id] == "" {
			t.Fatalf("%s:%d: uses %s, which no example before it shows", file, e.line, id)
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
		cmd.Dir = dir
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s:%d: %s\n%v\n%s", file, e.line, command, err, out.String())
		}
		got := strings.ReplaceAll(out.String(), api, "localhost:8080")
		if normal(got) != normal(e.shown) {
			t.Fatalf("%s:%d: %s\nshows:\n%s\nin the README:\n%s", file, e.line, e.command, got, e.shown)
		}
		before, now := uuids.FindAllString(e.shown, -1), uuids.FindAllString(got, -1)
		for i, shown := range before {
			ids[shown] = now[i]
		}
	}
}
