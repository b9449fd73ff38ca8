package spec

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the specifications of testdata anew")

func pod(resource int) uint64 {
	return map[int]uint64{unix.RLIMIT_NOFILE: 4096, unix.RLIMIT_NPROC: 512}[resource]
}

func base() Input {
	return Input{
		Rootfs: "/r", Argv: []string{"/bin/sh", "-c", "true"}, Env: []string{"A=1", "B=2", "A=3"}, Hostname: "abc", Arch: "amd64",
		Capabilities: DefaultCapabilities(), HostNetwork: true,
	}
}

// Each row is one kind of host or command; its specification is testdata/NAME.json.
func TestGolden(t *testing.T) {
	t.Parallel()
	rows := map[string]func(*Input){
		"default": func(*Input) {},
		"user_in_a_pod": func(in *Input) {
			in.User = User{UID: 1234, GID: 1235, Groups: []uint32{1235, 50}, Home: "/home/joe"}
			in.HardLimit, in.OneID, in.Terminal, in.Dir = pod, true, true, "/srv"
			in.GroupAdd = []string{"7", "50"}
		},
		"weak": func(in *Input) {
			in.HostPID, in.HostIPC, in.HostUTS, in.HostCgroup = true, true, true, true
			in.SecurityOpts = []string{"seccomp=unconfined", "no-new-privileges", "unmask=ALL", "mask=/a:/b", "label=disable"}
			in.Devices = []string{"/dev/fuse", "/dev/x:/dev/y:rw"}
			in.Ulimits = []string{"nofile=10:20", "core=0"}
		},
		"confined": func(in *Input) {
			in.SELinux, in.ProcessLabel, in.MountLabel = true, "system_u:system_r:container_t:s0:c1,c2", "system_u:object_r:container_file_t:s0:c1,c2"
			in.AppArmor, in.SecurityOpts = true, []string{"label=level:s0:c1,c2", "apparmor=profile"}
		},
		"limited": func(in *Input) {
			in.HostNetwork = false
			in.Joined = map[specs.LinuxNamespaceType]string{specs.IPCNamespace: "/proc/9/ns/ipc"}
			in.Resources = Resources{Memory: 1 << 20, MemorySwap: -1, CPUShares: 5, CPUSetCPUs: "0-1"}
			in.CgroupParent, in.ShmSize = "/parent", 1<<10
			in.Mounts = []specs.Mount{{Destination: "/sys/fs", Type: "bind", Source: "/s"}, {Destination: "/dev/shm", Type: "bind", Source: "/shm"}, {Destination: "/a/b"}, {Destination: "/a"}}
		},
	}
	for name, change := range rows {
		in := base()
		change(&in)
		s, err := Generate(in)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if s.Linux.Seccomp != nil {
			s.Linux.Seccomp.Syscalls = s.Linux.Seccomp.Syscalls[:0] // has a test of its own
		}
		got, err := json.MarshalIndent(s, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name+".json")
		if *update {
			if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(want)) != string(got) {
			t.Errorf("%s differs from %s (see with -update and git diff)", name, file)
		}
	}
}

func TestRefusedInput(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Input){
		"invalid ulimit":           func(in *Input) { in.Ulimits = []string{"nofile"} },
		"invalid ulimit \"zzz=1\"": func(in *Input) { in.Ulimits = []string{"zzz=1"} },
		"soft limit is above":      func(in *Input) { in.Ulimits = []string{"core=2:1"} },
		"invalid --security-opt":   func(in *Input) { in.SecurityOpts = []string{"selinux=no"} },
		"\"label=colour:red\"":     func(in *Input) { in.SecurityOpts = []string{"label=colour:red"} },
		"opening seccomp profile":  func(in *Input) { in.SecurityOpts = []string{"seccomp=/does/not/exist"} },
		"decoding seccomp profile": func(in *Input) { in.SeccompProfile = []byte("{") },
		"invalid device":           func(in *Input) { in.Devices = []string{"fuse"} },
		"VENDOR/CLASS=NAME":        func(in *Input) { in.Devices = []string{"vendor.com/gpu=0"} },
		"keep-groups":              func(in *Input) { in.GroupAdd = []string{"keep-groups", "3"} },
		"invalid --group-add":      func(in *Input) { in.GroupAdd = []string{"wheel"} },
	} {
		in := base()
		change(&in)
		if _, err := Generate(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestLimitsAreClamped(t *testing.T) {
	t.Parallel()
	in := base()
	var warned []string
	in.HardLimit, in.Ulimits = pod, []string{"nofile=100:9999"}
	in.Warn = func(text string) { warned = append(warned, text) }
	s, err := Generate(in)
	if err != nil {
		t.Fatal(err)
	}
	want := []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 4096}, {Type: "RLIMIT_NPROC", Soft: 512, Hard: 512}}
	if !slices.Equal(s.Process.Rlimits, want) {
		t.Errorf("%v, want %v", s.Process.Rlimits, want)
	}
	if len(warned) != 1 || !strings.Contains(warned[0], "nofile=100:9999") {
		t.Errorf("warnings %q", warned)
	}
}

func TestCapabilityMasks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		base, add, drop []string
		mask            uint64
	}{
		{nil, nil, nil, 0x800405fb},
		{nil, []string{"sys_ptrace", "CAP_NET_RAW"}, []string{"chown"}, 0x800c25fa},
		{nil, []string{"all"}, nil, 1<<41 - 1},
		{nil, []string{"kill"}, []string{"ALL"}, 0},
		{[]string{"CAP_KILL"}, nil, nil, 0x20},
		{[]string{}, nil, nil, 0},
	} {
		names, err := Capabilities(c.base, c.add, c.drop)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := CapMask(names); err != nil || got != c.mask {
			t.Errorf("%v +%v -%v: %#x, %v, want %#x", c.base, c.add, c.drop, got, err, c.mask)
		}
	}
	if _, err := Capabilities(nil, []string{"CAP_FLY"}, nil); err == nil {
		t.Error("CAP_FLY was accepted")
	}
}

func TestDevice(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][3]string{
		"/dev/fuse":        {"/dev/fuse", "/dev/fuse", "dev"},
		"/dev/a:/dev/b":    {"/dev/a", "/dev/b", "dev"},
		"/dev/a:rw":        {"/dev/a", "/dev/a", "dev"},
		"/dev/a:/dev/b:rw": {"/dev/a", "/dev/b", "dev"},
		"/dev/snd/:/dev/x": {"/dev/snd", "/dev/x", "dev"},
	} {
		m, err := Device(text)
		if got := [3]string{m.Source, m.Destination, last(m.Options)}; err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "/dev/a:/", "/dev/a:b", "/dev/a:/dev/b:x", "/a:/b:r:w", "/dev/a:r", "/dev/a:/dev/b:m", "/dev/a:w"} {
		if m, err := Device(text); err == nil {
			t.Errorf("%q was accepted: %v", text, m)
		}
	}
}

func last(list []string) string { return list[len(list)-1] }

func TestEnvironment(t *testing.T) {
	t.Parallel()
	got := environment(Input{Env: []string{"PATH=/x", "HOME=/h", "A=1", "junk", "A=2=3"}, Hostname: "n", User: User{Home: "/home/joe"}})
	if want := []string{"PATH=/x", "HOME=/h", "A=2=3", "HOSTNAME=n"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A host that does not show its message queues anywhere shares the rest of its IPC namespace.
func TestIPCDirs(t *testing.T) {
	t.Parallel()
	for _, missing := range [][]string{nil, {"/dev/mqueue"}, IPCDirs()} {
		list := ipcMounts(Input{HostIPC: true, Missing: missing})
		if len(list) != len(IPCDirs())-len(missing) {
			t.Errorf("without %v: %v", missing, list)
		}
		for _, m := range list {
			if m.Type != "bind" || slices.Contains(missing, m.Source) {
				t.Errorf("without %v: %v", missing, m)
			}
		}
	}
}
