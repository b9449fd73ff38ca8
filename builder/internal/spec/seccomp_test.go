package spec

import (
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// verdict is what a profile says about a call whose first argument is arg; ok tells that exactly one kind of answer fits.
func verdict(p *specs.LinuxSeccomp, name string, arg uint64) (action specs.LinuxSeccompAction, errno uint) {
	for _, r := range p.Syscalls {
		if !slices.Contains(r.Names, name) {
			continue
		}
		holds := true
		for _, a := range r.Args {
			holds = holds && map[specs.LinuxSeccompOperator]bool{
				specs.OpEqualTo: arg == a.Value, specs.OpLessThan: arg < a.Value, specs.OpGreaterThan: arg > a.Value,
				specs.OpMaskedEqual: arg&a.Value == a.ValueTwo, specs.OpNotEqual: arg != a.Value,
			}[a.Op]
		}
		if holds {
			if r.ErrnoRet != nil {
				errno = *r.ErrnoRet
			}
			return r.Action, errno
		}
	}
	return p.DefaultAction, *p.DefaultErrnoRet
}

func TestDefaultProfile(t *testing.T) {
	t.Parallel()
	const eperm, enosys, eafnosupport = 1, 38, 97
	ordinary := defaultSeccomp(DefaultCapabilities(), "amd64")
	admin := defaultSeccomp([]string{"CAP_SYS_ADMIN", "CAP_SYS_BOOT"}, "arm64")
	for _, c := range []struct {
		p     *specs.LinuxSeccomp
		name  string
		arg   uint64
		errno uint // 0: allowed
	}{
		{ordinary, "openat2", 0, 0}, {ordinary, "chroot", 0, 0}, {admin, "chroot", 0, eperm},
		{ordinary, "mount", 0, eperm}, {admin, "mount", 0, 0}, {ordinary, "unshare", 0, eperm}, {ordinary, "setns", 0, eperm},
		{ordinary, "reboot", 0, eperm}, {admin, "reboot", 0, 0}, {ordinary, "keyctl", 0, eperm}, {admin, "keyctl", 0, eperm},
		{ordinary, "io_uring_setup", 0, enosys}, {ordinary, "a_call_of_tomorrow", 0, enosys},
		{ordinary, "clone3", 0, enosys}, {admin, "clone3", 0, 0},
		{ordinary, "clone", 0x11, 0}, {ordinary, "clone", 0x10000000 | 0x11, eperm}, {ordinary, "clone", 0x20000, eperm}, {admin, "clone", 0x10000000, 0},
		{ordinary, "socket", 1, 0}, {ordinary, "socket", 16, 0}, {ordinary, "socket", 39, 0}, {ordinary, "socket", 45, 0},
		{ordinary, "socket", 38, eafnosupport}, {ordinary, "socket", 40, eafnosupport}, {ordinary, "socket", 1<<32 | 40, eafnosupport},
		{ordinary, "personality", 0xffffffff, 0}, {ordinary, "personality", 8, 0}, {ordinary, "personality", 0x40000, enosys},
	} {
		action, errno := verdict(c.p, c.name, c.arg)
		if (action == specs.ActAllow) != (c.errno == 0) || errno != c.errno && c.errno != 0 {
			t.Errorf("%s(%#x): %s %d, want errno %d", c.name, c.arg, action, errno, c.errno)
		}
	}
}

// A filter is for the calls that a processor's kernel takes and for no others.
func TestDefaultProfileArchitectures(t *testing.T) {
	t.Parallel()
	for goarch, want := range map[string][]specs.Arch{
		"amd64": {specs.ArchX86_64, specs.ArchX86}, "arm64": {specs.ArchAARCH64, specs.ArchARM}, "riscv64": nil,
	} {
		if got := defaultSeccomp(nil, goarch).Architectures; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", goarch, got, want)
		}
	}
}

// A call is either allowed or behind one gate, never both and never twice.
func TestDefaultProfileIsDisjoint(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{"socket": true, "clone": true, "clone3": true, "personality": true}
	check := func(name string) {
		if seen[name] {
			t.Errorf("%s is listed twice", name)
		}
		seen[name] = true
	}
	for _, name := range allowed() {
		check(name)
	}
	p := defaultSeccomp(nil, "amd64")
	for _, r := range p.Syscalls {
		if len(r.Args) > 0 || r.Action == specs.ActAllow {
			continue
		}
		for _, name := range r.Names {
			if name != "clone3" {
				check(name)
			}
		}
	}
}

func TestProfileFile(t *testing.T) {
	t.Parallel()
	text := []byte(`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"ENOSYS",
		"archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]},{"architecture":"SCMP_ARCH_AARCH64"}],
		"syscalls":[
		{"names":["read"],"action":"SCMP_ACT_ALLOW"},
		{"name":"write","action":"SCMP_ACT_ERRNO","errno":"EINVAL","args":[{"index":1,"value":5,"op":"SCMP_CMP_EQ"}]},
		{"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
		{"names":["mount"],"action":"SCMP_ACT_ERRNO","errnoRet":13,"excludes":{"caps":["CAP_SYS_ADMIN"]}},
		{"names":["arch_prctl"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["amd64"]}},
		{"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
		{"names":["future"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"99.0"}}]}`)
	p, err := Profile(text, DefaultCapabilities(), "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Architectures) != 3 || *p.DefaultErrnoRet != 38 {
		t.Errorf("architectures %v, errno %d", p.Architectures, *p.DefaultErrnoRet)
	}
	var names []string
	for _, r := range p.Syscalls {
		names = append(names, r.Names...)
	}
	if want := []string{"read", "write", "mount", "arch_prctl", "ptrace"}; !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
	if r := p.Syscalls[1]; *r.ErrnoRet != 22 || r.Args[0].Index != 1 {
		t.Errorf("write: %+v", r)
	}
	if r := p.Syscalls[2]; *r.ErrnoRet != 13 {
		t.Errorf("mount: %+v", r)
	}
	arm, err := Profile(text, []string{"CAP_SYS_ADMIN"}, "arm64")
	if err != nil || len(arm.Architectures) != 1 || arm.Syscalls[2].Action != specs.ActAllow || len(arm.Syscalls) != 4 {
		t.Errorf("%+v, %v", arm, err)
	}
	for _, bad := range []string{`{}`, `[]`, `{"defaultAction":"A","defaultErrno":"EWHAT"}`, `{"defaultAction":"A","architectures":["x"],"archMap":[{}]}`} {
		if _, err := Profile([]byte(bad), nil, "amd64"); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func FuzzProfile(f *testing.F) {
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":9}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, err := Profile(text, DefaultCapabilities(), "amd64"); err == nil && p.DefaultAction == "" {
			t.Error("no default action")
		}
	})
}
