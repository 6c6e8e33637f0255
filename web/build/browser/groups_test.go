package browser_test

import (
	"encoding/json"
	"testing"
)

// submitBatch submits jobs and returns their ids.
func submitBatch(t *testing.T, s *server, batch string) (ids []string) {
	t.Helper()
	var answer struct{ Jobs []struct{ ID string } }
	if err := json.Unmarshal(s.send(t, "", "/v1/jobs:batch", batch), &answer); err != nil {
		t.Fatal(err)
	}
	for _, j := range answer.Jobs {
		ids = append(ids, j.ID)
	}
	return ids
}

// A group is found in the list, shown with its counts, cancelled and deleted as a whole.
func TestGroups(t *testing.T) {
	s := serve(t)
	submitBatch(t, s, `{"group":"nightly","jobs":[{"kind":"squares","numbers":[1,2]},{"kind":"sleep_batch","durations":["1h"]}]}`)
	p := open(t, s, "groups")
	p.see("1 of 2")
	p.press("nightly")
	p.see("2 of 3")
	p.see("sleep_batch")
	p.press("All jobs of the group")
	p.wait(`document.querySelectorAll('table.jobs tbody tr').length === 2`)
	p.press("group nightly")
	p.see("Jobs ended")
	p.press("Cancel jobs …")
	p.see("1 unfinished job")
	p.press("Cancel 1")
	p.see("1 cancelled")
	p.press("Close")
	p.see("Finished")
	p.see("2 of 2")
	p.press("Delete jobs …")
	p.see("2 finished jobs")
	p.press("Delete 2")
	p.see("2 deleted")
	p.press("Close")
	p.see("No groups.")
}

// The page of a job links its group, the jobs before it and the job that it retries, and retries what failed.
func TestRelations(t *testing.T) {
	s := serve(t, "--http-allow=127.0.0.1")
	ids := submitBatch(t, s, `{"group":"chain","jobs":[{"kind":"sleep_batch","durations":["1h"]},{"kind":"squares","numbers":[3],"after":[0]}]}`)
	p := open(t, s, "jobs/"+ids[1])
	p.see("After")
	p.press(ids[0][len(ids[0])-12:])
	p.see("sleep_batch")
	p.press("chain")
	p.see("Jobs ended")

	failed := s.post(t, `{"kind":"http_batch","requests":[{"url":"`+s.url+`/livez"},{"url":"`+s.url+`/v1/jobs/none"}]}`)
	p = open(t, s, "jobs/"+failed)
	p.see("1 of 2") // of the items, the other has failed
	p.press("Retry failed")
	p.see("Retry of")
	p.see("0 of 1")
	p.press(failed[len(failed)-12:])
	p.wait(`location.hash.endsWith('` + failed + `')`)
	p = open(t, s, "jobs/"+s.post(t, `{"kind":"squares","numbers":[1]}`))
	p.see("succeeded")
	if value[bool](p, `document.body.innerText.includes('Retry failed')`) {
		t.Error("a job of which everything has succeeded can be retried")
	}
}
