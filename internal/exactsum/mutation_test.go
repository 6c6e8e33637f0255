package exactsum_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/cpu"
)

// mutations break code on which exactness depends. The tests must detect each of them, with every affected kernel.
var mutations = []struct {
	name, file, old, new string
	only                 string // prefix of the names of the affected kernels
	harmless             bool   // tests must pass
}{
	{
		name: "a comment", file: "levels.go", harmless: true, only: "AVX2", // TestOtherKernels runs all
		old: "package exactsum", new: "package exactsum // mutated",
	},
	{
		name: "no range check", file: "fold_go.go",
		old: "return x>>mantissaBits != 0", new: "return false",
	},
	{
		name: "no remainder check", file: "fold_go.go",
		old: "return x<<1 != 0", new: "return false",
	},
	{
		name: "no range check of one level", file: "kernels_amd64.go", only: "AVX",
		old: "return level, exact(moved, rest)", new: "return level, exact(0*moved, rest)",
	},
	{
		name: "no remainder check of one level", file: "kernels_amd64.go", only: "AVX",
		old: "return level, exact(moved, rest)", new: "return level, exact(moved, 0*rest)",
	},
	{
		name: "no range check of one level in Go", file: "fold_go.go", only: "Go",
		old: "a3), exact(moved, rest)\n}\n\n// goFold2", new: "a3), exact(0, rest)\n}\n\n// goFold2",
	},
	{
		name: "no remainder check of one level in Go", file: "fold_go.go", only: "Go",
		old: "a3), exact(moved, rest)\n}\n\n// goFold2", new: "a3), exact(moved, 0)\n}\n\n// goFold2",
	},
	{
		name: "no room between levels", file: "levels.go",
		old: "return 52 - h", new: "return 52",
	},
	{
		name: "no room between the levels of columns", file: "columns_levels.go",
		old: ", i, c.bits)", new: ", i, 0)",
	},
	{
		name: "no room between the levels of squares", file: "squares_levels.go", only: "AVX",
		old: ", i, squareBits)", new: ", i, 0)",
	},
	{
		name: "squares at every scale", file: "squares_levels.go", only: "AVX",
		old: "k < minSquareScale ||", new: "",
	},
	{
		name: "columns of squares at every scale", file: "columns_squares.go",
		old: "k >= minSquareColumnScale && ", new: "",
	},
	{
		name: "no room for the errors of columns of squares", file: "columns_squares.go",
		old: "= columnBits + 1", new: "= 0",
	},
	{
		name: "no range check in AVX-512", file: "kernels_amd64.s", only: "AVX-512",
		old: "VPTERNLOGQ    $0xf6", new: "VPTERNLOGQ    $0xf0",
	},
	{
		name: "no remainder check in AVX-512", file: "kernels_amd64.s", only: "AVX-512",
		old: "ANDL          $0x20", new: "ANDL          $0x00",
	},
	{
		name: "a new scale for sums of the old one", file: "adder.go",
		old: "\t\t\tf.drain(a)\n\t\t\tf.scale = k", new: "\t\t\tf.scale = k",
	},
	{
		name: "stale padding", file: "adder.go",
		old: "clear(tail[copy(tail[:], *x):])", new: "copy(tail[:], *x)",
	},
	{
		name: "a special value keeps the words", file: "accumulator.go",
		old: "a.sum = [words]uint64{}", new: "_ = c",
	},
	{
		name: "ties without the bits below", file: "round.go",
		old: "return rest != 0", new: "return false",
	},
	{
		name: "double rounding", file: "round.go",
		old: "neg, b := a.round(binary32)", new: "return float32(a.Float64()); neg, b := a.round(binary32)",
	},
}

// kernels returns the settings under which a test binary selects each set of kernels on this machine.
func kernels() map[string]string {
	k := map[string]string{"Go": "cpu.avx512f=off,cpu.avx2=off"}
	if cpu.X86.HasAVX2 {
		k["AVX2"] = "cpu.avx512f=off"
	}
	if cpu.X86.HasAVX512F {
		k["AVX-512"] = ""
	}
	return k
}

// detecting are tests that together detect all mutations; the others take longer, and detect only some.
const detecting = "^(TestFloat64s|TestColumnsOfDifferentScale|TestSquaresOfColumnsOfFloats|TestSumOfFewValues)$"

func TestMutationsAreDetected(t *testing.T) {
	if testing.Short() || os.Getenv("CI") != "true" {
		t.Skip("builds the package once per mutation; set CI=true to run it")
	}
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			dir := copyModule(t)
			mutate(t, filepath.Join(dir, "internal", "exactsum", m.file), m.old, m.new)
			build := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-ldflags=-s -w", "-c", "-o", "mutant", ".")
			build.Dir = filepath.Join(dir, "internal", "exactsum")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("the mutant does not build: %v\n%s", err, out)
			}
			for name, features := range kernels() {
				if !strings.HasPrefix(name, m.only) {
					continue
				}
				run := exec.CommandContext(t.Context(), "./mutant", "-test.short", "-test.failfast", "-test.run="+detecting)
				run.Dir = build.Dir
				run.Env = append(os.Environ(), "GODEBUG="+features)
				out, err := run.CombinedOutput()
				switch {
				case m.harmless && err == nil, !m.harmless && strings.Contains(string(out), "--- FAIL"):
				case err == nil:
					t.Errorf("with the %s kernels no test fails", name)
				default:
					t.Errorf("with the %s kernels: %v\n%s", name, err, out)
				}
			}
		})
	}
}

// copyModule copies this package and its dependencies to a new directory.
func copyModule(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files, err := filepath.Glob("*.[gs]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, "../../go.mod", "../../go.sum") {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, "internal", "exactsum", f)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func mutate(t *testing.T, file, before, after string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	mutated := strings.ReplaceAll(string(data), before, after)
	if mutated == string(data) {
		t.Fatalf("%s has no %q", filepath.Base(file), before)
	}
	if err := os.WriteFile(file, []byte(mutated), 0o600); err != nil {
		t.Fatal(err)
	}
}
