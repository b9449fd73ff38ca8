// Package runchild is what runs inside the namespaces of a native run: process 1 of the container, which
// makes the container's view of the file system, gives up its privileges and starts the command. It is
// re-executed from this program and imports the standard library, x/sys and our own packages of that kind, so that
// it starts in two milliseconds.
//
// The parent sends a Request as JSON on descriptor 3 and reads Reports from descriptor 4: one when the
// command has been started or could not be, one when it has ended. Standard streams are the command's.
package runchild

import "time"

// Name is argv[0] of the re-executed process.
const Name = "slipway-run"

// FirstTree is the descriptor of the first detached mount that a child is given, if it is given nothing else; others follow.
const FirstTree = 5

// Request is all the child needs to know.
type Request struct {
	Root string // mount point of the root file system, on the host
	// RootTree is the number of the detached mount that is the root file system instead, counted from 1, 0 for none.
	RootTree int `json:",omitempty"`
	Hostname string
	Argv     []string
	Env      []string
	Dir      string
	UID, GID uint32
	Groups   []uint32
	// SetGroups is false where the kernel denies it: in a user namespace with one identity.
	SetGroups bool
	Mounts    []Mount
	// NoPivot moves the root over the old one instead of exchanging the two.
	NoPivot bool
	// Terminal says that the standard streams are a terminal, which is to control the command.
	Terminal bool
	// SharedPID says that the command's PID namespace is not its own, JoinedPID that it is not the parent's either. The parent then keeps its
	// end of descriptor 3 open until all is over: closing it ends the command.
	SharedPID, JoinedPID bool
	// FirstTree is the descriptor of the first detached mount.
	FirstTree int
	// Files are kept on a tmpfs, which only this process sees, over the directory Stage of the host; with RootTree over the host's root.
	Files     []File
	Stage     string
	Masked    []string
	ReadOnly  []string
	Caps      uint64 // bounding set
	NoNewPriv bool
	Seccomp   []byte // struct sock_filter array, native byte order; empty for none
	Limits    []Limit
	// Owners is the filter whose listener, sent on descriptor 5, lets a supervisor answer calls about owners (package
	// owners); empty for none. Owners that this process itself sets are then recorded.
	Owners []byte
	// Attributes are set before the command is started. MountLabel is the SELinux label of Files, empty for none.
	Attributes []Attribute
	MountLabel string
	Loopback   bool // a new network namespace: bring its loopback up
	Devices    []string
	// Sysctls are kernel settings of the command's own namespaces.
	Sysctls map[string]string
	// Hooked says that the parent runs hooks when everything is mounted: the process then reports that and waits for a byte on
	// descriptor 3. State is what hooks are told; those of the two lists are run here.
	Hooked                          bool
	State                           State
	CreateContainer, StartContainer []Hook
}

// Mount is one mount. Source and the options are as in the OCI runtime spec; Target is inside the root.
type Mount struct {
	Type, Source, Target string
	Flags                uintptr // MS_*
	Propagation          uintptr
	Data                 string
	// Tree says which of the detached mounts is bound, or is the lower directory of an overlay: 1 is the first, 0 none.
	Tree int `json:",omitempty"`
	// Upper and Work are an overlay's other directories, on the host.
	Upper, Work string `json:",omitempty"`
}

// File is a file whose content the command is shown without it ever being on a disk.
type File struct {
	Target         string
	Data           []byte
	Mode, UID, GID uint32
}

// Attribute is a file of /proc/thread-self/attr with what is written to it: a security module's label or profile.
type Attribute struct{ Name, Value string }

// Limit is one resource limit.
type Limit struct {
	Resource   int
	Soft, Hard uint64
}

// Report is what the child says: first of its preparations, then of the command's end.
type Report struct {
	Error string `json:",omitempty"`
	// Command says that the error is the command's own: it is not there, or cannot be executed. Errno is what the kernel said.
	Command bool `json:",omitempty"`
	Errno   int  `json:",omitempty"`
	Stubs
	// Mounted says that the process waits for the parent's hooks. Missed are sysctls that could not be set here.
	Mounted bool     `json:",omitempty"`
	Missed  []string `json:",omitempty"`
	Done    bool     `json:",omitempty"`
	Exit    int      `json:",omitempty"`
	Signal  int      `json:",omitempty"`
}

// Stubs are what was made in a root file system only to mount on, in order, and the times of the directories it was made in.
type Stubs struct {
	Created []Stub `json:",omitempty"`
	Times   []Time `json:",omitempty"`
}

// Add adds what was made after these.
func (s *Stubs) Add(more Stubs) {
	s.Created = append(s.Created, more.Created...)
	for _, t := range more.Times {
		s.touched(t)
	}
}

// touched notes the times of a directory, once.
func (s *Stubs) touched(t Time) {
	for i, known := range s.Times {
		if known.Path == t.Path {
			s.Times[i].After = t.After
			return
		}
	}
	s.Times = append(s.Times, t)
}

// Stub is a file or directory that was made only to mount on.
type Stub struct {
	Path string
	Dir  bool
}

// Time is the modification time that a directory had before stubs were made in it, and the one it had then: if it has
// that still, the command has changed nothing there.
type Time struct {
	Path         string
	Mtime, After time.Time
}
