package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"gather/internal/cli"
)

// commandLine is the command line. Every setting of the server is also an environment variable; --help lists both.
type commandLine struct {
	Serve        serveCmd `cmd:"" help:"Run the server; the default. Commands of clients: 'submit', 'get', 'watch', 'results', 'list', 'count', 'cancel', 'delete', 'retry', 'groups', 'schedules', 'arrays', 'nodes', 'completion'. Commands of operators: 'pause', 'resume', 'pauses', 'keys', 'backup', 'restore', 'import', 'healthcheck', 'version'. Each has its own --help."`
	cli.Commands `embed:""`

	Keys        keysCmd        `cmd:"" help:"Manage API keys."`
	Backup      backupCmd      `cmd:"" help:"Write a backup of a running server to standard output, as a tar archive."`
	Restore     restoreCmd     `cmd:"" help:"Read a backup from standard input, and restore it into an empty directory."`
	Import      importCmd      `cmd:"" help:"Copy the jobs, schedules, pauses and arrays of a stopped server's data directory to a cluster, or to another data directory."`
	Healthcheck healthcheckCmd `cmd:"" help:"Check whether a running server is ready; exit 0 if so. For containers without a shell."`
	Version     versionCmd     `cmd:"" help:"Print the version."`

	ShowVersion kong.VersionFlag `name:"version" env:"-" help:"Print the version and exit."`
}

// streams are the outputs of a command.
type streams struct{ out, err io.Writer }

// The exit codes of all commands; package cli has more, for the commands of clients.
const (
	exitOK      = 0
	exitFailure = cli.ExitFailure
	exitUsage   = cli.ExitUsage // also an invalid setting
)

// errUsage is wrapped by errors of the settings.
var errUsage = errors.New("invalid settings")

// run is main without globals: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	code := -1
	_, parser, err := newParser(kong.Writers(stdout, stderr), kong.Exit(func(c int) { code = c }))
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "gather:", err)
		return exitFailure
	}
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		args = append([]string{"serve"}, args...)
	}
	k, err := parser.Parse(args)
	if code >= 0 { // --help or --version
		return code
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "gather:", err)
		return exitUsage
	}
	k.BindTo(ctx, (*context.Context)(nil))
	k.Bind(streams{out: stdout, err: stderr}, cli.IO{In: os.Stdin, Out: stdout, Err: stderr})
	if err := k.Run(); err != nil {
		_, _ = fmt.Fprintln(stderr, "gather:", err)
		if errors.Is(err, errUsage) {
			return exitUsage
		}
		return cli.ExitCode(err)
	}
	return exitOK
}

func newParser(options ...kong.Option) (*commandLine, *kong.Kong, error) {
	commands, err := cli.New()
	if err != nil {
		return nil, nil, err
	}
	c := &commandLine{Commands: *commands}
	parser, err := kong.New(c, append([]kong.Option{
		kong.Name("gather"),
		kong.Description("gather executes parallel jobs. See README.md."),
		kong.DefaultEnvars("GATHER"),
		kong.Vars{"version": versionText()},
		kong.ValueFormatter(showDefault),
	}, options...)...)
	return c, parser, err
}

// showDefault returns the default of a flag, for the line of its environment variable.
func showDefault(v *kong.Value) string {
	help := kong.DefaultHelpValueFormatter(v)
	if v.Default == "" {
		return help
	}
	return strings.TrimSuffix(strings.TrimSuffix(help, "."), ")") + "; default " + v.Default + ")."
}

// Run serves until the first SIGTERM or SIGINT, then stops in order; a second signal exits immediately.
func (c *serveCmd) Run(ctx context.Context, s streams) error {
	if err := c.validate(); err != nil {
		return err
	}
	log := c.logger(s.err)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	ended := make(chan struct{})
	defer close(ended)
	go func() { // ends with this function
		select {
		case sig := <-signals:
			log.Info("stopping; a second signal exits immediately", "signal", sig.String())
			stop(fmt.Errorf("got %s", sig))
		case <-ended:
			return
		}
		select {
		case sig := <-signals:
			log.Warn("exiting immediately; unfinished jobs resume at the next start", "signal", sig.String())
			os.Exit(exitFailure)
		case <-ended:
		}
	}()
	srv, err := newServer(ctx, c, log)
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		log.Info("stopped during startup")
		return nil
	}
	if err != nil {
		return err
	}
	return srv.run(ctx)
}
