package cli_test

import (
	"fmt"
	"strings"
	"testing"

	"gather/internal/cli"
)

// group returns a group of five jobs that have ended.
func group(failed, cancelled int) string {
	return fmt.Sprintf(`{"id":"nightly","jobs":{"total":5,"queued":0,"running":0,"cancelling":0,"succeeded":%d,"failed":%d,"cancelled":%d},`+
		`"progress":{"total":50,"completed":50,"failed":7,"fraction":1,"eta_seconds":null,"bytes":0,"bytes_total":0},`+
		`"created_at":"2026-11-22T16:10:58Z","finished_at":"2026-11-22T16:11:00Z","links":{}}`, 5-failed-cancelled, failed, cancelled)
}

// TestGroups: groups are listed, shown, awaited, cancelled and deleted.
func TestGroups(t *testing.T) {
	const changed = `{"matched":3,"changed":2,"next_page_token":null}`
	for _, c := range []struct {
		line, response string
		code           int
		request, out   string // out is a part of the output
	}{
		{"groups list -o id", `{"groups":[` + group(0, 0) + `],"next_after":null}`, 0, "GET /v1/groups", "nightly\n"},
		{"groups list -o table", `{"groups":[` + group(2, 0) + `],"next_after":null}`, 0, "GET /v1/groups", "5/5              2         50/50, 7 failed"},
		{"groups get nightly", group(1, 0), 0, "GET /v1/groups/nightly", `"failed":1`},
		{"groups get nightly -o table", group(1, 2), 0, "GET /v1/groups/nightly", "Jobs        5: 2 succeeded, 1 failed, 2 cancelled\n"},
		{"groups get nightly --wait", group(0, 0), 0, "GET /v1/groups/nightly", `"succeeded":5`},
		{"groups get nightly --wait", group(1, 1), cli.ExitJobFailed, "GET /v1/groups/nightly", `"succeeded":3`},
		{"groups get nightly --wait", group(0, 1), cli.ExitCancelled, "GET /v1/groups/nightly", `"succeeded":4`},
		{"groups cancel nightly", changed, 0, "POST /v1/groups/nightly/cancel", `{"changed":2,"matched":3,"next_page_token":null}`},
		{"groups cancel nightly --count-only", changed, 0, "POST /v1/groups/nightly/cancel?validate_only=true", `"matched":3`},
		{"groups delete nightly -o table", changed, 0, "DELETE /v1/groups/nightly", "3         2\n"},
		{"groups delete", changed, cli.ExitUsage, "", ""},
	} {
		f := answering(t, 200, c.response)
		code, out, stderr := execute(t, "", strings.Fields(c.line)...)
		if got := strings.Join(f.requests, "\n"); code != c.code || got != c.request || !strings.Contains(out, c.out) {
			t.Errorf("%s: exit code %d, requests %q, %q, %s; want %d, %q, %q", c.line, code, got, out, stderr, c.code, c.request, c.out)
		}
	}
}

// TestCount: the numbers of jobs in states that have any.
func TestCount(t *testing.T) {
	f := answering(t, 200, `{"total":7,"queued":3,"running":0,"cancelling":0,"succeeded":4,"failed":0,"cancelled":0}`)
	code, out, stderr := execute(t, "", "count", "--kind=squares", "--kind=array_sum", "-o", "table")
	if code != 0 || out != "Jobs        7: 3 queued, 4 succeeded\n" || f.requests[0] != "GET /v1/jobs:count?kind=squares&kind=array_sum" {
		t.Errorf("exit code %d, %q, %q, %s", code, out, f.requests, stderr)
	}
}
