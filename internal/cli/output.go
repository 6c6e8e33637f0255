package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"gather/client"
)

// column is a column of a table: its heading and its least width.
type column struct {
	name  string
	width int
}

// table writes objects as they come: rows with headings, a JSON object a line, or a name a line.
type table struct {
	s       *session
	columns []column
	begun   bool
}

func (s *session) table(columns ...column) *table { return &table{s: s, columns: columns} }

// row writes an object.
func (t *table) row(name string, v any, cells ...string) error {
	switch t.s.output {
	case "json":
		return t.s.json(v)
	case "id":
		_, err := fmt.Fprintln(t.s.Out, name)
		return err
	}
	if !t.begun {
		t.begun = true
		var headings []string
		for _, c := range t.columns {
			headings = append(headings, c.name)
		}
		if err := t.line(headings); err != nil {
			return err
		}
	}
	return t.line(cells)
}

func (t *table) line(cells []string) error {
	var b strings.Builder
	for i, cell := range cells {
		cell = printable(cell)
		b.WriteString(cell)
		if i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", max(0, t.columns[i].width-utf8.RuneCountInString(cell))+2))
		}
	}
	_, err := fmt.Fprintln(t.s.Out, strings.TrimRight(b.String(), " "))
	return err
}

// printable replaces control characters, which a terminal would obey.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}

// json writes an object in one line.
func (s *session) json(v any) error {
	e := json.NewEncoder(s.Out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

var jobColumns = []column{{"ID", 36}, {"KIND", 12}, {"STATE", 10}, {"PROGRESS", 15}, {"AGE", 8}, {"LABELS", 0}}

func jobRow(j *client.Job) []string {
	return []string{j.ID, j.Kind, string(j.State), progress(&j.Progress), short(time.Since(j.CreatedAt)), labels(j.Labels)}
}

func progress(p *client.Progress) string {
	text := fmt.Sprintf("%d/%d", p.Completed, p.Total)
	if p.Failed > 0 {
		text += fmt.Sprintf(", %d failed", p.Failed)
	}
	return text
}

func labels(l client.Labels) string {
	var pairs []string
	for key, value := range l {
		pairs = append(pairs, key+"="+value)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

// short returns a duration with about two digits.
func short(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return strings.TrimSuffix(d.Round(time.Second).String(), "0s")
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// maxShown is the number of bytes of a value that a table shows.
const maxShown = 1000

// job writes a job.
func (s *session) job(j *client.Job) error {
	rows := [][2]string{
		{"ID", j.ID},
		{"Kind", j.Kind},
		{"State", string(j.State)},
		{"Progress", progress(&j.Progress)},
		{"Created", j.CreatedAt.Local().Format(time.DateTime)},
	}
	if j.QueuePosition != nil {
		rows = append(rows, [2]string{"Position", fmt.Sprint(*j.QueuePosition)})
	}
	if j.StartedAt != nil && j.FinishedAt != nil {
		rows = append(rows, [2]string{"Duration", short(j.FinishedAt.Sub(*j.StartedAt))})
	}
	if len(j.Labels) > 0 {
		rows = append(rows, [2]string{"Labels", labels(j.Labels)})
	}
	if j.Group != nil {
		rows = append(rows, [2]string{"Group", *j.Group})
	}
	if len(j.After) > 0 {
		rows = append(rows, [2]string{"After", strings.Join(j.After, " ")})
	}
	if j.RetryOf != nil {
		rows = append(rows, [2]string{"Retry of", *j.RetryOf})
	}
	if len(j.Result) > 0 && string(j.Result) != "null" {
		rows = append(rows, [2]string{"Result", string(j.Result)})
	}
	if len(j.Values) > 0 {
		var values []string
		for _, v := range j.Values {
			values = append(values, string(v))
		}
		rows = append(rows, [2]string{"Values", strings.Join(values, " ")})
	}
	if j.Error != nil {
		rows = append(rows, [2]string{"Error", j.Error.Title + ": " + j.Error.Detail})
	}
	return s.object(j.ID, j, rows)
}

// object writes one object: with a row for each of its members, as JSON, or its name.
func (s *session) object(name string, v any, rows [][2]string) error {
	if s.output != "table" {
		return s.table().row(name, v)
	}
	t := s.table(column{width: 10}, column{})
	for _, row := range rows {
		text := row[1]
		if len(text) > maxShown {
			text = strings.ToValidUTF8(text[:maxShown], "") + "..."
		}
		if err := t.line([]string{row[0], text}); err != nil {
			return err
		}
	}
	return nil
}

// bulk writes the result of a bulk request; its name is the number of changed jobs.
func (s *session) bulk(r client.BulkResult) error {
	matched, changed := fmt.Sprint(r.Matched), fmt.Sprint(r.Changed)
	return s.table(column{"MATCHED", 8}, column{"CHANGED", 0}).row(changed, r, matched, changed)
}

func (s *session) preview(p *client.SubmissionPreview) error {
	return s.object(p.Kind, p, [][2]string{
		{"Kind", p.Kind},
		{"Items", fmt.Sprint(p.Items)},
		{"Tasks", fmt.Sprint(p.Tasks)},
		{"Bytes", fmt.Sprint(p.Bytes)},
		{"Results", fmt.Sprintf("%d bytes or more", p.ResultBytes)},
		{"Memory", fmt.Sprintf("%d bytes", p.MemoryBytes)},
	})
}

// download writes a file, or standard output if its name is "-". A file appears once it is complete.
func (s *session) download(name string, write func(io.Writer) error) (err error) {
	if name == "-" {
		if IsTerminal(s.Out) {
			return fmt.Errorf("%w: standard output is a terminal: redirect it, or name a file", errUsage)
		}
		return write(s.Out)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
