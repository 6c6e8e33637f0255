package browser_test

import (
	"testing"
)

// Every kind is submitted with the form and shown until its end, with its picture and its results.
func TestSubmit(t *testing.T) {
	s := serve(t)
	for _, c := range []struct {
		kind, edit, picture string
	}{
		{"squares", "", "Values"},
		{"sleep_batch", `change('duration', '100ms')`, "Items over time"},
		{"array_sum", "", "Chunks"},
		{"array_reduce", "", "Result, 1000"},
	} {
		t.Run(c.kind, func(t *testing.T) {
			p := open(t, s, "submit?kind="+c.kind)
			p.see("The service accepts this submission.")
			if c.edit != "" {
				value[bool](p, `(() => { const change = (name, text) => {
					const input = [...document.querySelectorAll('label')].find((l) => l.textContent.split(' ')[0] === name).control;
					input.value = text;
					input.dispatchEvent(new Event('input', {bubbles: true}));
				}; `+c.edit+`; return true; })()`)
			}
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
