package main

import (
	"fmt"
	"strings"
)

// table is a table of the report, with a note.
type table struct {
	header []string
	rows   [][]string
	note   string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// String returns Markdown.
func (t *table) String() string {
	var b strings.Builder
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line(t.header)
	rule := make([]string, len(t.header))
	for i := range rule {
		rule[i] = "---"
	}
	line(rule)
	for _, r := range t.rows {
		line(r)
	}
	if t.note != "" {
		b.WriteString("\n" + t.note + "\n")
	}
	return b.String()
}

// number prints a whole number in groups of thousands.
func number(v float64) string {
	digits := fmt.Sprintf("%.0f", v)
	var b strings.Builder
	for i, c := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// ratio prints how many times a is b.
func ratio(a, b float64) string {
	if a >= 100*b {
		return fmt.Sprintf("%.0fx", a/b)
	}
	return fmt.Sprintf("%.2fx", a/b)
}

func gbps(bytes int64, seconds float64) string {
	return fmt.Sprintf("%.1f", float64(bytes)/seconds/1e9)
}

// seconds formats a duration with about three digits.
func seconds(s float64) string {
	switch {
	case s < 1e-3:
		return fmt.Sprintf("%.3g µs", s*1e6)
	case s < 1:
		return fmt.Sprintf("%.3g ms", s*1e3)
	default:
		return fmt.Sprintf("%.3g s", s)
	}
}
