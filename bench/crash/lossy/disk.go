package main

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// A disk has the contents of the files that were opened, by inode number. Each is kept open, so that its number stays its own, until it has
// no name.
type disk struct {
	mu    sync.Mutex
	files map[uint64]*content
}

// root returns the root of the file system over a directory.
func (d *disk) root(dir string) (fs.InodeEmbedder, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	data := &fs.LoopbackRoot{Path: dir, Dev: st.Dev}
	data.RootNode = &node{LoopbackNode: fs.LoopbackNode{RootData: data}, d: d}
	return data.RootNode, nil
}

// find returns the content of a file that was opened, or nil.
func (d *disk) find(number uint64) *content {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.files[number]
}

// open returns the content of a file.
func (d *disk) open(number uint64, path string) (*content, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.files[number]; c != nil {
		return c, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	c, err := newContent(f)
	if err == nil {
		d.files[number] = c
	}
	return c, err
}

// cutPower cuts the power of all files, and forgets those without a name.
func (d *disk) cutPower(rng *rand.Rand) (lost, all int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for number, c := range d.files {
		var st syscall.Stat_t
		if err := syscall.Fstat(int(c.disk.Fd()), &st); err != nil {
			return lost, all, err
		}
		if st.Nlink == 0 {
			_ = c.disk.Close()
			delete(d.files, number)
			continue
		}
		l, a, err := c.cutPower(rng)
		if err != nil {
			return lost, all, err
		}
		lost, all = lost+l, all+a
	}
	return lost, all, nil
}

// A node is a file or a directory. What LoopbackNode does not do itself goes through the content of the file.
type node struct {
	fs.LoopbackNode

	d *disk
}

// WrapChild implements fs.NodeWrapChilder: each file and directory below is a node too.
func (n *node) WrapChild(context.Context, fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{LoopbackNode: fs.LoopbackNode{RootData: n.RootData}, d: n.d}
}

func (n *node) content() (*content, syscall.Errno) {
	c, err := n.d.open(n.StableAttr().Ino, filepath.Join(n.RootData.Path, n.Path(n.Root())))
	return c, fs.ToErrno(err)
}

// Open implements fs.NodeOpener.
func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	c, errno := n.content()
	if errno == 0 && flags&syscall.O_TRUNC != 0 {
		errno = fs.ToErrno(c.resize(0))
	}
	return newHandle(c, flags), fuse.FOPEN_DIRECT_IO, errno
}

// Create implements fs.NodeCreater.
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	child, file, _, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	if f, ok := file.(fs.FileReleaser); ok {
		if errno := f.Release(ctx); errno != 0 {
			return nil, nil, 0, errno
		}
	}
	c, err := n.d.open(child.StableAttr().Ino, filepath.Join(n.RootData.Path, n.Path(n.Root()), name))
	return child, newHandle(c, flags), fuse.FOPEN_DIRECT_IO, fs.ToErrno(err)
}

// Getattr implements fs.NodeGetattrer.
func (n *node) Getattr(ctx context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	c := n.d.find(n.StableAttr().Ino)
	if c == nil {
		return n.LoopbackNode.Getattr(ctx, nil, out)
	}
	var st syscall.Stat_t // of the open file, which may have no name
	errno := fs.ToErrno(syscall.Fstat(int(c.disk.Fd()), &st))
	out.FromStat(&st)
	out.Size = uint64(c.length())
	return errno
}

// Setattr implements fs.NodeSetattrer.
func (n *node) Setattr(ctx context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		c, errno := n.content()
		if errno == 0 {
			errno = fs.ToErrno(c.resize(int64(size)))
		}
		if errno != 0 {
			return errno
		}
		in.Valid &^= fuse.FATTR_SIZE
	}
	if errno := n.LoopbackNode.Setattr(ctx, nil, in, out); errno != 0 {
		return errno
	}
	return n.Getattr(ctx, nil, out)
}

// A handle is an open file.
type handle struct {
	c *content
	// sync is true if each write is forced to disk: O_SYNC or O_DSYNC.
	sync bool
}

func newHandle(c *content, flags uint32) handle {
	return handle{c, flags&(syscall.O_SYNC|syscall.O_DSYNC) != 0}
}

// Read implements fs.FileReader.
func (h handle) Read(_ context.Context, p []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := h.c.read(p, off)
	return fuse.ReadResultData(p[:n]), fs.ToErrno(err)
}

// Write implements fs.FileWriter.
func (h handle) Write(_ context.Context, p []byte, off int64) (uint32, syscall.Errno) {
	err := h.c.write(p, off)
	if err == nil && h.sync {
		err = h.c.force()
	}
	return uint32(len(p)), fs.ToErrno(err)
}

// Fsync implements fs.FileFsyncer, for fdatasync too.
func (h handle) Fsync(context.Context, uint32) syscall.Errno { return fs.ToErrno(h.c.force()) }

// Allocate implements fs.FileAllocater. Space is not reserved.
func (h handle) Allocate(_ context.Context, off, size uint64, mode uint32) syscall.Errno {
	const keepSize = 1 // FALLOC_FL_KEEP_SIZE
	switch {
	case mode == keepSize:
		return 0
	case mode != 0:
		return syscall.EOPNOTSUPP
	}
	return fs.ToErrno(h.c.resize(max(h.c.length(), int64(off+size))))
}
