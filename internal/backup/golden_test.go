package backup_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"gather/internal/array/arraytest"
	"gather/internal/backup"
	"gather/internal/job"
)

var update = flag.Bool("update", false, "make missing golden data; existing data never changes")

// A backup of the first version can be restored: its directory opens, with its job and its array. See job.Format.
func TestGoldenBackup(t *testing.T) {
	const golden = "testdata/v1/backup.tar"
	content := arraytest.File(t, 1000, 1)
	if _, err := os.Stat(golden); *update && os.IsNotExist(err) {
		d := open(t, t.TempDir())
		d.submit(t)
		arraytest.MustPut(t, d.arrays, "t", "x", content)
		out, _ := d.take(t, func() {})
		must(t, os.MkdirAll(filepath.Dir(golden), 0o750))
		must(t, os.WriteFile(golden, out, 0o600))
	}
	data, err := os.ReadFile(golden)
	must(t, err)
	dir := filepath.Join(t.TempDir(), "restored")
	must(t, backup.Restore(bytes.NewReader(data), dir))
	d := open(t, dir)
	var jobs []job.Job
	must(t, d.journal.Recover(t.Context(), func(j job.Job, _ []byte, _ job.LogSeq) error {
		jobs = append(jobs, j)
		return nil
	}))
	if len(jobs) != 1 || jobs[0].State != job.Queued || jobs[0].Tenant != "t" || jobs[0].Kind != "squares" {
		t.Errorf("the jobs are %+v, want a queued one", jobs)
	}
	d.wantArray(t, "x", content)
}
