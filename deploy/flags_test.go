package deploy_test

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// foreign has the flags of other programs.
var foreign = []string{
	"--build", "--wait", "--from-file", "--from-literal", "--now", "--config", "--storage", "--web", "--signal", "--enable-feature",
	// nsc's and nats's
	"--name", "--account", "--js-mem-storage", "--js-disk-storage", "--js-streams", "--js-consumer", "--allow-sub", "--allow-pub",
	"--compression",
}

// streams have names that look like settings.
var streams = []string{"GATHER_LOG", "GATHER_TASKS", "GATHER_ARRAYS", "GATHER_ARRAYS_META", "GATHER_NODES", "GATHER_DOCUMENTS", "GATHER_SNAPSHOTS"}

// TestFlags checks that every flag and environment variable of the server in a panel, a runbook or a file here exists.
func TestFlags(t *testing.T) {
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	help := runs(t, program, "serve", "--help") + runs(t, program, "keys", "create", "--help") +
		runs(t, program, "import", "--help")
	flag := regexp.MustCompile(`--[a-z][a-z-]+`)
	setting := regexp.MustCompile(`\bGATHER_[A-Z_]+`)
	named := 0
	check := func(file string) {
		text := string(read(t, file))
		for _, f := range flag.FindAllString(text, -1) {
			named++
			if !regexp.MustCompile(f+`[^a-z-]`).MatchString(help) && !slices.Contains(foreign, f) {
				t.Errorf("%s: there is no flag %s", file, f)
			}
		}
		for _, s := range setting.FindAllString(text, -1) {
			named++
			if !slices.Contains(streams, s) && !regexp.MustCompile(`\$`+s+`\b`).MatchString(help) {
				t.Errorf("%s: there is no setting %s", file, s)
			}
		}
	}
	for _, file := range append(glob(t, runbooks+"/*.md"), "../docs/monitoring.md", "../docs/cluster.md") {
		check(file)
	}
	err = filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if ext := filepath.Ext(file); err == nil && !d.IsDir() && slices.Contains([]string{".json", ".yaml", ".yml", ".service", ".conf"}, ext) {
			check(file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if named < 30 {
		t.Errorf("only %d were found", named)
	}
}
