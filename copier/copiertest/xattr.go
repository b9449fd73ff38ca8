package copiertest

import (
	"encoding/hex"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// setXattr sets what an x line says.
func (l line) setXattr(dir string) error {
	key, value, _ := strings.Cut(l.rest, "=")
	data := []byte(value)
	if digits, ok := strings.CutPrefix(value, "0x"); ok {
		var err error
		if data, err = hex.DecodeString(digits); err != nil {
			return err
		}
	}
	return unix.Lsetxattr(filepath.Join(dir, l.name), key, data, 0)
}

// xattrs are the x lines of a file, in the order of keys. Labels of SELinux are the machine's, not the file's.
func xattrs(p, rel string) (lines []string) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(p, buf)
	if err != nil {
		return nil
	}
	keys := strings.Split(strings.TrimRight(string(buf[:n]), "\x00"), "\x00")
	slices.Sort(keys)
	for _, key := range keys {
		if key == "" || key == "security.selinux" {
			continue
		}
		n, err := unix.Lgetxattr(p, key, buf)
		if err != nil {
			continue
		}
		value := string(buf[:n])
		if strings.ContainsFunc(value, func(r rune) bool { return r < '!' || r > '~' }) {
			value = "0x" + hex.EncodeToString(buf[:n])
		}
		lines = append(lines, "x 0 0:0 0 "+rel+" "+key+"="+value)
	}
	return lines
}
