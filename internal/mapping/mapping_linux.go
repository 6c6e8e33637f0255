package mapping

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// remote are the types of file systems whose reads may hang. Source: statfs(2) and linux/magic.h.
var remote = []int64{
	unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC,
	unix.CEPH_SUPER_MAGIC, unix.V9FS_MAGIC, unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC, unix.CODA_SUPER_MAGIC,
	unix.NCP_SUPER_MAGIC, 0x0BD00BD0 /* Lustre */, 0x47504653, /* GPFS */
}

// mapFile maps the first size bytes of a local file. Errors: ErrUnsupported.
func mapFile(f *os.File, size int64) ([]byte, error) {
	if size <= 0 || int64(int(size)) != size {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrUnsupported, size)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if slices.Contains(remote, int64(fs.Type)&0xffffffff) { //nolint:unconvert // the type differs between architectures
		return nil, fmt.Errorf("%w: it is not on a local disk", ErrUnsupported)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	// Kernels before 5.14 cannot load pages in a system call.
	if err := populate(mem[:min(len(mem), 1)]); errors.Is(err, syscall.EINVAL) {
		return nil, errors.Join(ErrUnsupported, unix.Munmap(mem))
	}
	return mem, nil
}

func unmap(mem []byte) error { return unix.Munmap(mem) }

// populate reads the pages of block, which starts at a page. Errors: errFault, other errors of the system.
func populate(block []byte) error {
	for {
		err := unix.Madvise(block, unix.MADV_POPULATE_READ)
		switch {
		case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.EAGAIN):
			continue
		case errors.Is(err, syscall.EFAULT): // a page beyond the end of the file, or that cannot be read
			return errFault
		}
		return err
	}
}

// readAhead starts to read the pages of next, without waiting; it may do nothing.
func readAhead(next []byte) {
	if len(next) > 0 {
		_ = unix.Madvise(next, unix.MADV_WILLNEED)
	}
}

// seesPages reports whether resident works for a file. The kernel does not disclose the pages of files that the process
// neither owns nor may write: all of them would seem to be in memory. Source: mincore(2).
func seesPages(f *os.File) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && (os.Geteuid() == 0 || int(stat.Uid) == os.Geteuid())
}

// resident reports whether all pages of block, which starts at a page, are in memory.
func resident(block []byte) bool {
	page := os.Getpagesize()
	var pages [blockBytes / 4096]byte
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(block))), uintptr(len(block)),
		uintptr(unsafe.Pointer(&pages)))
	if errno != 0 {
		return false
	}
	for _, p := range pages[:(len(block)+page-1)/page] {
		if p&1 == 0 {
			return false
		}
	}
	return true
}

// contains reports whether an address is in the pages of p.
func contains(p []byte, address uintptr) bool {
	start, page := uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(os.Getpagesize())
	return address >= start&^(page-1) && address < (start+uintptr(len(p))+page-1)&^(page-1)
}
