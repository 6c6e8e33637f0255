// Package browser_test drives the console of a real server in a real browser.
package browser_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// built is the directory of the server's binary; chrome the browser that all tests share.
var (
	built  string
	chrome context.Context //nolint:containedctx // of the process
)

// programs are names of the browser.
var programs = []string{"chromium", "chromium-browser", "google-chrome"}

func TestMain(m *testing.M) {
	os.Exit(func() int { //nolint:forbidigo // that is what TestMain is for
		var err error
		if built, err = os.MkdirTemp("", "gather-console-"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(built)
		options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.WindowSize(1280, 900), chromedp.Flag("disable-gpu", true))
		for _, p := range programs {
			if path, err := exec.LookPath(p); err == nil {
				options = append(options, chromedp.ExecPath(path))
				break
			}
		}
		if os.Geteuid() == 0 {
			options = append(options, chromedp.NoSandbox) // the sandbox does not run as root
		}
		allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
		defer stop()
		var end context.CancelFunc
		chrome, end = chromedp.NewContext(allocator) //nolint:fatcontext // set once
		defer end()
		return m.Run()
	}())
}

// limit bounds one test.
const limit = 15 * time.Second

// binary builds the server, once.
var binary = sync.OnceValues(func() (string, error) {
	if f := os.Getenv("DEVBIN"); f != "" {
		return f, nil
	}
	file := filepath.Join(built, "server")
	out, err := exec.CommandContext(context.Background(), "go", "build", "-C", "../../..", "-o", file, "./cmd/server").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return file, nil
})

// A server is a process.
type server struct {
	url  string
	args []string
	stop func()
}

// serve starts a server.
func serve(t *testing.T, args ...string) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // for a free port, which a restart uses again
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	s := &server{url: "http://" + address, args: append([]string{
		"--listen=" + address, "--metrics-listen=", "--data-dir=" + t.TempDir(), "--log-format=json", "--node-name=console", "--workers=2",
	}, args...)}
	s.start(t)
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *server) start(t *testing.T) {
	t.Helper()
	file, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(context.Background(), file, s.args...)
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	serving := make(chan struct{})
	go func() { // ends with the process
		defer close(ended)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if strings.Contains(lines.Text(), `"msg":"serving"`) {
				close(serving)
			}
		}
		_ = c.Wait()
	}()
	s.stop = sync.OnceFunc(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	select {
	case <-serving:
	case <-ended:
		t.Fatal("the server ended")
	}
}

// send posts JSON and returns the response.
func (s *server) send(t *testing.T, key, path, body string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= http.StatusMultipleChoices {
		t.Fatalf("POST %s: got %d, %v: %s", path, resp.StatusCode, err, data)
	}
	return data
}

// post submits a job and returns its id.
func (s *server) post(t *testing.T, submission string) string {
	t.Helper()
	var job struct{ ID string }
	if err := json.Unmarshal(s.send(t, "", "/v1/jobs", submission), &job); err != nil {
		t.Fatal(err)
	}
	return job.ID
}

// A page is a tab of the browser at the console of a server.
type page struct {
	context.Context
	t      *testing.T
	server *server

	mu sync.Mutex
	// faults are exceptions, and messages of the browser, such as violations of the policy.
	faults []string
}

// open opens a tab at a route of the console.
func open(t *testing.T, s *server, route string) *page {
	t.Helper()
	if browser() == "" {
		t.Skip("no " + programs[0])
	}
	if err := chromedp.Do(chrome); err != nil { // starts the browser
		t.Fatal(err)
	}
	p := &page{t: t, server: s}
	ctx, closeTab := chromedp.NewContext(chrome, chromedp.WithNewBrowserContext(), chromedp.WithListener(p.observe))
	t.Cleanup(closeTab)
	p.Context = ctx
	if err := chromedp.Do(ctx); err != nil { // the tab lives as long as the context of its first action
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, cdppage.BringToFront, cdp.Empty{}); err != nil { // a tab in the background draws nothing
		t.Fatal(err)
	}
	p.run(chromedp.Navigate(s.url + "/ui/#/" + route))
	t.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, f := range p.faults {
			t.Errorf("in the browser: %s", f)
		}
	})
	return p
}

func browser() string {
	for _, p := range programs {
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	return ""
}

// observe records faults. A failed request is none: the console shows it.
func (p *page) observe(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		p.faults = append(p.faults, e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			p.faults = append(p.faults, e.Entry.Text)
		}
	}
}

// run runs actions.
func (p *page) run(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p, limit)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatalf("%v\n%s", err, p.text())
	}
}

// value evaluates an expression in JavaScript.
func value[T any](p *page, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p, limit)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// text returns the text of the page.
func (p *page) text() string {
	text, _ := chromedp.Run(p, chromedp.Evaluate[string](`document.body.innerText`))
	return text
}

// wait waits until an expression in JavaScript is true.
func (p *page) wait(expression string) {
	p.t.Helper()
	for begun := time.Now(); !value[bool](p, expression); {
		if time.Since(begun) > limit {
			p.t.Fatalf("never true at %s: %s\n%s", value[string](p, `location.hash`), expression, p.text())
		}
		time.Sleep(30 * time.Millisecond) // a poll of the browser
	}
}

// see waits until the page shows a text.
func (p *page) see(text string) {
	p.t.Helper()
	p.wait(fmt.Sprintf(`document.body.innerText.includes(%q)`, text))
}

// press clicks the button or link with a text.
func (p *page) press(text string) {
	p.t.Helper()
	p.wait(fmt.Sprintf(`(() => { const e = [...document.querySelectorAll('dialog[open] button, dialog[open] a, main button, main a')].find((e) => e.textContent.trim() === %q && !e.disabled); e?.click(); return !!e; })()`, text))
}
