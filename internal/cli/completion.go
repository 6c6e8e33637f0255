package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// scripts are the completions of the shells. They call 'gather complete' with the words up to the cursor.
var scripts = map[string]string{
	"bash": `_gather() {
  local IFS=$'\n'
  COMPREPLY=($("${COMP_WORDS[0]}" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _gather gather
`,
	"zsh": `#compdef gather
_gather() {
  local -a found
  found=("${(@f)$("${words[1]}" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n ${found[1]} ]]; then compadd -- "${found[@]}"; else _files; fi
}
compdef _gather gather
`,
	"fish": `function __gather_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l found ($words[1] complete -- $words[2..] 2>/dev/null)
  test -n "$found[1]"; and printf '%s\n' $found; or __fish_complete_path (commandline -ct)
end
complete -c gather -f -a '(__gather_complete)'
`,
}

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish. In ~/.bashrc: source <(gather completion bash)."`
}

// Run prints the script.
func (c *completionCmd) Run(stdio IO) error {
	_, err := fmt.Fprint(stdio.Out, scripts[c.Shell])
	return err
}

type completeCmd struct {
	Words []string `arg:"" optional:"" passthrough:""`
}

// Run prints the words that can be in the place of the last one.
func (c *completeCmd) Run(stdio IO, k *kong.Context) error {
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	if len(words) == 0 {
		words = []string{""}
	}
	for _, w := range completions(k.Model.Node, words) {
		if _, err := fmt.Fprintln(stdio.Out, w); err != nil {
			return err
		}
	}
	return nil
}

// completions returns the sorted words that begin with the last of words, after the ones before it.
func completions(node *kong.Node, words []string) []string {
	var pending *kong.Flag // whose value is the next word
	arguments := 0
	for _, w := range words[:len(words)-1] {
		switch {
		case pending != nil:
			pending = nil
		case strings.HasPrefix(w, "-"):
			if f := flagOf(node, w); f != nil && !f.IsBool() && !strings.Contains(w, "=") {
				pending = f
			}
		default:
			if child := childOf(node, w); child != nil {
				node, arguments = child, 0
			} else {
				arguments++
			}
		}
	}
	last := words[len(words)-1]
	var found []string
	switch {
	case pending != nil:
		found = enum(pending.Value)
	case strings.HasPrefix(last, "-"):
		for _, f := range flags(node) {
			found = append(found, "--"+f.Name)
		}
	default:
		for _, child := range node.Children {
			if !child.Hidden {
				found = append(found, child.Name)
			}
		}
		if arguments < len(node.Positional) {
			found = append(found, enum(node.Positional[arguments])...)
		}
	}
	found = slices.DeleteFunc(found, func(w string) bool { return !strings.HasPrefix(w, last) })
	slices.Sort(found)
	return slices.Compact(found)
}

// enum returns the values of an enumeration, none if it is none.
func enum(v *kong.Value) []string {
	if v.Enum == "" {
		return nil
	}
	return v.EnumSlice()
}

func childOf(node *kong.Node, name string) *kong.Node {
	for _, child := range node.Children {
		if child.Name == name && child.Type == kong.CommandNode {
			return child
		}
	}
	return nil
}

// flags returns the flags of a command, and of its default command.
func flags(node *kong.Node) []*kong.Flag {
	all := slices.Concat(node.AllFlags(true)...)
	if node.DefaultCmd != nil {
		all = append(all, node.DefaultCmd.Flags...)
	}
	return all
}

// flagOf returns the flag that a word such as --name, --name=value or -n gives, nil if there is none.
func flagOf(node *kong.Node, word string) *kong.Flag {
	name, _, _ := strings.Cut(word, "=")
	for _, f := range flags(node) {
		if name == "--"+f.Name || f.Short != 0 && name == "-"+string(f.Short) {
			return f
		}
	}
	return nil
}
