package browser_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// The list is paged, filtered, walked with the keyboard, and a filtered set is deleted after a preview of its size.
func TestJobs(t *testing.T) {
	s := serve(t)
	for i := range 2 {
		jobs := make([]string, 60)
		for k := range jobs {
			jobs[k] = fmt.Sprintf(`{"kind":"squares","numbers":[%d],"labels":{"team":"%c","n":"%d"}}`, k, 'a'+i, k)
		}
		s.send(t, "", "/v1/jobs:batch", `{"jobs":[`+strings.Join(jobs, ",")+`]}`)
	}
	first := func(p *page) string { return value[string](p, `document.querySelector('table.jobs tbody .id')?.title`) }
	p := open(t, s, "jobs")
	p.wait(`document.querySelectorAll('table.jobs tbody tr').length === 50`)
	newest := first(p)
	p.press("Next")
	p.wait(`(document.querySelector('table.jobs tbody .id')?.title ?? '` + newest + `') !== '` + newest + `'`)
	s.post(t, `{"kind":"squares","numbers":[1]}`) // a page stays as it is while jobs come
	second := first(p)
	p.press("Next")
	p.wait(`document.querySelectorAll('table.jobs tbody tr').length === 20`)
	p.press("Previous")
	p.wait(`document.querySelector('table.jobs tbody .id')?.title === '` + second + `'`)
	p.press("Newest")
	p.wait(`document.querySelector('table.jobs tbody .id')?.title > '` + second + `'`)

	p.run(chromedp.KeyEvent("/"))
	p.wait(`document.activeElement.type === 'search'`)
	value[string](p, `document.activeElement.value = ''`) // the driver has typed the key, too
	p.run(chromedp.KeyEvent("team:a\r"))
	p.wait(`location.hash.includes('label=team%3Aa')`)
	p.wait(`[...document.querySelectorAll('table.jobs tbody tr')].every((r) => r.innerText.includes('team:a'))`)
	p.press("Delete matching …")
	p.see("60 finished jobs")
	p.press("Delete 60")
	p.see("60 deleted")
	p.press("Close")
	p.see("No job matches the filters.")
	p.press("Clear")
	p.wait(`document.querySelectorAll('table.jobs tbody tr').length === 50`)

	s.post(t, `{"kind":"squares","numbers":[2],"priority":"high"}`)
	change := func(label, to string) {
		value[bool](p, fmt.Sprintf(`(() => {
			const input = [...document.querySelectorAll('.filters label')].find((l) => l.textContent.startsWith(%q)).control;
			input.value = %q;
			return input.dispatchEvent(new Event('change', { bubbles: true }));
		})()`, label, to))
	}
	change("Priority", "high")
	p.wait(`document.querySelectorAll('table.jobs tbody tr').length === 1`)
	p.press("Clear")
	change("Created before", "2020-01-31T08:00")
	p.see("No job matches the filters.")
	change("Created before", "")
	change("Created after", "2020-01-31T08:00")
	p.wait(`location.hash.includes('created_after=20') && document.querySelectorAll('table.jobs tbody tr').length === 50`)
	p.press("Clear")
	p.wait(`!location.hash.includes('created_after') && document.querySelectorAll('table.jobs tbody tr').length === 50`)
	p.run(chromedp.KeyEvent("j"), chromedp.KeyEvent("j"))
	p.wait(`document.querySelectorAll('table.jobs tbody tr')[1].classList.contains('selected')`)
	p.run(chromedp.KeyEvent("\r"))
	p.see("Timeline")
	p.run(chromedp.KeyEvent("g"), chromedp.KeyEvent("o"))
	p.see("Queue depth")
}

// A list of 10 000 jobs is paged to its end while jobs are added: each job is shown once.
func TestPaging(t *testing.T) {
	const jobs, size = 10_000, 50
	s := serve(t)
	s.send(t, "", "/v1/jobs:batch", `{"jobs":[`+strings.Repeat(`{"kind":"squares","numbers":[]},`, jobs-1)+`{"kind":"squares","numbers":[]}]}`)
	p := open(t, s, "jobs")
	const titles = `[...document.querySelectorAll('table.jobs tbody .id')].map((e) => e.title)`
	seen := make(map[string]bool)
	for page := range jobs / size {
		p.wait(fmt.Sprintf(`location.hash.includes('page=') === %t && ((ids) => ids.length === %d && ids[0] !== window.first)(%s)`, page > 0, size, titles))
		for _, id := range value[[]string](p, titles) {
			if seen[id] {
				t.Fatalf("page %d shows job %s, which a page before has shown", page, id)
			}
			seen[id] = true
		}
		value[bool](p, `(() => { window.first = `+titles+`[0]; return true; })()`)
		if page == 0 {
			s.post(t, `{"kind":"squares","numbers":[]}`)
		}
		if page < jobs/size-1 {
			p.press("Next")
		}
	}
	if p.wait(`[...document.querySelectorAll('.pager button')].find((b) => b.textContent === 'Next').disabled`); len(seen) != jobs {
		t.Errorf("got %d jobs, want %d", len(seen), jobs)
	}
}

// A page goes on after a reload in the middle of a stream, and after a restart of the server.
func TestResume(t *testing.T) {
	s := serve(t)
	id := s.post(t, `{"kind":"sleep_batch","count":4,"duration":"1h"}`)
	long := s.post(t, `{"kind":"sleep_batch","durations":["10ms","20ms","1h"]}`)
	p := open(t, s, "jobs/"+long)
	p.see("Results (2)")
	p.run(chromedp.Reload())
	p.see("Results (2)")
	p.see("running")
	s.stop()
	p.see("The server does not respond.")
	s.start(t)
	p.wait(`!document.body.innerText.includes('The server does not respond.')`)
	s.send(t, "", "/v1/jobs/"+long+"/cancel", "")
	p.see("cancelled")
	p.see("Results (2)")
	q := open(t, s, "jobs/"+id)
	q.see("running")
}

// The key is asked for once in a tab, is refused when it is wrong, and shows its tenant's jobs only.
func TestKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]string)
	for _, tenant := range []string{"red", "blue"} {
		out, err := exec.CommandContext(t.Context(), program, "keys", "create", tenant, "--api-keys", file).Output()
		if err != nil {
			t.Fatal(err)
		}
		keys[tenant] = strings.TrimSpace(string(out))
	}
	s := serve(t, "--api-keys="+file)
	var job struct{ ID string }
	if err := json.Unmarshal(s.send(t, keys["red"], "/v1/jobs", `{"kind":"sleep_batch","count":1,"duration":"1h"}`), &job); err != nil {
		t.Fatal(err)
	}
	for tenant, text := range map[string]string{"red": "sleep_batch", "blue": "No jobs yet."} {
		p := open(t, s, "jobs")
		p.see("This server needs an API key.")
		p.run(chromedp.SendKeys(chromedp.CSS("dialog input"), "gather_wrong_key"))
		p.press("Use this key")
		p.see("Invalid API key.")
		p.run(chromedp.Clear(chromedp.CSS("dialog input")), chromedp.SendKeys(chromedp.CSS("dialog input"), keys[tenant]))
		p.press("Use this key")
		p.see(text)
		p.run(chromedp.Reload())
		p.see(text)
		if at := value[string](p, `location.href + document.cookie + JSON.stringify(localStorage)`); strings.Contains(at, "gather_") {
			t.Errorf("got the key in %s, want it in sessionStorage only", at)
		}
		if tenant == "blue" {
			p.run(chromedp.Navigate(s.url + "/ui/#/jobs/" + job.ID))
			p.run(chromedp.Reload())
			p.see("The tenant has no job with this id")
		}
	}
}

// A million results neither freeze the page nor fill its memory.
func TestManyResults(t *testing.T) {
	s := serve(t)
	p := open(t, s, "jobs/"+s.post(t, `{"kind":"squares","range":{"stop":1000000}}`))
	p.see("Results (1,000,000)")
	p.wait(`!!document.querySelector('.chart canvas')`)
	p.wait(`document.querySelector('.view .row')?.innerText.includes('0')`)
	for _, c := range []struct{ at, index string }{{"1e9", "999,999"}, {"0", "0"}} {
		value[bool](p, `(() => { document.querySelector('.view').scrollTop = `+c.at+`; return true; })()`)
		p.wait(`[...document.querySelectorAll('.view [role=row] > :first-child')].some((e) => e.innerText.trim() === '` + c.index + `')`)
	}
	// Ten jumps through the list; the longest time between two frames.
	value[bool](p, `(() => { window.longest = 0; let last = performance.now(); let n = 0; const view = document.querySelector('.view');
		const frame = (now) => { window.longest = Math.max(window.longest, now - last); last = now; view.scrollTop = (n++ / 60) * view.scrollHeight; if (n <= 60) requestAnimationFrame(frame); else window.scrolled = true; };
		requestAnimationFrame(frame); return true; })()`)
	p.wait(`window.scrolled === true`)
	heap := value[float64](p, `performance.memory.usedJSHeapSize / 2**20`)
	nodes := value[float64](p, `document.querySelectorAll('*').length`)
	t.Logf("heap %.0f MiB, %.0f elements, at most %.0f ms between frames", heap, nodes, value[float64](p, `window.longest`))
	if heap > 64 || nodes > 1500 {
		t.Errorf("got a heap of %.0f MiB and %.0f elements, want at most 64 MiB and 1500", heap, nodes)
	}
}
