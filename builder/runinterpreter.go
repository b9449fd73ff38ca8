package builder

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// uninterpreted says of a program that is there what is not: the interpreter that it names. The kernel has one error for both, and who reads it
// looks for the wrong file.
func (c *commanded) uninterpreted(s *specs.Spec, err error) error {
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	for _, name := range programs(s.Process.Args[0], s.Process.Cwd, s.Process.Env) {
		if !isProgram(c.root, name) {
			continue
		}
		by, script := interpreter(c.root, name)
		if _, serr := c.root.Stat(by); by == "" || !errors.Is(serr, fs.ErrNotExist) {
			return err
		}
		if script {
			return fmt.Errorf("%w: the program that its first line (#!) names, %q, is not in the image", err, by)
		}
		return fmt.Errorf("%w: it is linked to be loaded by %s, which is not in the image: take an image that it was built for, or link it statically", err, by)
	}
	return err
}

// interpreter is the program that the kernel is to run a program with: the one of a script's first line, or an ELF program's loader. "" is none.
func interpreter(root *rootfs.Root, name string) (by string, script bool) {
	f, err := root.Open(name)
	if err != nil {
		return "", false
	}
	defer f.Close()
	head := make([]byte, 256) // more of a first line the kernel does not read
	n, _ := f.ReadAt(head, 0)
	if line, ok := bytes.CutPrefix(head[:n], []byte("#!")); ok {
		line, _, _ = bytes.Cut(line, []byte("\n"))
		by = strings.TrimLeft(string(line), " \t")
		if end := strings.IndexAny(by, " \t"); end >= 0 {
			by = by[:end]
		}
		return by, true
	}
	program, err := elf.NewFile(f)
	if err != nil {
		return "", false
	}
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			text, _ := io.ReadAll(io.LimitReader(p.Open(), unix.PathMax))
			return string(bytes.TrimRight(text, "\x00")), false
		}
	}
	return "", false
}
