package builder

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path"
	"strings"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// foreign tells whether a command's program is one for another processor which no emulator is registered for. OCI runtimes say of
// that no more than "exec format error", in words of their own.
func foreign(root *rootfs.Root, argv0, dir string, env []string) bool {
	names := []string{path.Join(dir, argv0)}
	if path.IsAbs(argv0) {
		names = []string{argv0}
	} else if !strings.Contains(argv0, "/") {
		names = nil
		for _, kv := range env { // the last one counts
			if search, ok := strings.CutPrefix(kv, "PATH="); ok {
				names = nil
				for _, d := range strings.Split(search, ":") {
					names = append(names, path.Join("/", d, argv0))
				}
			}
		}
	}
	for _, name := range names {
		if i, err := root.Stat(name); err != nil || !i.IsRegular() {
			continue
		}
		f, err := root.Open(name)
		if err != nil {
			return false
		}
		defer f.Close()
		program, own := machine(f), hostMachine()
		return program != 0 && own != 0 && program != own && !compatible(own, program) && !emulators()
	}
	return false
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
