package render_test

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gather/bench/render"
)

func TestTable(t *testing.T) {
	for v, want := range map[float64]string{0.1234: "0.123", 12: "12", 999: "999", 12345: "12 345", 1234567: "1 234 567"} {
		if got := render.Number(v); got != want {
			t.Errorf("Number(%g) is %q, want %q", v, got, want)
		}
	}
	for want, got := range map[string]string{"1.50x": render.Ratio(3, 2), "250x": render.Ratio(500, 2), "2 s": render.Seconds(2)} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	tab := render.Table{Header: []string{"a", "b"}, Note: "note"}
	tab.Row("x", 1500*time.Microsecond)
	if got, want := tab.String(), "| a | b |\n| --- | ---: |\n| x | 1.5 ms |\n\nnote\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// elements counts the elements of an SVG by name.
func elements(t *testing.T, svg string) map[string]int {
	t.Helper()
	got := map[string]int{}
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok {
			got[e.Name.Local]++
		}
	}
}

func TestPlots(t *testing.T) {
	var p render.Plot
	for i, y := range []float64{0.1, math.NaN(), 10} {
		p.Add(math.Pow(10, float64(i)), "n", y, 1)
	}
	svg := render.Plots("times", []string{"a", "b & c"}, []*render.Plot{&p, {}})
	if got := elements(t, svg); got["circle"] != 5 || got["polyline"] != 2 {
		t.Errorf("got %d points and %d lines, want 5 and 2", got["circle"], got["polyline"])
	}
	if strings.Contains(svg, "NaN") {
		t.Errorf("a missing point is drawn:\n%s", svg)
	}
}

func TestLinearPlots(t *testing.T) {
	var plots []*render.Plot
	for range 5 {
		p := &render.Plot{Linear: true, Format: render.Number}
		for i := range 11 {
			name := ""
			if i%5 == 0 {
				name = "tick"
			}
			p.Add(float64(i), name, float64(7*i))
		}
		plots = append(plots, p)
	}
	svg := render.Plots("usage", []string{"one"}, plots)
	if got := elements(t, svg); got["polyline"] != 5 || got["circle"] != 0 || got["rect"] != 0 {
		t.Errorf("got %v, want five lines without points and legend", got)
	}
	for text, want := range map[string]int{">tick<": 15, ">0<": 5, ">20<": 5, ">80<": 5, ">100<": 0} { // 70 is the most
		if got := strings.Count(svg, text); got != want {
			t.Errorf("got %d times %s, want %d", got, text, want)
		}
	}
	for _, want := range []string{`viewBox="0 0 940 1230"`, "60.0,360.0 "} { // two columns; 0 is at the lower left
		if !strings.Contains(svg, want) {
			t.Errorf("got no %s in\n%s", want, svg)
		}
	}
}

func TestBars(t *testing.T) {
	var b render.Bars
	b.Add("jobs/s", "`one`", 10, "10")
	b.Add("jobs/s", "two", 5, "5")
	b.Add("ms", "two", 3, "3 ms")
	svg := b.SVG()
	if got := elements(t, svg); got["rect"] != 3 {
		t.Errorf("got %d bars, want 3", got["rect"])
	}
	for _, want := range []string{`width="520.0"`, `width="260.0"`, ">one<", ">3 ms<"} {
		if !strings.Contains(svg, want) {
			t.Errorf("got no %s in\n%s", want, svg)
		}
	}
}

func TestWritePage(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	write := func(text string) {
		if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("before\n<!-- figures: begin -->\nold\n<!-- figures: end -->\nafter\n")
	if err := render.WritePage(page, "new"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(page)
	if want := "before\n<!-- figures: begin -->\n\nnew\n<!-- figures: end -->\nafter\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	write("no marks")
	if err := render.WritePage(page, "new"); err == nil {
		t.Error("a page without marks was written")
	}
}
