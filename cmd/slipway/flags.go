package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

func globalFlags(root *cobra.Command, g *globals) {
	fs := root.PersistentFlags()
	o := &g.store
	fs.StringVar(&o.Root, "root", g.env.own("ROOT"), "storage root `dir`ectory")
	fs.StringVar(&o.RunRoot, "runroot", g.env.own("RUNROOT"), "`dir`ectory of volatile storage state")
	fs.StringVar(&o.ImageStore, "imagestore", "", "separate `dir`ectory for image layers")
	fs.StringVar(&o.Driver, "storage-driver", g.env.plain("STORAGE_DRIVER"), "storage `driver`: overlay or vfs")
	fs.StringVar(&o.Ownership, "ownership", g.env.own("OWNERSHIP"), "`what` becomes of owners that cannot be set: record, ignore or fail")
	fs.StringSliceVar(&o.DriverOptions, "storage-opt", g.env.list("STORAGE_OPTS"), "storage driver `option`")
	fs.BoolVar(&o.TransientStore, "transient-store", false, "keep container metadata in the volatile directory")
	fs.StringVar(&o.RegistriesConf, "registries-conf", "", "registries.conf `file`")
	fs.StringVar(&o.RegistriesConfDir, "registries-conf-dir", "", "registries.conf.d `dir`ectory")
	fs.StringVar(&o.ShortNameAliases, "short-name-alias-conf", "", "short-name alias `file`")
	fs.StringSliceVar(&o.UIDMap, "userns-uid-map", nil, "default `ctrID:hostID:length` user ID map")
	fs.StringSliceVar(&o.GIDMap, "userns-gid-map", nil, "default `ctrID:hostID:length` group ID map")
	fs.Func("cgroup-manager", "who makes cgroups for OCI runtimes: `manager` cgroupfs or systemd", func(text string) error {
		if text != "cgroupfs" && text != "systemd" {
			return errors.New("want cgroupfs or systemd")
		}
		o.CgroupManager = text
		return nil
	})
	fs.StringVar(&o.MountsFile, "default-mounts-file", "", "`file` used instead of the files mounts.conf")
	fs.StringVar(&g.profile.cpu, "cpu-profile", "", "write a CPU profile to `file`")
	fs.StringVar(&g.profile.memory, "memory-profile", "", "write a memory profile to `file`")
	for _, name := range []string{"default-mounts-file", "cpu-profile", "memory-profile"} {
		_ = fs.MarkHidden(name)
	}
	fs.StringVar(&g.logLevel, "log-level", "warn", "log `level`: trace, debug, info, warn, error, fatal, panic")
	fs.BoolVar(&g.debug, "debug", false, "same as --log-level=debug")
	_ = fs.MarkHidden("debug")
}

// storageFlags are the flags that another command needs to work with the same storage.
func (g *globals) storageFlags() (flags string) {
	for _, f := range []struct{ name, value, unless string }{
		{"root", g.store.Root, g.env.own("ROOT")}, {"runroot", g.store.RunRoot, g.env.own("RUNROOT")},
		{"storage-driver", g.store.Driver, g.env.plain("STORAGE_DRIVER")},
	} {
		if f.value != f.unless {
			flags += " --" + f.name + " " + f.value
		}
	}
	return flags
}

// prepare turns global flags into the store's options.
func (g *globals) prepare(*cobra.Command, []string) error {
	if g.debug {
		g.logLevel = "debug"
	}
	level, err := logrus.ParseLevel(g.logLevel)
	if err != nil {
		return fmt.Errorf("unable to parse log level: not a valid logrus Level: %q", g.logLevel)
	}
	logrus.SetLevel(level)
	g.logTo(g.err, false)
	g.store.Log = slog.New(logHandler{logrus.StandardLogger()})
	g.store.Environ = g.env.lookup
	g.store.TempDir = g.env.plain("TMPDIR")
	if err := g.runtimeDir(); err != nil {
		return err
	}
	return g.profile.start()
}

// runtimeDir gives libraries a directory for run-time files where they would find none, and fail although they were told where the
// storage is: no XDG_RUNTIME_DIR, no /run/user, and no place for temporary files, as in a pod whose root is read-only.
func (g *globals) runtimeDir() error {
	if g.store.RunRoot == "" || g.env.plain("XDG_RUNTIME_DIR") != "" {
		return nil
	}
	if unix.Faccessat(unix.AT_FDCWD, os.TempDir()+"/.", unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil {
		return nil
	}
	dir, err := g.runRoot()
	if err != nil {
		return err
	}
	return os.Setenv("XDG_RUNTIME_DIR", dir)
}

// runRoot makes the directory for run-time files that is named.
func (g *globals) runRoot() (string, error) {
	dir, err := filepath.Abs(g.store.RunRoot)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return "", fmt.Errorf("preparing --runroot: %w", err)
	}
	return dir, nil
}

// parsedFlag binds a flag whose value parse reads; it has no default.
func parsedFlag[T any](fs *pflag.FlagSet, p *T, name, help string, parse func(string) (T, error)) {
	fs.Func(name, help, func(text string) error {
		v, err := parse(text)
		if err == nil {
			*p = v
		}
		return err
	})
}

// delay is a duration whose default is not a fixed one.
type delay struct{ p *time.Duration }

// String is the first of the growing delays.
func (d *delay) String() string { return "2s" }

// Type names the value in help texts.
func (d *delay) Type() string { return "duration" }

// Set parses a duration.
func (d *delay) Set(text string) (err error) {
	if *d.p, err = time.ParseDuration(text); err == nil && *d.p < 0 {
		err = errors.New("want 0 or more")
	}
	return err
}

// optionalBool is a flag that can also be unset.
type optionalBool struct{ p **bool }

func (b *optionalBool) String() string {
	if b.p == nil || *b.p == nil {
		return ""
	}
	return fmt.Sprint(**b.p)
}

// Set parses a boolean.
func (b *optionalBool) Set(text string) error {
	var v bool
	switch strings.ToLower(text) {
	case "true", "1", "t":
		v = true
	case "false", "0", "f":
	default:
		return fmt.Errorf("%q is not true or false", text)
	}
	*b.p = &v
	return nil
}

// Type names the value in help texts.
func (b *optionalBool) Type() string { return "bool" }

// oldNames accepts the former spellings of flags (cli.md §1).
func oldNames(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	switch name {
	case "net":
		name = "network"
	case "override-arch":
		name = "arch"
	case "override-os":
		name = "os"
	case "purge":
		name = "rm"
	case "tty":
		name = "terminal"
	case "raw-iidfile":
		name = "iidfile-raw"
	}
	return pflag.NormalizedName(name)
}

// historyFlag binds --add-history of the commands that change a container (cli.md §3).
func historyFlag(fs *pflag.FlagSet, g *globals) *bool {
	on, _ := strconv.ParseBool(g.env.get("HISTORY"))
	return fs.Bool("add-history", on, "record what is done in the history of the image")
}
