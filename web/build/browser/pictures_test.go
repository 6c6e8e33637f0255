package browser_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// docs is the directory of the screenshots, which the test writes when UPDATE_SCREENSHOTS is set.
const docs = "../../../docs/console"

// axe is the accessibility checker, which npm has installed for go generate.
const axe = "../../node_modules/axe-core/axe.min.js"

// Every page has no serious fault of accessibility, and no part beyond its sides, in both themes and three widths.
func TestPages(t *testing.T) {
	script, err := os.ReadFile(axe)
	if err != nil {
		t.Skip("axe-core is not installed: go generate ./web")
	}
	s := serve(t)
	squares := s.post(t, `{"kind":"squares","range":{"start":-60,"stop":61},"labels":{"team":"plots"}}`)
	sleeps := s.post(t, `{"kind":"sleep_batch","durations":["0.3s","0.7s","0.2s","0.5s","0.4s","0.9s","0.6s","0.3s","0.8s","0.2s","0.5s","0.7s"],"concurrency":4,"labels":{"team":"ingest"}}`)
	sum := s.post(t, `{"kind":"array_sum","array":{"source":"random","distribution":"normal","shape":[1200,2400],"chunks":[100,100]}}`)
	heat := s.post(t, `{"kind":"array_sum","array":{"source":"random","seed":3,"shape":[24,60,4],"chunks":[12,12,4]},"axis":2}`)
	failed := s.post(t, `{"kind":"sleep_batch","count":3,"duration":"1h","timeout":"10ms"}`)
	s.post(t, `{"kind":"sleep_batch","count":2000,"duration":"2h","priority":"high","labels":{"team":"ingest","env":"prod"}}`)
	s.post(t, `{"kind":"squares","numbers":[1],"start_after":"2h"}`)
	chain := submitBatch(t, s, `{"group":"nightly","jobs":[{"kind":"sleep_batch","count":3,"duration":"1h"},{"kind":"squares","numbers":[1],"after":[0]}]}`)
	for _, page := range []struct{ name, route, text string }{
		{"overview", "", "Recent jobs"},
		{"jobs", "jobs", "array_sum"},
		{"sleeps", "jobs/" + sleeps, "12 of 12 items"},
		{"sum", "jobs/" + sum, "288 of 288 chunks done"},
		{"heat", "jobs/" + heat, "Result, 24 × 60"},
		{"squares", "jobs/" + squares, "Values"},
		{"failed", "jobs/" + failed, "failed"},
		{"groups", "groups", "nightly"},
		{"group", "groups/nightly", "Newest jobs"},
		{"after", "jobs/" + chain[1], "After"},
		{"submit", "submit?kind=array_sum", "The service accepts this submission."},
		{"arrays", "arrays", "No stored arrays."},
		{"nodes", "nodes", "Last heartbeat"},
	} {
		t.Run(page.name, func(t *testing.T) {
			p := open(t, s, page.route)
			p.see(page.text)
			if page.name == "overview" {
				p.wait(`!/Accepted\s+–/.test(document.body.innerText)`)
				if update {
					stop := s.load(t)
					defer stop()
					time.Sleep(75 * time.Second) // for sparklines with a shape
				}
			}
			value[bool](p, string(script)+`; true`)
			for _, width := range []int64{1280, 768, 360} {
				p.run(chromedp.EmulateViewport(width, 900))
				p.wait(fmt.Sprintf(`innerWidth === %d && document.documentElement.scrollWidth <= innerWidth`, width)) // charts follow the width
				for _, theme := range []string{"light", "dark"} {
					if _, err := chromedp.Call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
						{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"},
					}}); err != nil {
						t.Fatal(err)
					}
					p.audit(width, theme)
					p.shoot(page.name, width, theme)
				}
			}
		})
	}
}

// audit runs axe on the page.
func (p *page) audit(width int64, theme string) {
	p.t.Helper()
	value[bool](p, `window.found = null; axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']}).then((r) => { window.found = JSON.stringify(r.violations.filter((v) => v.impact === 'serious' || v.impact === 'critical').map((v) => ({id: v.id, help: v.help, nodes: v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160))}))); }, (e) => { window.found = JSON.stringify([{id: String(e)}]); }); true`)
	p.wait(`window.found !== null`)
	var found []struct {
		ID, Help string
		Nodes    []string
	}
	if err := json.Unmarshal([]byte(value[string](p, `window.found`)), &found); err != nil {
		p.t.Fatal(err)
	}
	for _, v := range found {
		p.t.Errorf("at %d pixels, %s: %s: %s: %q", width, theme, v.ID, v.Help, v.Nodes)
	}
}

// update reports whether screenshots are written: they differ from run to run.
var update = os.Getenv("UPDATE_SCREENSHOTS") != ""

// shot are the pages of which the docs have screenshots.
var shot = []string{"overview", "jobs", "sum", "submit"}

// shoot writes a screenshot to the docs.
func (p *page) shoot(name string, width int64, theme string) {
	p.t.Helper()
	if !update || !slices.Contains(shot, name) {
		return
	}
	quality := int64(85)
	got, err := chromedp.Call(p, cdppage.CaptureScreenshot, cdppage.CaptureScreenshotParams{Format: cdppage.CaptureScreenshotFormatWebp, Quality: &quality})
	if err == nil {
		err = os.WriteFile(filepath.Join(docs, fmt.Sprintf("%s-%s-%d.webp", name, theme, width)), got.Data, 0o644) //nolint:gosec // a picture
	}
	if err != nil {
		p.t.Error(err)
	}
}

// load keeps a server busy until stop is called.
func (s *server) load(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		random := rand.New(rand.NewPCG(1, 2))
		for i := 0; ctx.Err() == nil; i++ {
			for range 1 + random.IntN(12) {
				s.post(t, fmt.Sprintf(`{"kind":"squares","range":{"stop":%d},"labels":{"team":"a"}}`, 1+random.IntN(5000)))
			}
			if i%4 == 0 {
				s.post(t, fmt.Sprintf(`{"kind":"sleep_batch","count":%d,"duration":"%dms","labels":{"team":"ingest"}}`, 20+random.IntN(400), 500+random.IntN(5000)))
			}
			if i%7 == 0 {
				s.post(t, fmt.Sprintf(`{"kind":"array_sum","array":{"source":"random","seed":%d,"distribution":"normal","shape":[4000,4000],"chunks":[250,250]},"labels":{"team":"b"}}`, i))
			}
			time.Sleep(time.Duration(50+random.IntN(400)) * time.Millisecond) // the load of a picture
		}
	})
	return func() {
		cancel()
		group.Wait()
	}
}
