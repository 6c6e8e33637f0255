package client

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

func arrayRequest(method, name string) *request {
	return &request{method: method, path: []string{"v1", "arrays", name}, header: make(http.Header)}
}

// PutArray stores a .npy file of size bytes under a name, in place of the array of that name if there is one. It reads the
// file twice: its SHA-256 is sent with it, so that the server stores no damaged copy.
func (c *Client) PutArray(ctx context.Context, name string, file io.ReaderAt, size int64) (*StoredArray, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(file, 0, size)); err != nil {
		return nil, err
	}
	r := arrayRequest(http.MethodPut, name)
	r.stream = true
	r.size, r.body = size, func() io.Reader { return io.NewSectionReader(file, 0, size) }
	r.header.Set("Content-Type", mediaNPY)
	r.header.Set("Content-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum.Sum(nil))+":")
	r.header.Set("Expect", "100-continue") // an upload that is rejected is not sent
	var a StoredArray
	_, err := c.call(ctx, r, &a)
	return &a, err
}

// GetArray describes a stored array.
func (c *Client) GetArray(ctx context.Context, name string) (*StoredArray, error) {
	var a StoredArray
	_, err := c.call(ctx, arrayRequest(http.MethodGet, name), &a)
	return &a, err
}

// DownloadArray writes a stored array to w as the .npy file that was uploaded. It resumes where the response is cut. It
// fails if the array is replaced meanwhile, and if the bytes do not have its SHA-256.
func (c *Client) DownloadArray(ctx context.Context, name string, w io.Writer) (*StoredArray, error) {
	a, err := c.GetArray(ctx, name)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	r := arrayRequest(http.MethodGet, name)
	r.header.Set("If-Match", `"`+a.Sha256+`"`)
	err = c.download(ctx, r, io.MultiWriter(sum, w), func(n int64) (skip int64) {
		if n > 0 {
			r.header.Set("Range", "bytes="+strconv.FormatInt(n, 10)+"-")
		}
		return 0
	})
	if err != nil {
		return nil, err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != a.Sha256 {
		return nil, fmt.Errorf("array %s: received a file with SHA-256 %s instead of %s", name, got, a.Sha256)
	}
	return a, nil
}

// DownloadResult writes the result of an array_sum job that has succeeded to w, as a .npy file.
func (c *Client) DownloadResult(ctx context.Context, id string, w io.Writer) error {
	return c.download(ctx, jobRequest(http.MethodGet, id, "results"), w, func(n int64) (skip int64) { return n })
}

// download copies the response to w. When it is cut after n bytes in total, resume returns how many of the next one to
// skip.
func (c *Client) download(ctx context.Context, r *request, w io.Writer, resume func(n int64) (skip int64)) error {
	r.stream = true
	r.header.Set("Accept", mediaNPY)
	var n int64
	return c.retry(ctx, func(ctx context.Context, a *attempts) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		idle := time.AfterFunc(maxIdle, func() { cancel(errIdle) })
		defer idle.Stop()
		skip := resume(n)
		return c.do(ctx, r, func(resp *http.Response) error {
			if _, err := io.CopyN(io.Discard, resp.Body, skip); err != nil {
				return err
			}
			buf := make([]byte, 64<<10)
			for {
				m, err := resp.Body.Read(buf)
				if m > 0 {
					idle.Reset(maxIdle)
					a.progressed()
					written, err := w.Write(buf[:m])
					if n += int64(written); err != nil {
						return err
					}
				}
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
			}
		})
	})
}

// DeleteArray deletes a stored array. It fails with 409 while an unfinished job uses it.
func (c *Client) DeleteArray(ctx context.Context, name string) error {
	return c.remove(ctx, arrayRequest(http.MethodDelete, name))
}

// ListArrays returns the stored arrays by name. An array whose record is damaged has only its Name, and the State
// damaged. It requests them page by page, and ends with the first error.
func (c *Client) ListArrays(ctx context.Context) iter.Seq2[*StoredArray, error] {
	return pages(ctx, c, "arrays", make(url.Values), "after", func(l *ArrayList) ([]StoredArray, *string) {
		for _, name := range l.Unreadable {
			l.Arrays = append(l.Arrays, StoredArray{Name: name, State: StoredArrayStateDamaged})
		}
		return l.Arrays, l.NextAfter
	})
}
