package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// redis starts a Redis that appends every write to its log, and returns its address.
func (d *daemons) redis(ctx context.Context, fsync string) (string, error) {
	ports, err := freePorts(ctx, 1)
	if err != nil {
		return "", err
	}
	port := strconv.Itoa(ports[0])
	cmd := exec.CommandContext(ctx, "redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", d.dir, "--appendonly", "yes",
		"--appendfsync", fsync, "--save", "", "--daemonize", "no")
	if err := d.run(cmd, syscall.SIGTERM); err != nil {
		return "", err
	}
	addr := "127.0.0.1:" + port
	return addr, d.listening(ctx, addr)
}

// postgresBinary finds a program of PostgreSQL, which Debian keeps out of the PATH.
func postgresBinary(name string) (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(found) == 0 {
		return exec.LookPath(name)
	}
	return slices.Max(found), nil
}

// postgres starts a PostgreSQL with its default settings, and returns the URL of a database.
func (d *daemons) postgres(ctx context.Context) (string, error) {
	initdb, err1 := postgresBinary("initdb")
	server, err2 := postgresBinary("postgres")
	ports, err3 := freePorts(ctx, 1)
	attr, err4 := d.unprivileged()
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return "", err
	}
	data := filepath.Join(d.dir, "data")
	cmd := exec.CommandContext(ctx, initdb, "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C")
	cmd.SysProcAttr, cmd.Dir = attr, d.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb: %w\n%s", err, out)
	}
	port := strconv.Itoa(ports[0])
	cmd = exec.CommandContext(ctx, server, "-D", data, "-h", "127.0.0.1", "-p", port, "-k", d.dir)
	cmd.SysProcAttr, cmd.Dir = &syscall.SysProcAttr{Credential: attr.Credential}, d.dir
	if err := d.run(cmd, syscall.SIGINT); err != nil { // SIGINT does not wait for its clients
		return "", err
	}
	addr := "127.0.0.1:" + port
	return "postgres://bench@" + addr + "/postgres?sslmode=disable", d.listening(ctx, addr)
}

// unprivileged gives the directory to a user that is not root, because PostgreSQL refuses to run as root.
func (d *daemons) unprivileged() (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{}
	if os.Geteuid() != 0 {
		return attr, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2, os.Chown(d.dir, int(uid), int(gid))); err != nil {
		return nil, err
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, nil
}
