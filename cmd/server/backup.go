package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"gather/internal/array"
	"gather/internal/backup"
	"gather/internal/cli"
	"gather/internal/job"
	"gather/internal/journal"
)

// The admin socket is a Unix socket in the data directory of a single server: users who can read the directory can make
// backups.
const (
	adminSocket = "admin.sock"
	backupPath  = "/backup"
	// backupStall bounds how long a client may stop reading a backup.
	backupStall = 5 * time.Minute
	// summaryTrailer is the HTTP trailer with the summary of a backup, as JSON.
	summaryTrailer = "Gather-Backup"
)

// backups serves backups, one at a time.
type backups struct {
	s       *server
	journal *journal.Journal
	arrays  *array.Store
	slot    chan struct{} // holds a token while a backup is sent
}

// openAdmin listens on the admin socket. If that fails the server runs without backups.
func (s *server) openAdmin(ctx context.Context) {
	if s.backend.backups == nil {
		return
	}
	path := filepath.Join(s.cfg.DataDir, adminSocket)
	l, err := listenAdmin(ctx, path)
	if err != nil {
		s.log.Warn("opening the admin socket failed; backups are not available", "path", path, "error", err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("POST "+backupPath, s.backend.backups)
	s.admin, s.adminListener = s.httpServer(mux), l
}

func listenAdmin(ctx context.Context, path string) (net.Listener, error) {
	// Remove the socket of a killed server: this one has the lock of the data directory.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// ServeHTTP sends a backup.
func (b *backups) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case b.slot <- struct{}{}:
		defer func() { <-b.slot }()
	default:
		http.Error(w, "another backup is in progress", http.StatusConflict)
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	rc := http.NewResponseController(w)
	stop := context.AfterFunc(b.s.streams, func() {
		cancel(job.ErrDraining)
		_ = rc.SetWriteDeadline(time.Now()) // for a client that stops reading
	})
	defer stop()
	began := time.Now()
	taken, err := backup.New(ctx, b.s.cfg.DataDir, b.journal, b.arrays)
	if err != nil {
		b.s.log.Error("backup failed to start", "error", err)
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	paused := time.Since(began)
	w.Header().Set("Content-Type", "application/x-tar")
	w.Header().Set("Trailer", summaryTrailer)
	sum, err := taken.Write(ctx, &deadlineWriter{w, rc})
	err = errors.Join(err, taken.Close())
	if err != nil {
		b.s.log.Error("backup failed", "error", err)
		panic(http.ErrAbortHandler) // so that the client detects it
	}
	text, _ := json.Marshal(sum) // strings and numbers only
	w.Header().Set(summaryTrailer, string(text))
	b.s.log.Info("backup sent", "arrays", sum.Arrays, "bytes", sum.Bytes, "damaged", len(sum.Damaged),
		"prepared_in", paused, "took", time.Since(began))
}

// deadlineWriter sets a write deadline for each write.
type deadlineWriter struct {
	io.Writer
	rc *http.ResponseController
}

func (w *deadlineWriter) Write(p []byte) (int, error) {
	if err := w.rc.SetWriteDeadline(time.Now().Add(backupStall)); err != nil {
		return 0, err
	}
	return w.Writer.Write(p)
}

type backupCmd struct {
	DataDir string `default:"gather-data" placeholder:"DIR" help:"Data directory of the running server."`
}

// Run writes a backup of a running server to standard output.
func (c *backupCmd) Run(ctx context.Context, s streams) error {
	if cli.IsTerminal(s.out) {
		return fmt.Errorf("%w: refusing to write a backup to a terminal: redirect it to a file, or pipe it to 'gather restore'", errUsage)
	}
	path := filepath.Join(c.DataDir, adminSocket)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://admin"+backupPath, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			err = fmt.Errorf("no single server runs on %s: copy the directory of a stopped server, and back up a cluster with NATS: %w",
				c.DataDir, err)
		}
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return fmt.Errorf("%s: %s", resp.Status, text)
	}
	if _, err := io.Copy(s.out, resp.Body); err != nil {
		return fmt.Errorf("the backup is incomplete: %w", err)
	}
	var sum backup.Summary
	if err := json.Unmarshal([]byte(resp.Trailer.Get(summaryTrailer)), &sum); err != nil {
		return errors.New("the backup is incomplete")
	}
	for _, d := range sum.Damaged {
		_, _ = fmt.Fprintln(s.err, "damaged:", d)
	}
	if f, ok := s.out.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			if err := f.Sync(); err != nil {
				return err
			}
		}
	}
	_, err = fmt.Fprintf(s.err, "backed up %d bytes, with %d arrays\n", sum.Bytes, sum.Arrays)
	return err
}

type restoreCmd struct {
	DataDir string `required:"" placeholder:"DIR" help:"Directory to restore into. It must be empty or not exist."`

	// in replaces standard input in tests.
	in io.Reader
}

// Run restores a backup from standard input, then reads and counts everything it restored.
func (c *restoreCmd) Run(ctx context.Context, s streams) error {
	in := c.in
	if in == nil {
		in = os.Stdin
	}
	if cli.IsTerminal(in) {
		return fmt.Errorf("%w: restore reads the output of 'gather backup', not a terminal", errUsage)
	}
	if err := backup.Restore(in, c.DataDir); err != nil {
		return err
	}
	from, err := openSource(ctx, c.DataDir, s.err)
	if err != nil {
		return err
	}
	all, err := from.count(ctx, true)
	if err = errors.Join(err, from.journal.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.err, "restored", &all)
	return err
}
