package render

import (
	"fmt"
	"os"
	"strings"
)

const begin, end = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"

// WritePage replaces the text between the marks of a page.
func WritePage(page, figures string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no marks %q and %q", page, begin, end)
	}
	return os.WriteFile(page, []byte(before+begin+"\n"+figures+"\n"+end+after), 0o644)
}
