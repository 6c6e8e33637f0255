package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"gather/internal/cli"
	"gather/internal/tenant"
)

// cliRun runs a command line in this process.
func cliRun(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, &out, &err)
	return code, out.String(), err.String()
}

// Every setting is in --help with its default and its environment variable.
func TestHelpListsEverySetting(t *testing.T) {
	code, help, _ := cliRun(t, "--help")
	if code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	st := reflect.TypeFor[serveCmd]()
	for f := range st.Fields() {
		if !f.IsExported() {
			continue
		}
		flag := f.Tag.Get("name")
		if flag == "" {
			flag = kebab(f.Name)
		}
		env := "$GATHER_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
		at := strings.Index(help, "--"+flag)
		if at < 0 || !strings.Contains(help, env) {
			t.Errorf("--help lacks --%s or %s", flag, env)
			continue
		}
		if def := f.Tag.Get("default"); def != "" && !strings.Contains(help[at:min(len(help), at+400)], def) {
			t.Errorf("--help does not show the default %s of --%s", def, flag)
		}
	}
}

func kebab(name string) string {
	var b strings.Builder
	for i, r := range name {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('-')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// All invalid settings are listed, and nothing starts.
func TestInvalidSettings(t *testing.T) {
	code, _, stderr := cliRun(t, "--listen", "nowhere", "--workers=-1", "--retention", "soon", "--failed-retention=9000h", "--queue-bytes", "1 banana",
		"--log-level", "loud", "--log-format", "xml", "--trusted-proxies", "10.0.0.0", "--allowed-hosts", "http://localhost:3000", "--drain-delay=-1s", "--data-dir", "")
	if code != exitUsage {
		t.Errorf("exit code %d, want %d", code, exitUsage)
	}
	for _, flag := range []string{
		"listen", "workers", "retention", "failed-retention", "queue-bytes", "log-level", "log-format", "trusted-proxies", "allowed-hosts", "drain-delay", "data-dir",
	} {
		if !strings.Contains(stderr, "--"+flag+":") {
			t.Errorf("the errors do not name --%s:\n%s", flag, stderr)
		}
	}
}

func TestOpenToTheWorldNeedsKeys(t *testing.T) {
	for listen, invalid := range map[string]bool{
		"127.0.0.1:0": false, "[::1]:0": false, "localhost:0": false, "127.8.8.8:0": false,
		":0": true, "0.0.0.0:0": true, "[::]:0": true, "10.1.2.3:0": true, "example.org:80": true,
	} {
		c := parsed(t, "--listen", listen)
		if err := c.validate(); (err != nil) != invalid {
			t.Errorf("%s: %v", listen, err)
		}
		for _, allow := range [][]string{{"--insecure-no-auth"}, {"--api-keys", "keys.json"}} {
			if err := parsed(t, append([]string{"--listen", listen}, allow...)...).validate(); err != nil {
				t.Errorf("%s %v: %v", listen, allow, err)
			}
		}
	}
}

// parsed returns a parsed command line without running it.
func parsed(t *testing.T, args ...string) *serveCmd {
	t.Helper()
	c, parser, err := newParser()
	if err == nil {
		_, err = parser.Parse(append([]string{"serve"}, args...))
	}
	if err != nil {
		t.Fatal(err)
	}
	return &c.Serve
}

func TestEnvironment(t *testing.T) {
	t.Setenv("GATHER_WORKERS", "7")
	t.Setenv("GATHER_DRAIN_TIMEOUT", "90s")
	c := parsed(t)
	if c.Workers.n != 7 || c.DrainTimeout.d != 90*time.Second {
		t.Errorf("workers %d, drain timeout %v", c.Workers.n, c.DrainTimeout.d)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "17": 17, "17B": 17, "1KiB": 1024, "2 MiB": 2 << 20, "3GiB": 3 << 30, "1TiB": 1 << 40, "1kB": 1000, "5GB": 5e9,
	} {
		var s size
		if err := s.UnmarshalText([]byte(text)); err != nil || s.err != nil || s.n != want {
			t.Errorf("%s: %d, %v", text, s.n, s.err)
		}
	}
	for _, text := range []string{"", "-1", "x", "1.5GiB", "99999999TiB", "1PB"} {
		var s size
		if _ = s.UnmarshalText([]byte(text)); s.err == nil {
			t.Errorf("%q was read as %d", text, s.n)
		}
	}
}

func TestKeysCreate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	code, text, stderr := cliRun(t, "keys", "create", "acme", "--api-keys", file, "--rate", "100", "--max-queued", "7", "--max-result-bytes", "1MiB")
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	if code, _, stderr := cliRun(t, "keys", "create", "other", "--api-keys", file, "--read-only"); code != exitOK {
		t.Fatalf("the second: exit code %d: %s", code, stderr)
	}
	data, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(data), strings.TrimSpace(text)) {
		t.Errorf("the file has the key itself, or %v", err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	keys, err := tenant.ReadFile(file)
	if err != nil || len(keys) != 2 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	store, err := tenant.NewStore(keys)
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := store.Authenticate(strings.TrimSpace(text)); !ok || p.Tenant != "acme" || p.ReadOnly {
		t.Errorf("%+v, %v", p, ok)
	}
	if n := store.MaxQueued("acme"); n != 7 {
		t.Errorf("max queued %d", n)
	}
	if n := store.MaxResultBytes("acme"); n != 1<<20 {
		t.Errorf("max result bytes %d, want 1 MiB", n)
	}
	for _, args := range [][]string{{"keys", "create", "a b", "--api-keys", file}, {"keys", "create", "x", "--api-keys", file, "--rate", "many"}, {"keys", "create", "x", "--api-keys", file, "--max-result-bytes", "-1"}} {
		if code, _, _ := cliRun(t, args...); code != exitUsage {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}

// TestKeysChange tests the life of a key by commands: listed without its secret, rotated, revoked unless it is the last
// one.
func TestKeysChange(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	keys := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		code, stdout, stderr := cliRun(t, append(append([]string{"keys"}, args...), "--api-keys", file)...)
		if code != want {
			t.Errorf("keys %v: exit code %d, want %d: %s", args, code, want, stderr)
		}
		return stdout, stderr
	}
	first, _ := keys(exitOK, "create", "acme", "--rate", "100", "--max-queued", "7", "--max-result-bytes", "4242", "--read-only")
	id := strings.Split(first, "_")[1]
	second, _ := keys(exitOK, "rotate", id)
	list, _ := keys(exitOK, "list")
	lines := strings.Split(strings.TrimSpace(list), "\n")
	if len(lines) != 3 || strings.Contains(list, strings.Split(strings.TrimSpace(first), "_")[2]) {
		t.Fatalf("want a list of two keys without secrets:\n%s", list)
	}
	for _, line := range lines[1:] {
		for _, want := range []string{"acme", "read only", "100 in 1m0s", " 7", " 4242"} {
			if !strings.Contains(line, want) {
				t.Errorf("the line %q has no %q", line, want)
			}
		}
	}
	keys(exitUsage, "rotate", "unknown")
	keys(exitUsage, "revoke", id, "unknown")
	keys(exitOK, "revoke", id)
	if _, stderr := keys(exitFailure, "revoke", strings.Split(second, "_")[1]); !strings.Contains(stderr, "last key") {
		t.Errorf("the last key: %s", stderr)
	}
	left, err := tenant.ReadFile(file)
	if err != nil || len(left) != 1 {
		t.Fatalf("%d keys, %v; want 1", len(left), err)
	}
	store, err := tenant.NewStore(left)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := store.Authenticate(strings.TrimSpace(first)); ok {
		t.Error("the revoked key is accepted")
	}
	if p, ok := store.Authenticate(strings.TrimSpace(second)); !ok || p.Tenant != "acme" || !p.ReadOnly || store.MaxQueued("acme") != 7 || store.MaxResultBytes("acme") != 4242 {
		t.Errorf("the new key: %+v, %t; want the old one's tenant and limits", p, ok)
	}
}

// TestHelpListsCommands tests that --help, the help of serve, lists the other commands.
func TestHelpListsCommands(t *testing.T) {
	_, parser, err := newParser()
	if err != nil {
		t.Fatal(err)
	}
	_, help, _ := cliRun(t, "--help")
	help = strings.Join(strings.Fields(help), " ")
	for _, command := range parser.Model.Children {
		if name := command.Name; name != "serve" && !command.Hidden && !strings.Contains(help, "'"+name+"'") {
			t.Errorf("--help does not list '%s'", name)
		}
	}
}

// TestClientsPage tests that docs/clients.md has the commands and flags of the command line.
func TestClientsPage(t *testing.T) {
	_, parser, err := newParser()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("../../docs/clients.md")
	if err != nil {
		t.Fatal(err)
	}
	page, _, _ := strings.Cut(string(data), "\n## Go\n")
	known := make(map[string]bool)
	err = kong.Visit(parser.Model, func(n kong.Visitable, next kong.Next) error {
		if f, ok := n.(*kong.Flag); ok {
			known["--"+f.Name] = true
		}
		return next(nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`--[a-z][a-z-]+`).FindAllString(page, -1)
	if len(flags) < 15 {
		t.Errorf("got %d flags, want at least 15: the test looks in the wrong place", len(flags))
	}
	for _, f := range flags {
		if !known[f] {
			t.Errorf("docs/clients.md: no command has the flag %s", f)
		}
	}
	for _, c := range parser.Model.Children {
		if _, client := reflect.TypeFor[cli.Commands]().FieldByName(strings.ToUpper(c.Name[:1]) + c.Name[1:]); client && !c.Hidden && !strings.Contains(page, "`"+c.Name) {
			t.Errorf("docs/clients.md lacks the command %s", c.Name)
		}
	}
}

func TestVersion(t *testing.T) {
	if code, out, _ := cliRun(t, "--version"); code != exitOK || !strings.HasPrefix(out, "gather ") {
		t.Errorf("--version: %d %q", code, out)
	}
	if code, out, _ := cliRun(t, "version"); code != exitOK || !strings.HasPrefix(out, "gather ") {
		t.Errorf("%d %q", code, out)
	}
}
