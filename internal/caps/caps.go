// Package caps tells which of root's powers this process has in its user namespace. Root of a container may have none at all.
package caps

import "golang.org/x/sys/unix"

// Have tells whether all of the given capabilities (unix.CAP_*) are in effect.
func Have(list ...int) bool {
	var data [2]unix.CapUserData
	if unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]) != nil {
		return false
	}
	for _, c := range list {
		if data[c/32].Effective&(1<<(c%32)) == 0 {
			return false
		}
	}
	return true
}

// Files tells whether this process is root over files: it gives them to others, and modes and owners do not keep it from any.
func Files() bool {
	return unix.Geteuid() == 0 && Have(unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER)
}
