package hostconf

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func write(t *testing.T, text string) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "c.conf")
	if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestRead(t *testing.T) {
	t.Parallel()
	a := write(t, "[containers]\nenv = [\"A=1\"]\ndefault_ulimits = [\"nofile=1:2\"]\nshm_size = \"1m\"\n[engine]\nruntime = \"x\"\n[engine.runtimes]\nx = [\"/x\"]\n")
	b := write(t, "[containers]\nenv = [\"B=2\", {append=true}]\ndefault_ulimits = [\"core=0\"]\ndefault_capabilities = []\nhttp_proxy = false\n")
	c, err := Read([]string{a, b, a + ".missing"})
	if err != nil {
		t.Fatal(err)
	}
	got := c.Containers
	if !reflect.DeepEqual(got.Env, Strings{"A=1", "B=2"}) || !reflect.DeepEqual(got.Ulimits, Strings{"core=0"}) || got.ShmSize != "1m" ||
		got.Capabilities == nil || len(*got.Capabilities) != 0 || got.HTTPProxy == nil || *got.HTTPProxy {
		t.Errorf("%+v", got)
	}
	for _, bad := range []string{"[containers", "[containers]\nenv = 1\n", "[containers]\nenv = [1]\n", "[containers]\nenv = [{append=1}]\n"} {
		if _, err := Read([]string{write(t, bad)}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	vars := func(m map[string]string) func(string) (string, bool) {
		return func(k string) (string, bool) { v, ok := m[k]; return v, ok }
	}
	if got := Files(vars(map[string]string{"CONTAINERS_CONF": "/a", "CONTAINERS_CONF_OVERRIDE": "/b"}), true); !reflect.DeepEqual(got, []string{"/a", "/b"}) {
		t.Error(got)
	}
	got := Files(vars(map[string]string{"HOME": "/h"}), true)
	if got[len(got)-1] != "/h/.config/containers/containers.conf" || got[0] != "/usr/share/containers/containers.conf" {
		t.Error(got)
	}
	if got := Files(vars(map[string]string{"HOME": "/h"}), false); got[len(got)-1] == "/h/.config/containers/containers.conf" {
		t.Error("root has a file at home")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("[containers]\nenv = [\"A=1\", {append=true}]\n")
	f.Fuzz(func(_ *testing.T, text string) {
		var c Conf
		_ = c.parse(text)
	})
}

func TestMention(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"[engine]\nenv = [\"A=b\"]\n":                               true,
		"[engine]\n  \"env\" = [\"A=b\"]\n":                         true,
		"engine.env = [\"A=b\"]\n":                                  true,
		"\"engine\".env = [\"A=b\"]\n":                              true,
		"engine = { env = [\"A=b\"] }\n":                            true,
		"[engine]\n# env = [\"A=b\"]\n#engine.env = [\"A=b\"]\n":    false,
		"[engine]\n[engine.runtimes]\ncrun = [\"/usr/bin/crun\"]\n": false,
	} {
		file := filepath.Join(t.TempDir(), "containers.conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := Mention([]string{file}, "env"); got != want {
			t.Errorf("%q: got %v", text, got)
		}
		conf, err := Read([]string{file})
		if err != nil || len(conf.Engine.Env) > 0 != want {
			t.Errorf("%q: env is %v, %v", text, conf.Engine.Env, err)
		}
	}
}
