package browser_test

import (
	"fmt"
	"testing"
)

// Every kind is submitted with the form and shown until its end, with its picture and its results.
func TestSubmit(t *testing.T) {
	s := serve(t, "--http-allow=127.0.0.1")
	for _, c := range []struct {
		kind, picture string
		edits         [][2]string // names of fields and their values
	}{
		{"squares", "Values", nil},
		{"sleep_batch", "Items over time", [][2]string{{"duration", "100ms"}}},
		{"http_batch", "Items over time", [][2]string{{"request", `{"url":"` + s.url + `/healthz?{id}"}`}, {"rate", ""}}},
		{"array_sum", "Chunks", nil},
		{"array_reduce", "Result, 1000", nil},
	} {
		t.Run(c.kind, func(t *testing.T) {
			p := open(t, s, "submit?kind="+c.kind)
			p.see("Options of every job")
			for _, edit := range c.edits {
				value[bool](p, fmt.Sprintf(`(() => {
					const input = [...document.querySelectorAll('.field > label')].find((l) => l.textContent.split(' ')[0] === %q).control;
					input.value = %q;
					return input.dispatchEvent(new Event('input', {bubbles: true}));
				})()`, edit[0], edit[1]))
			}
			p.see("The service accepts this submission.")
			p.press("Submit")
			p.see("Timeline")
			p.see("succeeded")
			p.see(c.picture)
			p.see("Run again")
			p.wait(`document.querySelectorAll('.view [role=row]').length > 0`)
		})
	}
}

// A job is cancelled from its page, and run again.
func TestCancel(t *testing.T) {
	s := serve(t)
	p := open(t, s, "jobs/"+s.post(t, `{"kind":"sleep_batch","count":3,"duration":"1h"}`))
	p.see("running")
	p.press("Cancel")
	p.see("cancelled")
	p.press("Run again")
	p.see("running")
}
