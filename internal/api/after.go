package api

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"gather/internal/fields"
	"gather/internal/job"
)

// readAfter reads the jobs that a submission waits for, and for how long at most: 0 for the default. The executor bounds the time.
// A position refers to one of the earlier jobs of the same batch.
func readAfter(e *envelope, earlier int, errs *fields.Errors) (after []job.Dependency, timeout time.Duration) {
	if given(e.afterTimeout) {
		timeout = readDuration(e.afterTimeout, "/after_timeout", maxDelay, errs)
		if timeout == 0 {
			errs.Add("/after_timeout", "must be more than 0")
		}
		if !given(e.after) {
			errs.Add("/after_timeout", "is for a job with after: leave it out")
		}
	}
	if !given(e.after) {
		return nil, timeout
	}
	if e.after.Kind() != '[' {
		errs.Add("/after", `must be an array of ids of jobs, such as ["0198c0de-0000-7000-8000-000000000000"]`)
		return nil, timeout
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(e.after)) // already validated
	_, _ = d.ReadToken()
	for i := 0; d.PeekKind() != ']'; i++ {
		v, _ := d.ReadValue()
		if i == job.MaxAfter {
			errs.Add("/after", "at most %d jobs", job.MaxAfter)
			break
		}
		pointer := "/after/" + strconv.Itoa(i)
		dep, reason := readDependency(v, earlier)
		switch {
		case reason != "":
			errs.Add(pointer, "%s", reason)
		case slices.Contains(after, dep):
			errs.Add(pointer, "names a job twice: leave it out")
		}
		after = append(after, dep)
	}
	return after, timeout
}

// readDependency parses an id, or the position of an earlier job of a batch; reason is "" if it is valid.
func readDependency(v jsontext.Value, earlier int) (dep job.Dependency, reason string) {
	switch v.Kind() {
	case '"':
		id, err := job.ParseID(fields.Text(v))
		if err != nil {
			return dep, "must be the id of a job"
		}
		return job.Dependency{ID: id}, ""
	case '0':
		n, err := strconv.Atoi(string(v))
		switch {
		case err == nil && n >= 0 && n < earlier:
			return job.Dependency{Index: n}, ""
		case earlier == 0:
			return dep, "must be the id of a job; only a job of a batch can name an earlier one by its position"
		}
		return dep, "must be the position of an earlier job of the batch, 0 to " + strconv.Itoa(earlier-1) + ", or the id of a job"
	}
	return dep, "must be the id of a job, or the position of an earlier job of the batch"
}

// appendAfter appends the jobs that a job waits for, or waited for, as an array.
func appendAfter(b []byte, after []job.ID) []byte {
	b = append(b, '[')
	for i, id := range after {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendID(append(b, '"'), id), '"')
	}
	return append(b, ']')
}
