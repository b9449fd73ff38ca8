package runchild

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openAttribute is an attribute of this thread, which the command inherits.
type openAttribute struct {
	Attribute
	f *os.File
}

type openAttributeList []openAttribute

// openAttributes opens the attributes of this thread.
func openAttributes(list []Attribute) (openAttributeList, error) {
	var open openAttributeList
	for _, a := range list {
		f, err := os.OpenFile("/proc/thread-self/attr/"+a.Name, os.O_WRONLY, 0)
		if err != nil {
			return nil, fmt.Errorf("setting the security attribute %s: %w", a.Name, err)
		}
		var st unix.Statfs_t
		if err := unix.Fstatfs(int(f.Fd()), &st); err != nil || st.Type != unix.PROC_SUPER_MAGIC {
			return nil, fmt.Errorf("setting the security attribute %s: /proc is not the kernel's", a.Name)
		}
		open = append(open, openAttribute{a, f})
	}
	return open, nil
}

// set writes them, and closes them.
func (list openAttributeList) set() error {
	for _, a := range list {
		if _, err := unix.Write(int(a.f.Fd()), []byte(a.Value)); err != nil {
			return fmt.Errorf("setting the security attribute %s to %q: %w", a.Name, a.Value, err)
		}
		a.f.Close()
	}
	return nil
}
