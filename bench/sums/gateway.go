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
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/sync/errgroup"
)

// latency is the delay of each request to the S3 server.
const latency = 20 * time.Millisecond

const accessKey, secretKey, bucketName = "someone", "a-secret-of-theirs", "data"

// gateway is an S3 server behind a proxy that delays each request. Requests of /plain/KEY need no signature.
type gateway struct {
	cmd             *exec.Cmd
	proxy           *http.Server
	addr            string // of the proxy
	direct, delayed *minio.Client
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
	options := &minio.Options{Creds: credentials.NewStaticV4(accessKey, secretKey, ""), Transport: transport}
	if g.direct, err = minio.New(addr, options); err != nil {
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
	if g.delayed, err = minio.New(g.addr, options); err != nil {
		return g, errors.Join(err, l.Close())
	}
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

// startOnBucket starts an S3 server with latency, and gather on its bucket and on the files of the lab.
func (l *lab) startOnBucket(ctx context.Context) (*gateway, error) {
	dir := filepath.Join(l.dir, "s3")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	g, err := startGateway(ctx, dir, latency)
	if err == nil {
		err = errors.Join(os.Setenv("AWS_ACCESS_KEY_ID", accessKey), os.Setenv("AWS_SECRET_ACCESS_KEY", secretKey))
	}
	if err == nil {
		l.gather, err = startService(ctx, l.server, "--array-bucket=file://"+l.dir,
			"--array-bucket=s3://"+bucketName+"?region=us-east-1&endpoint=http://"+g.addr)
	}
	return g, err
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
			return g.put(ctx, filepath.Join(dir, f.Name()), prefix+"/"+f.Name())
		})
	}
	return errors.Join(group.Wait())
}

// put writes a file as an object.
func (g *gateway) put(ctx context.Context, path, key string) error {
	_, err := g.direct.FPutObject(ctx, bucketName, key, path, minio.PutObjectOptions{})
	return err
}

// readRanges reads an object of some bytes in ranges, some at a time, through the proxy.
func (g *gateway) readRanges(ctx context.Context, key string, bytes, size int64, parallel int) (response, error) {
	began, c := time.Now(), minio.Core{Client: g.delayed}
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range parallel {
		group.Go(func() error {
			for lo := next.Add(size) - size; lo < bytes; lo = next.Add(size) - size {
				hi := min(lo+size, bytes)
				var o minio.GetObjectOptions
				if err := o.SetRange(lo, hi-1); err != nil {
					return err
				}
				body, _, _, err := c.GetObject(ctx, bucketName, key, o)
				if err != nil {
					return err
				}
				n, err := io.Copy(io.Discard, body)
				if err = errors.Join(err, body.Close()); err != nil {
					return err
				}
				if n != hi-lo {
					return fmt.Errorf("%d bytes of %d", n, hi-lo)
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return response{Seconds: time.Since(began).Seconds()}, err
}
