// Command build makes web/dist from web/src: it installs the packages of package-lock.json, generates the types of the API,
// checks the TypeScript and bundles it.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

func main() {
	if err := run(context.Background(), ".."); err != nil {
		fmt.Fprintln(os.Stderr, "build of the console:", err)
		os.Exit(1) //nolint:forbidigo // the exit code of a generator
	}
}

// run builds the console in a directory.
func run(ctx context.Context, dir string) error {
	for _, command := range []string{
		"npm ci --ignore-scripts --no-audit --no-fund --loglevel=error",
		"node_modules/.bin/openapi-typescript ../openapi.yaml --output src/schema.ts",
		"node_modules/.bin/tsc --noEmit",
	} {
		args := strings.Fields(command)
		if args[0] == "npm" && installed(dir) {
			continue
		}
		c := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // constants
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", command, err, out)
		}
	}
	return errors.Join(bundle(dir), copyFiles(dir), writeLicenses(dir))
}

// installed reports whether npm has installed the packages of package-lock.json.
func installed(dir string) bool {
	lock, err := os.Stat(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return false
	}
	done, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json"))
	return err == nil && !done.ModTime().Before(lock.ModTime())
}

// bundle writes console.js and console.css.
func bundle(dir string) error {
	root, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	result := api.Build(api.BuildOptions{
		AbsWorkingDir:     root,
		EntryPoints:       []string{"src/console.tsx"},
		Outdir:            "dist",
		Bundle:            true,
		Write:             true,
		Format:            api.FormatIIFE,
		Target:            api.ES2022,
		MinifyWhitespace:  true,
		MinifyIdentifiers: true,
		MinifySyntax:      true,
		JSX:               api.JSXAutomatic,
		JSXImportSource:   "preact",
		LegalComments:     api.LegalCommentsNone, // licenses.txt has them
		LogLevel:          api.LogLevelWarning,
	})
	if len(result.Errors) > 0 {
		return fmt.Errorf("esbuild: %s", result.Errors[0].Text)
	}
	return nil
}

// copyFiles copies the files that need no build.
func copyFiles(dir string) error {
	for _, name := range []string{"index.html", "icon.svg"} {
		data, err := os.ReadFile(filepath.Join(dir, "src", name))
		if err != nil {
			return err
		}
		if err := write(dir, name, data); err != nil {
			return err
		}
	}
	return nil
}

func write(dir, name string, data []byte) error {
	return os.WriteFile(filepath.Join(dir, "dist", name), data, 0o644) //nolint:gosec // a public file
}

// writeLicenses writes the licenses of the packages in the bundle.
func writeLicenses(dir string) error {
	var b bytes.Buffer
	for _, name := range []string{"preact", "uplot"} {
		text, err := license(filepath.Join(dir, "node_modules", name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s\n\n%s\n\n", name, bytes.TrimSpace(text))
	}
	return write(dir, "licenses.txt", b.Bytes())
}

func license(dir string) ([]byte, error) {
	files, err := filepath.Glob(filepath.Join(dir, "LICENSE*"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s has no license file", dir)
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(files[0])
}
