package schedule_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"testing"
	"time"

	"gather/internal/job"
	"gather/internal/schedule"
)

// TestTiming tests ticks, with the changes of daylight saving time.
func TestTiming(t *testing.T) {
	for name, c := range map[string]struct {
		cron, zone, after string
		want              []string
	}{
		"weekdays":      {"30 4 * * 1-5", "UTC", "2026-11-27T04:30:00Z", []string{"2026-11-30T04:30:00Z", "2026-12-01T04:30:00Z"}},
		"descriptor":    {"@monthly", "Europe/Berlin", "2026-11-27T04:30:00Z", []string{"2026-11-30T23:00:00Z", "2026-12-31T23:00:00Z"}},
		"spring":        {"30 2 * * *", "Europe/Berlin", "2027-03-27T00:00:00Z", []string{"2027-03-27T01:30:00Z", "2027-03-29T00:30:00Z"}}, // 02:30 of the 28th does not exist
		"autumn hourly": {"0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", []string{"2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"}},
		"leap":          {"0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", []string{"2028-02-29T00:00:00Z"}},
	} {
		t.Run(name, func(t *testing.T) {
			timing, err := schedule.NewCron(c.cron, c.zone)
			if err != nil {
				t.Fatal(err)
			}
			s := &schedule.Schedule{Definition: schedule.Definition{Timing: timing}}
			at, _ := time.Parse(time.RFC3339, c.after)
			for _, want := range c.want {
				if at = s.Next(at); at.Format(time.RFC3339) != want {
					t.Fatalf("got tick %s, want %s", at.Format(time.RFC3339), want)
				}
			}
		})
	}
	for _, c := range [][2]string{
		{"", "UTC"},
		{"* * * *", "UTC"},
		{"* * * * * *", "UTC"},
		{"61 * * * *", "UTC"},
		{"0 0 30 2 *", "UTC"},
		{"@every 1s", "UTC"},
		{"@reboot", "UTC"},
		{"TZ=0", "UTC"},
		{"CRON_TZ=UTC * * * * *", "UTC"},
		{"* * * * *", ""},
		{"* * * * *", "Local"},
		{"* * * * *", "Mars/Olympus"},
		{"* * * * *", "../../etc/passwd"},
		{"*/0 * * * *", "UTC"},
	} {
		if _, err := schedule.NewCron(c[0], c[1]); err == nil {
			t.Errorf("cron %q in zone %q: got no error", c[0], c[1])
		}
	}
	for _, d := range []time.Duration{0, -time.Hour, time.Millisecond, 10_000 * time.Hour} {
		if _, err := schedule.NewInterval(d); err == nil {
			t.Errorf("interval %s: got no error", d)
		}
	}
}

func FuzzCron(f *testing.F) {
	for _, seed := range []string{"* * * * *", "@daily", "TZ=0", "1-5/2,7 */3 L * MON#1", "* * * * * *", "0 0 31 */2 ?"} {
		f.Add(seed, "UTC")
	}
	f.Fuzz(func(t *testing.T, text, zone string) {
		timing, err := schedule.NewCron(text, zone)
		if err != nil {
			return
		}
		s := &schedule.Schedule{Definition: schedule.Definition{Timing: timing}}
		from := time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)
		if next := s.Next(from); !next.IsZero() && !next.After(from) {
			t.Fatalf("cron %q: got the tick %s after %s", text, next, from)
		}
	})
}

var update = flag.Bool("update", false, "write missing golden data")

// TestGolden tests that what the first version of the format wrote is still read, and has the same value.
func TestGolden(t *testing.T) {
	at := time.Date(2026, 11, 26, 12, 0, 0, 123456789, time.UTC)
	timing, err := schedule.NewCron("30 4 * * 1-5", "Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	full := schedule.Schedule{
		Tenant: "acme", Name: "nightly", Definition: schedule.Definition{
			Timing: timing, Overlap: schedule.Queue, CatchUp: schedule.CatchUp{Runs: 3, Within: time.Hour}, Paused: true,
			Template: schedule.Template{
				Kind: "squares", Priority: job.High, Labels: map[string]string{"team": "red"}, Timeout: time.Minute, Retention: time.Hour, Delay: time.Second,
				Spec: []byte(`{"numbers":[1]}`),
			},
		},
		Generation: job.ID{0x01, 0x93, 0x5f, 0x2a, 0x7c, 0x00, 0x70, 0x01, 0x80, 1, 2, 3, 4, 5, 6, 7}, CreatedAt: at, UpdatedAt: at, Cursor: at.Add(time.Minute),
		Waiting: []time.Time{at}, Current: job.ID{0x01, 0x93, 0x5f, 0x2a, 0x7c, 0x00, 0x70, 0x01, 0x80, 1, 2, 3, 4, 5, 6, 8},
	}
	for i, o := range schedule.Outcomes() {
		full.Runs = append(full.Runs, schedule.Run{Tick: at.Add(time.Duration(i)), Outcome: o, Job: full.Current, Manual: i == 0, Detail: "why", At: at})
	}
	interval := full
	interval.Timing, _ = schedule.NewInterval(15 * time.Minute)
	interval.Runs, interval.Waiting, interval.Current, interval.Paused = nil, nil, job.ID{}, false
	kept := interval
	kept.Template.FailedRetention = 24 * time.Hour
	for name, s := range map[string]schedule.Schedule{"cron": full, "interval": interval, "kept": kept} {
		file := "testdata/v1/" + name + ".json"
		data, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) && *update {
			data, err = s.Encode(), os.WriteFile(file, s.Encode(), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := schedule.Decode(data)
		if err != nil || !bytes.Equal(got.Encode(), s.Encode()) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, s)
		}
	}
}

// TestDecode tests which values are rejected, and how.
func TestDecode(t *testing.T) {
	good, err := os.ReadFile("testdata/v1/cron.json")
	if err != nil {
		t.Fatal(err)
	}
	for change, want := range map[[2]string]error{
		{`"format":1`, `"format":3`}: job.ErrVersion, {`"format":1`, `"format":2`}: job.ErrCorrupt,
		{`"retention":3600000000000`, `"retention":3600000000000,"failed_retention":1`}: job.ErrCorrupt, {`"format":1`, `"format":0`}: job.ErrCorrupt, {`"name":"nightly"`, `"name":""`}: job.ErrCorrupt,
		{`"overlap":"queue"`, `"overlap":"drop"`}: job.ErrCorrupt, {`"catch_up":3`, `"catch_up":-3`}: job.ErrCorrupt, {`"30 4`, `"90 4`}: job.ErrCorrupt,
		{`"priority":"high"`, `"priority":"top"`}: job.ErrCorrupt, {`"overlap"`, `"other"`}: job.ErrCorrupt, {`"outcome":"missed"`, `"outcome":"lost"`}: job.ErrCorrupt,
	} {
		data := bytes.Replace(good, []byte(change[0]), []byte(change[1]), 1)
		if bytes.Equal(data, good) {
			t.Fatalf("the golden data has no %s", change[0])
		}
		if _, err := schedule.Decode(data); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", change[1], err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"cron", "interval", "kept"} {
		if data, err := os.ReadFile("testdata/v1/" + name + ".json"); err == nil {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := schedule.Decode(data)
		if err != nil {
			return
		}
		if again, err := schedule.Decode(s.Encode()); err != nil || !bytes.Equal(again.Encode(), s.Encode()) {
			t.Fatalf("got %v for what was decoded and encoded again", err)
		}
	})
}
