// Package npz reads arrays of NumPy's .npz files, which are ZIP archives of .npy files, where they are.
//
// A stored member is a range of its file. A deflated one is a [Reader], which decodes it in segments and keeps the places
// where they begin, so that a byte is decoded once by readers in the order of the file, and with at most one segment by
// others; before the first read of a segment all of those before it are decoded.
//
// All input is untrusted: sizes are checked before memory is allocated, and no input makes the decoder panic or write
// beyond the declared size. The checksum of a deflated member is checked when its end is decoded; that of a stored one,
// which may be read in parts, is not.
//
// The package starts no goroutine. A Reader is safe for concurrent use.
package npz

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Errors of this package.
var (
	// ErrFormat is wrapped by errors about the archive.
	ErrFormat = errors.New("is not an .npz file that can be read")
	// ErrCorrupt is wrapped by errors about the bytes of a member.
	ErrCorrupt = errors.New("damaged .npz data")
)

const (
	endBytes     = 22
	locatorBytes = 20
	end64Bytes   = 56
	entryBytes   = 46
	localBytes   = 30
	maxComment   = 1<<16 - 1

	// MaxDirectory is the maximum size of the directory of an archive, in bytes.
	MaxDirectory = 8 << 20
	// MaxMembers is the maximum number of members.
	MaxMembers = 1 << 16
	// MaxDeflated is the maximum size of a deflated member, in bytes, when it is decoded.
	MaxDeflated = 16 << 30
)

// Member is where an archive has a file.
type Member struct {
	Name     string `json:"name"`
	Offset   int64  `json:"offset"`             // of the data in the archive
	Size     int64  `json:"size"`               // of the data, decoded
	Deflated int64  `json:"deflated,omitempty"` // size of the data, 0 if it is stored
	CRC      uint32 `json:"crc"`
}

// ReadAt reads len(p) bytes of a file.
type ReadAt func(ctx context.Context, p []byte, off int64) error

// Find returns the member of an archive of size bytes with a name, which may be without its suffix .npy, or the only one if
// the name is empty. Errors: ErrFormat, those of read.
func Find(ctx context.Context, read ReadAt, size int64, name string) (Member, error) {
	dir, err := directory(ctx, read, size)
	if err != nil {
		return Member{}, err
	}
	list, err := entries(dir)
	if err != nil {
		return Member{}, err
	}
	e, err := choose(list, name)
	if err != nil {
		return Member{}, err
	}
	return e.member(ctx, read, size)
}

func formatf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// directory reads the central directory.
func directory(ctx context.Context, read ReadAt, size int64) ([]byte, error) {
	tail := make([]byte, min(size, endBytes+maxComment+locatorBytes))
	start := size - int64(len(tail))
	if err := read(ctx, tail, start); err != nil {
		return nil, err
	}
	at := -1
	for i := len(tail) - endBytes; i >= 0 && at < 0; i-- {
		if bytes.HasPrefix(tail[i:], []byte("PK\x05\x06")) && i+endBytes+int(u16(tail[i+20:])) == len(tail) {
			at = i
		}
	}
	if at < 0 {
		return nil, formatf("it has no directory at its end")
	}
	end := tail[at:]
	count, n, off := uint64(u16(end[10:])), uint64(u32(end[12:])), uint64(u32(end[16:]))
	if at >= locatorBytes && bytes.HasPrefix(tail[at-locatorBytes:], []byte("PK\x06\x07")) {
		where := u64(tail[at-locatorBytes+8:])
		if where > uint64(size) || uint64(size)-where < end64Bytes {
			return nil, formatf("its directory is beyond its end")
		}
		end64 := make([]byte, end64Bytes)
		if err := read(ctx, end64, int64(where)); err != nil {
			return nil, err
		}
		if !bytes.HasPrefix(end64, []byte("PK\x06\x06")) {
			return nil, formatf("it has no directory where its end has one")
		}
		count, n, off = u64(end64[32:]), u64(end64[40:]), u64(end64[48:])
	}
	switch {
	case off > uint64(size) || n > uint64(size)-off:
		return nil, formatf("its directory is beyond its end")
	case n > MaxDirectory || count > MaxMembers:
		return nil, formatf("its directory has %d bytes and %d members; the limits are %d and %d", n, count, MaxDirectory, MaxMembers)
	}
	dir := make([]byte, n)
	return dir, read(ctx, dir, int64(off))
}

func u16(p []byte) uint16 { return binary.LittleEndian.Uint16(p) }
func u32(p []byte) uint32 { return binary.LittleEndian.Uint32(p) }
func u64(p []byte) uint64 { return binary.LittleEndian.Uint64(p) }

// file is an entry of the directory.
type file struct {
	name             string
	flags, method    uint16
	crc              uint32
	packed, size, at uint64
}

// entries parses the directory.
func entries(dir []byte) (list []file, err error) {
	for len(dir) > 0 {
		if len(dir) < entryBytes || !bytes.HasPrefix(dir, []byte("PK\x01\x02")) {
			return nil, formatf("entry %d of its directory is damaged", len(list))
		}
		name, extra, comment := int(u16(dir[28:])), int(u16(dir[30:])), int(u16(dir[32:]))
		if len(dir)-entryBytes < name+extra+comment {
			return nil, formatf("entry %d of its directory is damaged", len(list))
		}
		e := file{
			flags: u16(dir[8:]), method: u16(dir[10:]), crc: u32(dir[16:]),
			packed: uint64(u32(dir[20:])), size: uint64(u32(dir[24:])), at: uint64(u32(dir[42:])),
		}
		rest := dir[entryBytes:]
		e.name = string(rest[:name])
		e.extend(rest[name : name+extra])
		list = append(list, e)
		dir = rest[name+extra+comment:]
	}
	return list, nil
}

// extend replaces sizes of 2^32-1 by those of the ZIP64 field.
func (e *file) extend(extra []byte) {
	for len(extra) >= 4 {
		id, n := u16(extra), int(u16(extra[2:]))
		if extra = extra[4:]; n > len(extra) {
			return
		}
		if field := extra[:n]; id == 1 {
			for _, v := range []*uint64{&e.size, &e.packed, &e.at} {
				if *v == 1<<32-1 && len(field) >= 8 {
					*v = u64(field)
					field = field[8:]
				}
			}
		}
		extra = extra[n:]
	}
}

// choose returns the entry with a name.
func choose(list []file, name string) (file, error) {
	var arrays []string
	for _, e := range list {
		if array, ok := strings.CutSuffix(e.name, ".npy"); ok {
			arrays = append(arrays, array)
		}
	}
	if name == "" && len(arrays) == 1 {
		name = arrays[0]
	}
	for _, full := range []string{name, name + ".npy"} {
		for _, e := range slices.Backward(list) { // the last of several, as Python does
			if e.name == full && strings.HasSuffix(full, ".npy") {
				return e, nil
			}
		}
	}
	if len(arrays) > 20 {
		arrays = append(arrays[:20], "...")
	}
	has := fmt.Sprintf("its arrays are %.1000s", strings.Join(arrays, ", "))
	if len(arrays) == 0 {
		has = "it has no arrays"
	}
	if name == "" {
		return file{}, formatf("set member: %s", has)
	}
	return file{}, formatf("it has no member %.100q: %s", name, has)
}

// member returns where the data of an entry is.
func (e *file) member(ctx context.Context, read ReadAt, size int64) (Member, error) {
	const stored, deflated, encrypted = 0, 8, 1
	switch {
	case e.flags&encrypted != 0:
		return Member{}, formatf("member %.100q is encrypted", e.name)
	case e.method != stored && e.method != deflated:
		return Member{}, formatf("member %.100q has compression method %d; 0 and 8, stored and deflated, are read", e.name, e.method)
	case e.method == stored && e.packed != e.size:
		return Member{}, formatf("member %.100q is stored with %d bytes, but has %d", e.name, e.packed, e.size)
	case e.method == deflated && e.size > MaxDeflated:
		return Member{}, formatf("member %.100q has %d bytes; the limit of deflated ones is %d: write it with numpy.savez", e.name, e.size, int64(MaxDeflated))
	case e.method == deflated && e.packed == 0:
		return Member{}, formatf("member %.100q is deflated to nothing", e.name)
	case e.at > uint64(size) || uint64(size)-e.at < localBytes:
		return Member{}, formatf("member %.100q is beyond its end", e.name)
	}
	local := make([]byte, localBytes)
	if err := read(ctx, local, int64(e.at)); err != nil {
		return Member{}, err
	}
	if !bytes.HasPrefix(local, []byte("PK\x03\x04")) {
		return Member{}, formatf("member %.100q is not where its directory has it", e.name)
	}
	at := e.at + localBytes + uint64(u16(local[26:])) + uint64(u16(local[28:]))
	if at > uint64(size) || e.packed > uint64(size)-at {
		return Member{}, formatf("member %.100q is beyond its end", e.name)
	}
	m := Member{Name: e.name, Offset: int64(at), Size: int64(e.size), CRC: e.crc}
	if e.method == deflated {
		m.Deflated = int64(e.packed)
	}
	return m, nil
}
