package deploy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
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

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// built has the server's binary.
var built string

func TestMain(m *testing.M) {
	os.Exit(func() int { //nolint:forbidigo // that is what TestMain is for
		var err error
		if built, err = os.MkdirTemp("", "gather-deploy-"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(built)
		return m.Run()
	}())
}

// binary builds the server, once.
var binary = sync.OnceValues(func() (string, error) {
	file := filepath.Join(built, "server")
	out, err := exec.CommandContext(context.Background(), "go", "build", "-C", "..", "-o", file, "./cmd/server").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return file, nil
})

// A server is a server process.
type server struct {
	api, ops string // addresses
	kill     func() // ends the process as kill -9 does
}

// serve starts a server and waits until it listens.
func serve(t *testing.T, args ...string) *server {
	t.Helper()
	file, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	log, kill := launch(t, file, append([]string{
		"--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", "--data-dir=" + t.TempDir(), "--log-format=json",
	}, args...)...)
	for line := range log {
		var entry struct{ Msg, API, Metrics string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "serving" {
			return &server{api: "http://" + entry.API, ops: entry.Metrics, kill: kill}
		}
		t.Log(line)
	}
	t.Fatal("the server ended")
	return nil
}

// launch starts a process and stops it at the end of the test. The channel receives its lines of standard error until it ends;
// lines are dropped while the channel is full. The returned function kills the process.
func launch(t *testing.T, program string, args ...string) (<-chan string, func()) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 100)
	read := make(chan struct{})
	go func() { // ends with the process
		defer close(read)
		defer close(lines)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			select {
			case lines <- s.Text():
			default:
			}
		}
		_, _ = io.Copy(io.Discard, stderr)
	}()
	killed := false
	t.Cleanup(func() {
		kill := time.AfterFunc(60*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		<-read
		if err := cmd.Wait(); err != nil && !killed {
			t.Errorf("%s: %v", filepath.Base(program), err)
		}
	})
	return lines, func() {
		killed = true
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		<-read
	}
}

// freePort returns a port without a listener.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// fetch requests a page, which must exist.
func fetch(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v\n%s", url, resp.Status, err, body)
	}
	return string(body)
}

// families caches the metrics of a new server and of a cluster node.
var families map[string]*dto.MetricFamily

func metrics(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	if families != nil {
		return families
	}
	all := map[string]*dto.MetricFamily{}
	for _, s := range []*server{serve(t, cluster(t)...), serve(t)} {
		parser := expfmt.NewTextParser(model.UTF8Validation)
		some, err := parser.TextToMetricFamilies(strings.NewReader(fetch(t, "http://"+s.ops+"/metrics")))
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(all, some)
	}
	families = all
	return families
}

// onlyCluster reports whether only nodes of a cluster have a metric.
func onlyCluster(name string) bool { return strings.HasPrefix(name, "gather_cluster_") }

// exposed returns the names of the metrics of a new server.
func exposed(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for name := range metrics(t) {
		names[name] = true
	}
	return names
}
