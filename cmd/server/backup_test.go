package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// backedUp has the accepted jobs and the final states that clients saw.
type backedUp struct {
	mu       sync.Mutex
	jobs     map[string]trackedJob
	accepted milestones
}

func (b *backedUp) set(p trackedJob) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.jobs[p.id]; !ok {
		b.accepted.add()
	}
	b.jobs[p.id] = p
}

func (b *backedUp) snapshot() map[string]trackedJob {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.jobs)
}

// one submits a job and waits for its end.
func (b *backedUp) one(ctx context.Context, c *testClient, o order) error {
	v, err := c.submit(ctx, o.body)
	if err != nil {
		return err
	}
	p := trackedJob{order: o, id: v.ID}
	b.set(p)
	if v, err = c.wait(ctx, v.ID); err != nil {
		return err
	}
	p.final = &v
	b.set(p)
	return nil
}

// onArray uploads an array under a reused name, sums it, and deletes it.
func (b *backedUp) onArray(ctx context.Context, c *testClient, worker, i int) error {
	values := bytes.Repeat([]byte{byte(1 + i%200)}, 100_000)
	file := append([]byte("\x93NUMPY\x01\x00\x76\x00"+fmt.Sprintf("%-117s\n", `{'descr': '|u1', 'fortran_order': False, 'shape': (100000,), }`)), values...)
	path := fmt.Sprintf("/v1/arrays/churn-%d", worker)
	if a, err := c.do(ctx, http.MethodPut, path, string(file), "Content-Type", "application/x-npy"); err != nil {
		return err
	} else if a.status/100 != 2 {
		return fmt.Errorf("upload: status %d: %s", a.status, a.body)
	}
	name := fmt.Sprintf(`{"source":"npy","name":"churn-%d","chunks":500}`, worker)
	if err := b.one(ctx, c, sumOrder(name, fmt.Sprint(100_000*(1+i%200)))); err != nil {
		return err
	}
	for {
		// A job releases its array shortly after its end is visible.
		a, err := c.do(ctx, http.MethodDelete, path, "")
		if err != nil || a.status == http.StatusNoContent {
			return err
		}
		if a.status != http.StatusConflict {
			return fmt.Errorf("delete: status %d, want %d: %s", a.status, http.StatusNoContent, a.body)
		}
	}
}

// TestBackup makes backups while clients submit jobs and replace arrays. A server on the restored data has every job
// accepted before the backup began: ended ones unchanged, and the others run to their ends with their arrays.
func TestBackup(t *testing.T) {
	t.Parallel()
	needs(t, "tar", "sha256sum")
	const jobs, workers = 400, 8
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute) // takes seconds; a busy machine may need more
	defer cancel()
	p := startProcess(t, "--workers=2")
	data := strings.TrimPrefix(p.args[slices.IndexFunc(p.args, func(a string) bool { return strings.HasPrefix(a, "--data-dir=") })], "--data-dir=")
	c := newClient(p)
	b := &backedUp{jobs: make(map[string]trackedJob)}

	var next atomic.Int64
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= jobs && ctx.Err() == nil; i = int(next.Add(1)) {
				var err error
				if worker%2 == 0 {
					err = b.onArray(ctx, c, worker, i)
				} else {
					err = b.one(ctx, c, orderFor(i))
				}
				if err != nil {
					t.Errorf("job %d: %v", i, err)
					return
				}
			}
		})
	}
	type taken struct {
		file string
		jobs map[string]trackedJob
	}
	var all []taken
	withArrays := false
	for i := range 4 {
		b.accepted.reach(ctx, jobs*(i+1)/5)
		k := taken{file: filepath.Join(t.TempDir(), "backup.tar"), jobs: b.snapshot()}
		began := time.Now()
		text := takeBackup(ctx, t, p.path, data, k.file)
		t.Logf("%d jobs were accepted; %s in %s", len(k.jobs), strings.TrimSpace(text), time.Since(began).Round(time.Millisecond))
		all = append(all, k)
		withArrays = withArrays || !strings.Contains(text, " 0 arrays")
	}
	wg.Wait()
	if !withArrays {
		t.Error("no backup has an array")
	}
	if left, err := filepath.Glob(filepath.Join(data, "*.tmp*")); err != nil || len(left) > 0 {
		t.Errorf("after the backups the data directory has %v (%v)", left, err)
	}
	p.kill()

	for i, k := range all {
		dir := filepath.Join(t.TempDir(), "restored")
		if i == 0 {
			extract(ctx, t, k.file, dir)
		} else {
			restore(ctx, t, p.path, k.file, dir)
		}
		checkModes(t, dir)
		r := &process{t: t, path: p.path, args: []string{"--listen=127.0.0.1:0", "--metrics-listen=", "--log-format=json", "--data-dir=" + dir}}
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
		l := &tracker{jobs: make(map[string]*trackedJob)}
		for id, one := range k.jobs {
			l.jobs[id] = &one
		}
		l.verify(ctx, t, newClient(r))
		r.kill()
	}
}

// takeBackup runs 'gather backup' and returns its summary.
func takeBackup(ctx context.Context, t *testing.T, server, data, file string) string {
	t.Helper()
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var text bytes.Buffer
	cmd := exec.CommandContext(ctx, server, "backup", "--data-dir", data)
	cmd.Stdout, cmd.Stderr = out, &text
	if err := cmd.Run(); err != nil {
		t.Fatalf("backup: %v\n%s", err, &text)
	}
	return text.String()
}

func restore(ctx context.Context, t *testing.T, server, file, dir string) {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd := exec.CommandContext(ctx, server, "restore", "--data-dir", dir)
	cmd.Stdin = in
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("restore: %v\n%s", err, text)
	}
	t.Logf("%s", bytes.TrimSpace(text))
}

// extract restores with tar alone.
func extract(ctx context.Context, t *testing.T, file, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"tar", "-xpf", file}, {"sha256sum", "--check", "--quiet", "SHA256SUMS"}} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir = dir
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, text)
		}
	}
}

func checkModes(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s, want nothing for its group and others", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestBackupErrors tests backups that cannot be made or restored.
func TestBackupErrors(t *testing.T) {
	data := t.TempDir()
	if code, out, text := cliRun(t, "backup", "--data-dir", data); code != exitFailure || out != "" || !strings.Contains(text, "no single server") {
		t.Errorf("without a server: exit code %d, %q, %q; want %d and that no server runs", code, out, text, exitFailure)
	}
	srv, stop := launch(t, "--data-dir", data)
	defer stop()
	socket := filepath.Join(data, adminSocket)
	if info, err := os.Stat(socket); err != nil || info.Mode().Type() != fs.ModeSocket || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v; want a socket for its owner only", socket, info, err)
	}
	srv.backend.backups.(*backups).slot <- struct{}{}
	if code, out, text := cliRun(t, "backup", "--data-dir", data); code != exitFailure || out != "" || !strings.Contains(text, "409") {
		t.Errorf("beside another: exit code %d, %q, %q; want %d and 409", code, out, text, exitFailure)
	}
	<-srv.backend.backups.(*backups).slot
	// Backups are not available through the API and metrics listeners.
	for _, addr := range []string{srv.apiListener.Addr().String(), srv.opsListener.Addr().String()} {
		if status, _ := call(t, http.MethodPost, "http://"+addr+backupPath, "", nil); status != http.StatusNotFound {
			t.Errorf("POST %s%s: %d, want %d", addr, backupPath, status, http.StatusNotFound)
		}
	}
	code, out, text := cliRun(t, "backup", "--data-dir", data)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, text)
	}
	for what, archive := range map[string]string{"half": out[:len(out)/2], "nothing": "", "something else": "{}"} {
		dir := filepath.Join(t.TempDir(), "restored")
		c := &restoreCmd{DataDir: dir, in: strings.NewReader(archive)}
		if err := c.Run(t.Context(), streams{}); err == nil {
			t.Errorf("%s was restored", what)
		}
	}
	c := &restoreCmd{DataDir: data, in: strings.NewReader(out)}
	if err := c.Run(t.Context(), streams{}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("over a data directory: %v, want that it is not empty", err)
	}
}
