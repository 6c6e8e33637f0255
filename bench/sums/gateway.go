package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/sync/errgroup"
)

const accessKey, secretKey, bucketName = "someone", "a-secret-of-theirs", "data"

// gateway is an S3 server behind a proxy that delays each request. Requests of /plain/KEY need no signature.
type gateway struct {
	cmd    *exec.Cmd
	proxy  *http.Server
	addr   string // of the proxy
	direct *minio.Client
}

// startGateway starts versitygw on a directory, and the proxy.
func startGateway(ctx context.Context, dir string, delay time.Duration) (*gateway, error) {
	exe, err := exec.LookPath("versitygw")
	if err != nil {
		return nil, fmt.Errorf("go install github.com/versity/versitygw/cmd/versitygw@latest: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	_ = l.Close()
	g := &gateway{cmd: exec.CommandContext(ctx, exe, "--port", addr, "--access", accessKey, "--secret", secretKey, "--quiet", "posix", dir)}
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	g.direct, err = minio.New(addr, &minio.Options{Creds: credentials.NewStaticV4(accessKey, secretKey, ""), Transport: transport})
	if err != nil {
		return g, err
	}
	for ctx, cancel := context.WithTimeout(ctx, time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if err = g.direct.MakeBucket(ctx, bucketName, minio.MakeBucketOptions{}); err == nil || ctx.Err() != nil {
			cancel()
			break
		}
	}
	if err != nil {
		return g, err
	}
	target, err := url.Parse("http://" + addr)
	if err != nil {
		return g, err
	}
	forward := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // which is signed
	}}
	if l, err = (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return g, err
	}
	g.addr = l.Addr().String()
	g.proxy = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(delay)
		key, plain := strings.CutPrefix(r.URL.Path, "/plain/")
		if !plain {
			forward.ServeHTTP(w, r)
			return
		}
		o, err := g.direct.GetObject(r.Context(), bucketName, key, minio.GetObjectOptions{})
		if err == nil {
			var info minio.ObjectInfo
			if info, err = o.Stat(); err == nil {
				w.Header().Set("Content-Length", fmt.Sprint(info.Size))
				_, _ = io.Copy(w, o)
				return
			}
		}
		http.Error(w, err.Error(), http.StatusNotFound)
	})}
	go func() { _ = g.proxy.Serve(l) }() // ends with stop
	return g, nil
}

func (g *gateway) stop() {
	if g.proxy != nil {
		_ = g.proxy.Close()
	}
	_ = g.cmd.Process.Kill()
	_ = g.cmd.Wait()
}

// upload writes the files of a directory as objects below a prefix.
func (g *gateway) upload(ctx context.Context, dir, prefix string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, f := range files {
		group.Go(func() error {
			_, err := g.direct.FPutObject(ctx, bucketName, prefix+"/"+f.Name(), filepath.Join(dir, f.Name()), minio.PutObjectOptions{})
			return err
		})
	}
	return errors.Join(group.Wait())
}
