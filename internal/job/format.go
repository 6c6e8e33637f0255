package job

// A Format is the version of what this package encodes. A record, an event, a failure and a proposal belong to the format
// that introduced them:
//
//	1  everything but the following
//	2  jobs with a Delay, FailedResultTooLarge
//	3  items of numbers
//	4  jobs with Webhooks, deliveries
//	5  jobs with a Group
//	6  jobs with RetryOf
//	7  ProposeSnapshotTrim
//	8  jobs with After, DependencySucceeded, FailedDependency
//	9  jobs with FailedRetention
//	10 jobs with Retries, TaskProgress with Retry
//
// The first byte of a record is its format, and the first byte of a proposal the newest format inside of it, which the
// encoder finds as it writes. The rules:
//
//   - What a decoder accepts under a format never changes, its bounds included. A new field, event, failure or kind of
//     proposal is of a new format.
//   - Older formats are written where they suffice, so that earlier versions read everything that they could have written.
//   - An unknown format, tag, reason or kind is ErrVersion, never ErrCorrupt, also inside of a proposal. A node that reads
//     one stops participating (it must not reject a proposal that other nodes apply), a server does not start.
//   - A release that writes a new format follows a release that reads it.
//   - testdata/v1 has every format, tag, reason and kind as the first version with it wrote it. TestGolden fails until a
//     new one is added; existing data is never regenerated.
type Format byte

const (
	format1 Format = iota + 1
	format2
	format3
	format4
	format5
	format6
	format7
	format8
	format9
	format10
	formats // the first unknown one
)

// NewestFormat is the newest format that this version reads.
const NewestFormat = formats - 1

// Format returns the format that introduced a kind of proposals.
func (k ProposalKind) Format() Format {
	if k == ProposeSnapshotTrim {
		return format7
	}
	return format1
}

// format returns the format that introduced a reason.
func (r FailureReason) format() Format {
	switch {
	case r > FailedResultTooLarge:
		return format8
	case r > FailedSourceCorrupt:
		return format2
	}
	return format1
}

// format returns the format of a job's record.
func (j *Job) format() Format {
	switch {
	case j.Retries > 0:
		return format10
	case j.FailedRetention != 0:
		return format9
	case len(j.After) > 0:
		return format8
	case j.RetryOf != ID{}:
		return format6
	case j.Group != "":
		return format5
	case len(j.Webhooks) > 0:
		return format4
	case j.Delay != 0:
		return format2
	}
	return format1
}

// An encoder appends to b, and has the newest format of everything that it appended.
type encoder struct {
	b      []byte
	format Format
}

func (e *encoder) needs(f Format) { e.format = max(e.format, f) }
