package job

import (
	"errors"
	"time"

	"github.com/google/uuid"
)

// An ID identifies a job: a version 7 UUID (RFC 9562), so the order of the IDs of one node is the order in which it
// accepted the jobs.
type ID uuid.UUID

// NewID returns a new ID. IDs of one process are strictly increasing.
func NewID() ID { return ID(uuid.Must(uuid.NewV7())) }

// errID does not quote the input, which may have any length.
var errID = errors.New("a job id is a version 7 UUID such as 01890a5d-ac96-774b-bcce-b302099a8057")

// textSize is the length of an ID as text.
const textSize = 36

// ParseID parses the form with four dashes, in upper or lower case (RFC 9562, section 4). It rejects the other forms that
// uuid.Parse accepts, such as braces.
func ParseID(s string) (ID, error) {
	if len(s) != textSize {
		return ID{}, errID
	}
	u, err := uuid.Parse(s)
	if err != nil || u.Version() != 7 {
		return ID{}, errID
	}
	return ID(u), nil
}

// String returns the canonical form.
func (id ID) String() string { return uuid.UUID(id).String() }

// Time returns the time at which the ID was made, to the millisecond.
func (id ID) Time() time.Time {
	ms := int64(id[0])<<40 | int64(id[1])<<32 | int64(id[2])<<24 | int64(id[3])<<16 | int64(id[4])<<8 | int64(id[5])
	return time.UnixMilli(ms).UTC()
}

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return uuid.UUID(id).MarshalText() }

// UnmarshalText implements encoding.TextUnmarshaler, as strictly as ParseID.
func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseID(string(text))
	return err
}
