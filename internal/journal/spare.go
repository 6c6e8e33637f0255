package journal

import "math"

// Spare returns the number of bytes that uploads may write to the journal's disk now: its free space minus 1.25 MinFreeBytes,
// because jobs need the last quarter. It is negative if the disk is too full, and unlimited without MinFreeBytes or on a file
// system that does not report its free space. Each call reads the file system.
func (j *Journal) Spare() int64 {
	usage, err := j.c.FS.GetDiskUsage(j.c.Dir)
	if err != nil || j.c.MinFreeBytes == 0 {
		return math.MaxInt64
	}
	return signed(usage.AvailBytes) - signed(j.c.MinFreeBytes) - signed(j.c.MinFreeBytes/4)
}

// signed converts a number of bytes, clipped so that sums of a few do not overflow.
func signed(n uint64) int64 { return int64(min(n, math.MaxInt64/4)) }
