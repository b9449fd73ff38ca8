package builder

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/copier/rootfs"
)

// startable tells why a command cannot be started, as far as its root file system tells that: OCI runtimes say of it what they say of everything, in
// words of their own.
func (c *commanded) startable(s *specs.Spec) error {
	argv0 := s.Process.Args[0]
	names := programs(argv0, s.Process.Cwd, s.Process.Env)
	if slices.ContainsFunc(s.Mounts, c.maybeProgram) || slices.ContainsFunc(names, kernelsOwn) {
		names = slices.DeleteFunc(names, func(name string) bool { return !isProgram(c.root, name) })
		if len(names) == 0 {
			return nil // it may be in what is mounted
		}
	}
	var err error = &runner.CommandError{Text: fmt.Sprintf("executable file %q not found in $PATH", argv0), Errno: unix.ENOENT}
	for _, name := range names {
		i, serr := c.root.Stat(name)
		switch errno := syscall.Errno(0); {
		case serr == nil && i.IsRegular() && i.Mode&0o111 != 0:
			if foreign(c.root, name) {
				return &runner.CommandError{Text: fmt.Sprintf("starting %q: exec format error", argv0), Errno: unix.ENOEXEC}
			}
			return nil
		case !strings.Contains(argv0, "/"):
			continue
		case serr == nil && i.IsDir():
			return &runner.CommandError{Text: fmt.Sprintf("%s: %s", name, unix.EISDIR), Errno: unix.EISDIR}
		case serr == nil:
			return &runner.CommandError{Text: fmt.Sprintf("%s: %s", name, unix.EACCES), Errno: unix.EACCES}
		case errors.As(serr, &errno):
			err = &runner.CommandError{Text: fmt.Sprintf("%s: %s", name, errno), Errno: errno}
		}
	}
	return err
}

// programs are the files that a command may be, in the order in which they are looked for.
func programs(argv0, dir string, env []string) (names []string) {
	if path.IsAbs(argv0) {
		return []string{argv0}
	}
	if strings.Contains(argv0, "/") {
		return []string{path.Join(dir, argv0)}
	}
	for _, kv := range env { // the last one counts
		if search, ok := strings.CutPrefix(kv, "PATH="); ok {
			names = nil
			for _, d := range strings.Split(search, ":") {
				if !path.IsAbs(d) {
					d = path.Join(dir, d)
				}
				names = append(names, path.Join(d, argv0))
			}
		}
	}
	return names
}

func isProgram(root *rootfs.Root, name string) bool {
	i, err := root.Stat(name)
	return err == nil && i.IsRegular()
}

// maybeProgram tells whether programs may be in a mount: not in what the kernel shows, nor in our own files.
func (c *commanded) maybeProgram(m specs.Mount) bool {
	return !strings.HasPrefix(m.Source, c.dir+"/") && !kernelsOwn(path.Clean(m.Destination))
}

func kernelsOwn(name string) bool {
	return slices.ContainsFunc([]string{"/proc", "/sys", "/dev"}, func(d string) bool { return name == d || strings.HasPrefix(name, d+"/") })
}

// foreign tells whether a program is one for another processor which no emulator is registered for.
func foreign(root *rootfs.Root, name string) bool {
	f, err := root.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	program, own := machine(f), hostMachine()
	return program != 0 && own != 0 && program != own && !compatible(own, program) && !emulators()
}

// machine is the processor that an ELF program is for, in the format's numbers; 0 is for what is none.
func machine(r io.Reader) uint16 {
	var head [20]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || !bytes.HasPrefix(head[:], []byte("\x7fELF")) {
		return 0
	}
	if head[5] == 2 {
		return binary.BigEndian.Uint16(head[18:])
	}
	return binary.LittleEndian.Uint16(head[18:])
}

func hostMachine() uint16 {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return 0
	}
	defer f.Close()
	return machine(f)
}

// compatible tells whether processors run the programs of their 32-bit ancestors: i386 on x86-64, arm on aarch64.
func compatible(own, program uint16) bool {
	return own == 62 && program == 3 || own == 183 && program == 40
}

// emulators tells whether anything is registered for foreign programs. Which, the kernel knows better.
func emulators() bool {
	entries, err := os.ReadDir("/proc/sys/fs/binfmt_misc")
	return err == nil && len(entries) > 2 // register and status
}
