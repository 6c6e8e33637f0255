package exactsum_test

import (
	"os"
	"os/exec"
	"testing"
)

// The kernels are chosen when the program starts, so the tests of the folder run again in processes that see a lesser CPU.
// On other machines, and under the purego tag, that repeats what has been tested already.
func TestOtherKernels(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the tests of the folder twice more")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, features := range map[string]string{"AVX2": "cpu.avx512f=off", "Go": "cpu.avx512f=off,cpu.avx2=off"} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), exe, "-test.run", "^(TestFloat|TestColumns|TestIntegers|TestSwap|Fuzz)")
			cmd.Env = append(os.Environ(), "GODEBUG="+features)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}
