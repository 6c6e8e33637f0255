package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Cluster settings are checked together, each error names its flag, and no password is repeated.
func TestNodeSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const url = "--nats-url=nats://a:4222"
	for _, c := range []struct {
		args []string
		want []string // flags with an error
	}{
		{args: []string{}},
		{args: []string{"--nats-url=nats://a:4222, tls://user:word@b,wss://[::1]:443", "--nats-creds=" + file, "--nats-ca=" + file}},
		{args: []string{url, "--nats-cert=" + file, "--nats-key=" + file, "--nats-replicas=1", "--node-timeout=1s", "--nats-prefix=a-1"}},
		{args: []string{"--node-name=north 1, the \u201cbig\u201d one", "--node-timeout=10m", "--nats-replicas=5"}},
		{args: []string{"--node-name=" + strings.Repeat("\u00e4", 128)}},
		{args: []string{"--node-name=" + strings.Repeat("\u00e4", 129)}, want: []string{"node-name"}},
		{args: []string{"--node-name=a\nb"}, want: []string{"node-name"}},
		{args: []string{"--nats-url=a:4222"}, want: []string{"nats-url"}},
		{args: []string{"--nats-url=http://user:secret@a"}, want: []string{"nats-url"}},
		{args: []string{"--nats-url=nats://a,nats://user:secret@"}, want: []string{"nats-url"}},
		{args: []string{"--nats-url=nats://user:secret %@a"}, want: []string{"nats-url"}},
		{args: []string{"--nats-creds=" + file, "--nats-ca=" + file}, want: []string{"nats-creds", "nats-ca"}},
		{args: []string{"--nats-cert=" + file, "--nats-key=" + file}, want: []string{"nats-cert", "nats-key"}},
		{args: []string{url, "--nats-cert=" + file}, want: []string{"nats-cert"}},
		{args: []string{url, "--nats-key=" + file}, want: []string{"nats-cert"}},
		{args: []string{url, "--nats-creds=" + file + ".none"}, want: []string{"nats-creds"}},
		{
			args: []string{"--nats-prefix=Gather", "--nats-replicas=6", "--node-timeout=999ms"},
			want: []string{"nats-prefix", "nats-replicas", "node-timeout"},
		},
		{args: []string{"--nats-prefix=", "--nats-replicas=three", "--node-timeout=10m1s"}, want: []string{"nats-prefix", "nats-replicas", "node-timeout"}},
		{args: []string{"--log-snapshot=64KiB"}},
		{args: []string{"--log-snapshot=63KiB"}, want: []string{"log-snapshot"}},
		{args: []string{"--log-snapshot=much"}, want: []string{"log-snapshot"}},
		{args: []string{"--nats-prefix=a.b", "--nats-replicas=0", "--node-timeout=soon"}, want: []string{"nats-prefix", "nats-replicas", "node-timeout"}},
	} {
		err := parsed(t, c.args...).validate()
		if err == nil {
			if len(c.want) > 0 {
				t.Errorf("%q was accepted", c.args)
			}
			continue
		}
		if n := strings.Count(err.Error(), "\n"); n != len(c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", c.args, err)
		}
		for _, flag := range c.want {
			if !strings.Contains(err.Error(), "\n--"+flag+": ") {
				t.Errorf("%q: nothing of --%s in %v", c.args, flag, err)
			}
		}
	}
}

func TestNodeName(t *testing.T) {
	c := parsed(t)
	host, err := os.Hostname()
	if err != nil {
		t.Skip(err)
	}
	if err := c.validate(); err != nil || c.NodeName != host {
		t.Errorf("the name is %q on %q, %v", c.NodeName, host, err)
	}
}

func TestServersInLogs(t *testing.T) {
	const list = "nats://user:word@a:4222, tls://token@b,nats://c:1"
	if got := natsServers(list); got != "nats://a:4222,tls://b,nats://c:1" {
		t.Errorf("%s is logged as %s", list, got)
	}
}

// A single server is its only node, with a new ID after a restart.
func TestOnlyNode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	ids := make(map[string]bool)
	for range 2 {
		srv, stop := launch(t, "--data-dir", dir, "--node-name", "north", "--workers", "3")
		var list struct{ Nodes []map[string]any }
		get(t, "http://"+srv.apiListener.Addr().String()+"/v1/nodes", &list)
		stop()
		if len(list.Nodes) != 1 {
			t.Fatalf("nodes %v", list.Nodes)
		}
		n := list.Nodes[0]
		if self, _ := n["self"].(bool); !self || n["name"] != "north" || n["version"] != version() || n["workers"] != 3. || n["behind"] != 0. {
			t.Errorf("%v", n)
		}
		ids[n["id"].(string)] = true
	}
	if len(ids) != 2 {
		t.Errorf("ids %v", ids)
	}
}

// get decodes JSON from a URL.
func get(t *testing.T, url string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s %v", url, resp.StatusCode, data, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %s: %v", url, data, err)
	}
}
