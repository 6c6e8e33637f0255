package exactsum_test

import (
	"os"
	"os/exec"
	"testing"
)

// The kernels are selected at startup, so the tests of the adder run again in processes with fewer CPU features. On
// other machines, and under the purego tag, this repeats the same tests.
func TestOtherKernels(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the tests of the adder twice more")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, features := range map[string]string{"AVX2": "cpu.avx512f=off", "Go": "cpu.avx512f=off,cpu.avx2=off"} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), exe, "-test.run", "^(TestFloat|TestSquares|TestColumns|TestIntegers|TestSwap|Fuzz)")
			cmd.Env = append(os.Environ(), "GODEBUG="+features)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}
