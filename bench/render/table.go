// Package render turns measurements into tables in Markdown and plots in SVG, and writes both to the pages of docs.
package render

import (
	"fmt"
	"strings"
	"time"
)

// Table is a table of a report, with a note.
type Table struct {
	Header []string
	Note   string

	rows [][]string
}

// Row adds a row. Rates and counts are rounded to their precision, durations to three digits.
func (t *Table) Row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case time.Duration:
			row[i] = Duration(c)
		case float64:
			row[i] = Number(c)
		default:
			row[i] = fmt.Sprint(c)
		}
	}
	t.rows = append(t.rows, row)
}

// String returns Markdown.
func (t *Table) String() string {
	var b strings.Builder
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line(t.Header)
	rule := make([]string, len(t.Header))
	for i := range rule {
		rule[i] = "---:"
	}
	rule[0] = "---"
	line(rule)
	for _, r := range t.rows {
		line(r)
	}
	if t.Note != "" {
		b.WriteString("\n" + t.Note + "\n")
	}
	return b.String()
}

// Number formats three digits, or a whole number in groups of thousands.
func Number(v float64) string {
	if v < 1000 {
		return fmt.Sprintf("%.3g", v)
	}
	whole := fmt.Sprintf("%.0f", v)
	var b strings.Builder
	for i, c := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// Ratio formats a divided by b.
func Ratio(a, b float64) string {
	if a >= 100*b {
		return fmt.Sprintf("%.0fx", a/b)
	}
	return fmt.Sprintf("%.2fx", a/b)
}

// Duration formats about three digits.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Duration(-d)
	case d < time.Microsecond:
		return d.String()
	case d < time.Millisecond:
		return fmt.Sprintf("%.3g µs", float64(d)/1e3)
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", float64(d)/1e6)
	default:
		return fmt.Sprintf("%.3g s", d.Seconds())
	}
}

// Seconds formats seconds as Duration does.
func Seconds(s float64) string { return Duration(time.Duration(s * float64(time.Second))) }
