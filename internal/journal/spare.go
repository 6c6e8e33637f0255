package journal

import "math"

// Spare returns how many bytes uploads may write to the journal's disk now, negative if it is too full: its free space
// without MinFreeBytes and a quarter of that, which is for later jobs. It reads the file system each time; there is no
// bound without MinFreeBytes, or on a file system that does not report its free space.
func (j *Journal) Spare() int64 {
	usage, err := j.c.FS.GetDiskUsage(j.c.Dir)
	if err != nil || j.c.MinFreeBytes == 0 {
		return math.MaxInt64
	}
	return signed(usage.AvailBytes) - signed(j.c.MinFreeBytes) - signed(j.c.MinFreeBytes/4)
}

// signed clips a number of bytes so that a few of them can be added and subtracted.
func signed(n uint64) int64 { return int64(min(n, math.MaxInt64/4)) }
