package harness

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

//go:embed pods/filter-*.json
var filters embed.FS

// PodUID is the user of a simulated pod: arbitrary, without an entry in any passwd file; its group is root's.
const PodUID = 1000660000

// A Pod is the environment of a Kubernetes or OpenShift pod that passes the restricted standard, made by runc: an
// arbitrary uid, no capability, no_new_privs, one of the filters A, O, C, read-only /sys, /proc/sys and root,
// masked /proc, a small noexec /tmp, HOME=/ and next to no environment. Its root is this machine's.
type Pod struct {
	Filter string
	// Dir is where the pod may write: an emptyDir volume. It is there under the same name.
	Dir string
	// ReadOnly are more paths to show, as they are.
	ReadOnly []string
	// Volumes are more directories and files.
	Volumes []Volume
	Env     []string
	// Root replaces the machine's root directory, with that of an image.
	Root string
	// AsRoot makes it a container as Docker runs one by default: root, with the capabilities of that.
	AsRoot bool
}

// A Volume is a directory or file of the machine that a pod sees at a path of its own.
type Volume struct {
	At, From string
	Write    bool
}

// Command returns the program to run in the pod; bundle is an empty directory for its description.
func (p Pod) Command(bundle string, argv ...string) (*exec.Cmd, error) {
	filter, err := filters.ReadFile("pods/filter-" + p.Filter + ".json")
	if err != nil {
		return nil, fmt.Errorf("no filter %q: A, O, C", p.Filter)
	}
	spec, err := json.Marshal(p.spec(filter, argv))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.MkdirAll(bundle+"/rootfs", 0o755), os.MkdirAll(bundle+"/state", 0o700), os.WriteFile(bundle+"/config.json", spec, 0o644)); err != nil {
		return nil, err
	}
	root := "/"
	if p.Root != "" {
		root = p.Root
	}
	const script = `mount --bind "$2" "$1/rootfs" && exec runc --root "$1/state" run --bundle "$1" "slipway-pod-$$"`
	return exec.Command("unshare", "-m", "sh", "-c", script, "sh", bundle, root), nil
}

func (p Pod) spec(filter []byte, argv []string) map[string]any {
	type m = map[string]any
	mount := func(dst, kind, src string, options ...string) m {
		return m{"destination": dst, "type": kind, "source": src, "options": options}
	}
	mounts := []m{
		mount("/proc", "proc", "proc"),
		mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
		mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
		mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
		mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
		mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
		mount("/tmp", "tmpfs", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=1m"),
		mount(p.Dir, "bind", p.Dir, "rbind", "rw"),
	}
	for _, path := range p.ReadOnly {
		mounts = append(mounts, mount(path, "bind", path, "rbind", "ro"))
	}
	for _, v := range p.Volumes {
		access := "ro"
		if v.Write {
			access = "rw"
		}
		mounts = append(mounts, mount(v.At, "bind", v.From, "rbind", access))
	}
	user, caps := m{"uid": PodUID, "gid": 0}, []string{}
	if p.AsRoot {
		user["uid"] = 0
		for _, c := range strings.Fields("CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE") {
			caps = append(caps, "CAP_"+c)
		}
	}
	return m{
		"ociVersion": "1.0.2", "root": m{"path": "rootfs", "readonly": true}, "hostname": "pod", "mounts": mounts,
		"process": m{
			"terminal": false, "user": user, "args": argv, "cwd": p.Dir, "noNewPrivileges": true,
			"env":          append([]string{"HOME=/"}, p.Env...),
			"capabilities": m{"bounding": caps, "effective": caps, "inheritable": []string{}, "permitted": caps, "ambient": []string{}},
		},
		"linux": m{
			"namespaces":    []m{{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}},
			"maskedPaths":   []string{"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"},
			"readonlyPaths": []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
			"seccomp":       json.RawMessage(filter),
		},
	}
}

// pod is "pod A|O|C|docker PROGRAM [ARG…]": runs a program in a simulated pod, or as Docker does by default, that owns $WORK.
func (h *Harness) pod(ts *testscript.TestScript, args []string) error {
	if len(args) < 2 {
		return errors.New("usage: pod A|O|C|docker PROGRAM [ARG…]")
	}
	work, uid := ts.Getenv("WORK"), PodUID
	p := Pod{Filter: args[0], Dir: work, ReadOnly: []string{filepath.Dir(h.Bin)}}
	if args[0] == "docker" {
		uid, p.Filter, p.AsRoot = 0, "C", true
	}
	if err := give(work, uid, 0); err != nil {
		return err
	}
	bundle, err := os.MkdirTemp(h.Dir, "pod")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bundle)
	for _, name := range []string{"PATH", "WORK", "SLIPWAY_ROOT", "SLIPWAY_RUNROOT", "REGISTRY"} {
		if v := ts.Getenv(name); v != "" {
			p.Env = append(p.Env, name+"="+v)
		}
	}
	cmd, err := p.Command(bundle, args[1:]...)
	if err != nil {
		return err
	}
	_, err = output(ts, cmd.Args...)
	return err
}
