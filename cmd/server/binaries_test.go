package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

// parallelTests is the least number of parallel tests at a time. More than one per CPU, because they mostly wait for
// elections and timeouts.
const parallelTests = 4

// binaries is the directory of the binaries that the tests run; each is built once, by the first test that needs it.
var binaries string

func TestMain(m *testing.M) {
	flag.Parse()
	if n, err := strconv.Atoi(flag.Lookup("test.parallel").Value.String()); err == nil && n < parallelTests {
		_ = flag.Set("test.parallel", strconv.Itoa(parallelTests))
	}
	// The stores of the tests accept any.
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "a-secret-of-theirs"} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	var err error
	if binaries, err = os.MkdirTemp("", "gather-binaries-"); err != nil {
		panic(err)
	}
	m.Run()
	_ = os.RemoveAll(binaries)
}

var serverBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(binaries, "server")
	if out, err := exec.CommandContext(context.Background(), "go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// build returns the server's binary. The race detector, which runs with -short, sees nothing of another process.
func build(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("runs the server as another process")
	}
	path, err := serverBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
