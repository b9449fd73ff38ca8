package spec

import (
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

type files map[string]string

func (f files) ReadFile(name string, _ int64) ([]byte, error) {
	text, ok := f[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

func TestLookupUser(t *testing.T) {
	t.Parallel()
	f := files{
		"/etc/passwd": "root:x:0:0::/root:/bin/sh\njoe:x:1000:100:Joe:/home/joe:/bin/sh\nbad line\n",
		"/etc/group":  "root:x:0:\nusers:x:100:\nwheel:x:10:joe,ann\nvideo:x:44:joe\n",
	}
	for text, want := range map[string]User{
		"joe":       {1000, 100, []uint32{100, 10, 44}, "/home/joe"},
		"1000":      {1000, 100, []uint32{100, 10, 44}, "/home/joe"},
		"joe:wheel": {1000, 10, []uint32{10}, "/home/joe"},
		"joe:7":     {1000, 7, []uint32{7}, "/home/joe"},
		"4242":      {4242, 0, []uint32{0}, "/"},
		"4242:5":    {4242, 5, []uint32{5}, "/"},
		":users":    {0, 100, []uint32{100}, "/root"},
	} {
		got, err := LookupUser(f, text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"nobody", "joe:nogroup"} {
		if _, err := LookupUser(f, text); err == nil {
			t.Errorf("%s was found", text)
		}
	}
	if u, err := LookupUser(files{}, "0"); err != nil || u.UID != 0 {
		t.Errorf("without files: %+v %v", u, err)
	}
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	def, err := Capabilities(nil, nil, nil)
	if err != nil || len(def) != 11 {
		t.Fatalf("%v %v", def, err)
	}
	if mask, err := CapMask(def); err != nil || mask != 0x800405fb {
		t.Errorf("mask %x %v", mask, err)
	}
	got, err := Capabilities(nil, []string{"sys_admin", "CAP_KILL"}, []string{"kill", "Cap_Chown"})
	if err != nil || slices.Contains(got, "CAP_KILL") || slices.Contains(got, "CAP_CHOWN") || !slices.Contains(got, "CAP_SYS_ADMIN") {
		t.Errorf("%v %v", got, err)
	}
	if got, err := Capabilities(nil, []string{"all"}, []string{"all"}); err != nil || len(got) != 0 {
		t.Errorf("%v %v", got, err)
	}
	if _, err := Capabilities(nil, []string{"NO_SUCH"}, nil); err == nil {
		t.Error("an unknown capability was taken")
	}
}

func TestGenerate(t *testing.T) {
	t.Parallel()
	in := Input{
		Rootfs: "/r", Argv: []string{"x"}, Env: []string{"A=1", "PATH=/p", "A=2"}, User: User{UID: 7, GID: 8, Groups: []uint32{8}, Home: "/h"},
		Capabilities: DefaultCapabilities(), Ulimits: []string{"nofile=10:999999"}, HardLimit: func(int) uint64 { return 100 },
		SecurityOpts: []string{"unmask=/proc/kc*", "no-new-privileges"}, Hostname: "host",
	}
	s, err := Generate(in)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"A=2", "PATH=/p", "HOME=/h", "HOSTNAME=host"}; !reflect.DeepEqual(s.Process.Env, want) {
		t.Errorf("environment %q", s.Process.Env)
	}
	c := s.Process.Capabilities
	if len(c.Bounding) != 11 || len(c.Effective)+len(c.Permitted)+len(c.Inheritable)+len(c.Ambient) != 0 {
		t.Errorf("another user than root has %+v", c)
	}
	if l := s.Process.Rlimits[0]; l.Soft != 10 || l.Hard != 100 {
		t.Errorf("limit was not clamped: %+v", l)
	}
	if slices.Contains(s.Linux.MaskedPaths, "/proc/kcore") || !s.Process.NoNewPrivileges || s.Linux.Seccomp == nil {
		t.Errorf("security options: %v", s.Linux.MaskedPaths)
	}
	for _, ns := range []specs.LinuxNamespaceType{specs.MountNamespace, specs.PIDNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.NetworkNamespace} {
		if !slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == ns }) {
			t.Errorf("no new %s namespace", ns)
		}
	}
	for _, bad := range []Input{{SecurityOpts: []string{"what=ever"}}, {Ulimits: []string{"nofile"}}, {Ulimits: []string{"nofile=5:1"}}, {Ulimits: []string{"x=1"}}} {
		bad.HardLimit = in.HardLimit
		if _, err := Generate(bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

// Labels and profiles go where runtimes look for them; what the host does not enforce is refused.
func TestSecurityModules(t *testing.T) {
	t.Parallel()
	in := Input{Argv: []string{"x"}, SELinux: true, AppArmor: true, ProcessLabel: "u:r:p:s0:c1", MountLabel: "u:r:f:s0:c1",
		AppArmorLoaded: func(name string) bool { return name == "loaded" }, SecurityOpts: []string{"label=type:t", "apparmor=loaded"}}
	s, err := Generate(in)
	if err != nil {
		t.Fatal(err)
	}
	if s.Process.SelinuxLabel != in.ProcessLabel || s.Linux.MountLabel != in.MountLabel || s.Process.ApparmorProfile != "loaded" {
		t.Errorf("labels %q %q, profile %q", s.Process.SelinuxLabel, s.Linux.MountLabel, s.Process.ApparmorProfile)
	}
	for want, change := range map[string]func(*Input){
		`"label=type:t": SELinux is not enabled on this host`:     func(i *Input) { i.SELinux = false },
		`"apparmor=loaded": AppArmor is not enabled on this host`: func(i *Input) { i.AppArmor = false },
		`AppArmor profile "other" is not loaded`:                  func(i *Input) { i.SecurityOpts = []string{"apparmor=other"} },
		`invalid --security-opt "label=kind:x"`:                   func(i *Input) { i.SecurityOpts = []string{"label=kind:x"} },
		`invalid --security-opt "label=level:"`:                   func(i *Input) { i.SecurityOpts = []string{"label=level:"} },
	} {
		in := in
		change(&in)
		if _, err := Generate(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, opts := range [][]string{{"label=disable"}, {"apparmor=unconfined"}, {"label=type:t", "label=disable"}, {"label=nested"}} {
		if _, err := Generate(Input{Argv: []string{"x"}, SecurityOpts: opts}); err != nil {
			t.Errorf("%q: %v", opts, err)
		}
	}
}
