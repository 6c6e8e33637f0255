package cli_test

import (
	"reflect"
	"strings"
	"testing"

	"gather/internal/cli"
)

const schedule = `{"name":"nightly","kind":"squares","cron":"30 4 * * 1-5","time_zone":"Europe/Berlin","overlap":"queue",` +
	`"catch_up":{"runs":3,"within":"2h0m0s"},"paused":true,"created_at":"2026-11-22T16:10:58Z","updated_at":"2026-11-22T16:10:58Z",` +
	`"next_run_at":null,"waiting":0,"last_run":{"tick":"2026-11-22T16:10:58Z","outcome":"missed","job_id":null,"manual":false,"detail":"late",` +
	`"decided_at":"2026-11-22T16:10:58Z"},"submission":{"kind":"squares","numbers":[100000000000000000000000000001]}}`

// TestSchedules: schedules are listed, shown, paused, resumed, run and deleted.
func TestSchedules(t *testing.T) {
	runs := `{"runs":[{"tick":"2026-11-22T16:10:58Z","outcome":"submitted","job_id":"j1","manual":false,"detail":null,"decided_at":"2026-11-22T16:10:58Z"},` +
		`{"tick":"2026-11-22T16:09:58Z","outcome":"missed","job_id":null,"manual":false,"detail":"late","decided_at":"2026-11-22T16:10:58Z"}]}`
	for _, c := range []struct {
		line, response string
		code           int
		request, out   string // out is a part of the output
	}{
		{"schedules list -o id", `{"schedules":[` + schedule + `]}`, 0, "GET /v1/schedules", "nightly\n"},
		{"schedules list -o table", `{"schedules":[` + schedule + `]}`, 0, "GET /v1/schedules", "squares       30 4 * * 1-5 Europe/Berlin    paused"},
		{"schedules get nightly", schedule, 0, "GET /v1/schedules/nightly", `"numbers":[100000000000000000000000000001]`},
		{"schedules get nightly -o table", schedule, 0, "GET /v1/schedules/nightly", "Catch up    3 within 2h0m0s\n"},
		{"schedules pause nightly", schedule, 0, "POST /v1/schedules/nightly/pause", `"paused":true`},
		{"schedules resume nightly", schedule, 0, "POST /v1/schedules/nightly/resume", `"name":"nightly"`},
		{"schedules run nightly -o id", state("queued"), 0, "POST /v1/schedules/nightly/run", "j1\n"},
		{"schedules run nightly --wait -o id", state("failed"), cli.ExitJobFailed, "POST /v1/schedules/nightly/run GET /v1/jobs/j1", "j1\n"},
		{"schedules history nightly -o id", runs, 0, "GET /v1/schedules/nightly/runs", "j1\n"},
		{"schedules history nightly -o table", runs, 0, "GET /v1/schedules/nightly/runs", "missed                                           late\n"},
		{"schedules delete nightly", "", 0, "DELETE /v1/schedules/nightly", ""},
		{"schedules put nightly --cron @daily", "", cli.ExitUsage, "", ""},
		{"schedules put nightly {kind:squares}", "", cli.ExitUsage, "", ""},
		{"schedules put nightly {} --cron @daily --every 1h", "", cli.ExitUsage, "", ""},
		{"schedules put nightly {} -f - --every 1h", "", cli.ExitUsage, "", ""},
		{"schedules put nightly { --every 1h", "", cli.ExitUsage, "", ""},
		{"schedules put nightly {} --every 1h --overlap both", "", cli.ExitUsage, "", ""},
	} {
		f := answering(t, 200, c.response)
		code, out, stderr := execute(t, "", strings.Fields(c.line)...)
		if got := strings.Join(f.requests, " "); code != c.code || got != c.request || !strings.Contains(out, c.out) {
			t.Errorf("%s: exit code %d, requests %q, %q, %s; want %d, %q, %q", c.line, code, got, out, stderr, c.code, c.request, c.out)
		}
	}
}

// TestSchedulesPut: the JSON that flags make.
func TestSchedulesPut(t *testing.T) {
	for _, c := range []struct {
		args  []string
		stdin string
		want  string
	}{
		{
			[]string{"{kind: squares, range: {stop: 5}}", "--cron", "30 4 * * 1-5", "--time-zone=Europe/Berlin"},
			"",
			`{"cron":"30 4 * * 1-5","time_zone":"Europe/Berlin","submission":{"kind":"squares","range":{"stop":5}},"overlap":"skip"}`,
		},
		{
			[]string{"-f", "-", "--every=15m", "--overlap=replace", "--catch-up-runs=0", "--catch-up-within=30m", "--paused"},
			`{"kind":"squares","numbers":[1e2]}`,
			`{"every":"15m","submission":{"kind":"squares","numbers":[1e2]},"overlap":"replace","catch_up":{"runs":0,"within":"30m"},"paused":true}`,
		},
	} {
		f := answering(t, 201, schedule)
		code, out, stderr := execute(t, c.stdin, append([]string{"schedules", "put", "nightly", "-o", "id"}, c.args...)...)
		if code != 0 || out != "nightly\n" || len(f.requests) != 1 || f.requests[0] != "PUT /v1/schedules/nightly" {
			t.Errorf("%q: exit code %d, %q, %q: %s", c.args, code, out, f.requests, stderr)
			continue
		}
		if !reflect.DeepEqual(decode(t, f.bodies[0]), decode(t, c.want)) {
			t.Errorf("%q:\ngot  %s\nwant %s", c.args, f.bodies[0], c.want)
		}
	}
}
