package builder

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/network"
	"github.com/slipway-build/slipway/builder/internal/owners"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/userns"
)

// A Finding says of one thing that builds may need whether it is here.
type Finding struct {
	Name string `json:"name"`
	// Here is false for what is missing; Found is what there is, or why not.
	Here  bool   `json:"here"`
	Found string `json:"found"`
	// Needed is what needs it, empty if every build does. Remedy would provide it, or something better than what is here; it may be empty.
	Needed string `json:"needed,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// Examine tells what this environment permits. A storage that cannot be opened is a finding as well.
func Examine(o StoreOptions) []Finding {
	list := []Finding{namespaceFinding(), commandsFinding()}
	s, err := Open(o)
	if err != nil {
		list = append(list, Finding{Name: "storage", Found: err.Error(), Remedy: "name a directory that you own, on a file system with extended attributes, with --root and --runroot"})
		return append(list, programFindings(o)...)
	}
	defer s.Close() //nolint:errcheck // nothing was written
	list = append(list, s.ownersFinding(), s.storageFinding(), Finding{Name: "temporary files", Here: true, Found: s.o.TempDir})
	return append(append(list, s.configurationFindings()...), programFindings(o)...)
}

// withoutNew tells whether this process can never gain privileges, so that newuidmap would be of no use.
func withoutNew() bool {
	n, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return err == nil && n == 1
}

func namespaceFinding() Finding {
	f := Finding{Name: "user namespace", Here: true, Found: userns.Current().String()}
	switch why := userns.Why(); {
	case why != "":
		f.Here, f.Found, f.Needed, f.Remedy = false, userns.None.String(), "run, RUN, overlay", why
	case userns.Current() == userns.OneID && !withoutNew():
		f.Remedy = "for real owners: ranges for you in /etc/subuid and /etc/subgid, and the package uidmap"
	}
	return f
}

// commandsFinding tells whether run and RUN work.
func commandsFinding() Finding {
	f := Finding{Name: "commands", Here: true, Found: "built-in runner", Needed: "run, RUN"}
	if err := runnable(); err != nil {
		f.Here, f.Found, f.Remedy = false, "refused", userns.Why()
		return f
	}
	if userns.Current() == userns.OneID {
		f.Found += ", a supervisor answers for owners"
		if err := owners.Available(); err != nil {
			f.Here, f.Found, f.Remedy = false, err.Error(), "a kernel from 5.9 on, and a seccomp filter that allows seccomp, process_vm_readv, process_vm_writev, openat2, pidfd_open and pidfd_send_signal"
		}
	}
	return f
}

func (s *Store) ownersFinding() Finding {
	f := Finding{Name: "owners", Here: true, Found: "set"}
	switch s.own {
	case rootfs.Record:
		f.Found = "recorded, right in layers"
	case rootfs.Ignore:
		f.Found = "ignored, as --ownership or the storage says"
	case rootfs.Fail:
		f.Found = "any but root's is an error, as --ownership or the storage says"
	}
	return f
}

func (s *Store) storageFinding() Finding {
	f := Finding{Name: "storage", Here: true, Found: s.st.GraphDriverName() + " in " + s.st.GraphRoot()}
	if s.st.GraphDriverName() == "vfs" && s.o.Driver == "" && userns.Why() == "" {
		f.Remedy = "for overlay, which is quicker: a volume or another file system for --root, as overlay cannot stand on one, and a new storage"
	}
	return f
}

// configurationFindings tells which files are in force.
func (s *Store) configurationFindings() []Finding {
	registries := Finding{Name: "registries", Here: true, Found: "built-in: short names are docker.io's"}
	if file := sysregistriesv2.ConfigPath(&s.sys); readable(file) {
		registries.Found = file
		if _, err := sysregistriesv2.UnqualifiedSearchRegistries(&s.sys); err != nil {
			registries.Here, registries.Found, registries.Remedy = false, err.Error(), "mend "+file
		}
	}
	policy := Finding{Name: "signature policy", Here: true, Found: "built-in: accept everything"}
	switch _, file, err := s.Policy(""); {
	case err != nil:
		policy.Here, policy.Found, policy.Remedy = false, err.Error(), "mend the file"
	case file != "":
		policy.Found = file
	}
	return []Finding{registries, policy}
}

func readable(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// programFindings tells of programs that some flags need.
func programFindings(o StoreOptions) []Finding {
	runtime := Finding{Name: "OCI runtime", Found: installedRuntime(), Needed: "--isolation oci"}
	if runtime.Here = runtime.Found != ""; !runtime.Here {
		runtime.Found, runtime.Remedy = "neither crun nor runc", "install crun"
	}
	foreign := Finding{Name: "emulators", Here: emulators(), Found: "registered in binfmt_misc", Needed: "RUN for other architectures"}
	if !foreign.Here {
		foreign.Found, foreign.Remedy = "none registered in binfmt_misc", "install qemu-user-static and binfmt-support, on the host"
	}
	git := Finding{Name: "git", Found: program("git"), Needed: "contexts and ADD from Git repositories"}
	if git.Here = git.Found != ""; !git.Here {
		git.Found, git.Remedy = "not installed", "install git"
	}
	return []Finding{runtime, networkFinding(o.helpers(nil)), foreign, git}
}

// networkFinding tells whether commands can have a network of their own.
func networkFinding(helpers []string) Finding {
	f := Finding{Name: "private network", Found: network.Config{Helpers: helpers}.PrivateProgram(), Needed: "--network private"}
	if f.Found == "" {
		f.Found, f.Remedy = "neither pasta nor slirp4netns", "install passt; without, --network host and none work"
		return f
	}
	if f.Here = filepath.Base(f.Found) == "netavark"; f.Here { // it needs no device
		return f
	}
	tun, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil && !errors.Is(err, unix.EBUSY) {
		f.Found, f.Remedy = "/dev/net/tun: "+err.Error(), "give the container the device /dev/net/tun; without, --network host and none work"
		return f
	}
	unix.Close(tun)
	f.Here = true
	return f
}

// program is where a program is, empty for nowhere.
func program(name string) string {
	p, _ := exec.LookPath(name) // empty with an error
	return p
}
