package cdi

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func dir(t *testing.T, files map[string]string) string {
	t.Helper()
	d := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(d, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestResolve(t *testing.T) {
	t.Parallel()
	low := dir(t, map[string]string{"a.json": `{"cdiVersion":"0.6.0","kind":"vendor.com/class","containerEdits":{"env":["ALL=1"]},"devices":[
		{"name":"one","containerEdits":{"env":["REPLACED=1"]}},{"name":"two","containerEdits":{"env":["TWO=1"],"additionalGids":[7]}}]}`})
	high := dir(t, map[string]string{"b.yaml": `
cdiVersion: 0.5.0
kind: vendor.com/class
devices:
- name: one
  containerEdits:
    deviceNodes: [{path: /dev/one, hostPath: /dev/null}, {path: /dev/zero, permissions: rw}]
    mounts: [{hostPath: /usr/lib/v, containerPath: /v/, options: [ro]}, {containerPath: /t, type: tmpfs}]
    hooks: [{hookName: createContainer, path: /bin/h, args: [h, x]}]
`, "broken.json": "{", "notes.txt": "?"})
	dirs := []string{low, high, filepath.Join(low, "missing")}
	got, err := Resolve(dirs, []string{"vendor.com/class=one"})
	want := Edits{
		Devices: []string{"/dev/null:/dev/one:rwm", "/dev/zero:/dev/zero:rw"},
		Mounts: []specs.Mount{{Destination: "/v", Source: "/usr/lib/v", Type: "bind", Options: []string{"ro", "rbind"}},
			{Destination: "/t", Source: "tmpfs", Type: "tmpfs"}},
		Hooks: &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/bin/h", Args: []string{"h", "x"}}}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = Resolve(dirs, []string{"vendor.com/class=two", "vendor.com/class=two"})
	if err != nil || strings.Join(got.Env, " ") != "ALL=1 TWO=1 TWO=1" || got.Groups[0] != 7 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err = Resolve(dirs, []string{"vendor.com/class=three"}); err == nil || !strings.Contains(err.Error(), "broken.json") {
		t.Error(err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	low := dir(t, map[string]string{"a.json": `{"cdiVersion":"0.6.0","kind":"v.com/c","annotations":{"org.mobyproject.buildkit.device.class":"wide"},"devices":[
		{"name":"two"},{"name":"one","annotations":{"org.mobyproject.buildkit.device.class":"own"}}]}`})
	high := dir(t, map[string]string{"b.json": `{"cdiVersion":"0.6.0","kind":"v.com/c","devices":[{"name":"two"}]}`,
		"c.json": `{"cdiVersion":"0.6.0","kind":"v.com/d","devices":[{"name":"two"}]}`, "broken.json": "{"})
	for request, want := range map[string]string{
		"v.com/c=two": "v.com/c=two", "v.com/c=*": "v.com/c=one v.com/c=two", "v.com/c": "v.com/c=one", "v.com/d": "v.com/d=two",
		"wide": "v.com/c=two", "own": "v.com/c=one", "v.com/c=three": "", "v.com/e": "", "v.com/e=*": "", "none": "", "": "", "wide=*": "", "=two": "",
	} {
		got, err := Find([]string{low, high}, request)
		if strings.Join(got, " ") != want || (err == nil) != (want != "") {
			t.Errorf("%q: %s, %v", request, got, err)
		}
		if want == "" && (!errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "broken.json")) {
			t.Errorf("%q: %v", request, err)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for want, edits := range map[string]string{
		"env":           `{"env":["A"]}`,
		"absolute path": `{"deviceNodes":[{"path":"dev"}]}`,
		"colons":        `{"deviceNodes":[{"path":"/dev/a:b"}]}`,
		"mount of":      `{"mounts":[{"hostPath":"x","containerPath":"/x"}]}`,
		"type":          `{"mounts":[{"hostPath":"/x","containerPath":"/x","type":"proc"}]}`,
		"hook":          `{"hooks":[{"hookName":"later","path":"/x"}]}`,
		"intelRdt":      `{"intelRdt":{}}`,
	} {
		d := dir(t, map[string]string{"v.json": `{"cdiVersion":"0.6.0","kind":"v/c","devices":[{"name":"d","containerEdits":` + edits + `}]}`})
		if _, err := Resolve([]string{d}, []string{"v/c=d"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", edits, err)
		}
	}
	twice := `{"cdiVersion":"0.6.0","kind":"v/c","devices":[{"name":"d"}]}`
	if _, err := Resolve([]string{dir(t, map[string]string{"1.json": twice, "2.json": twice})}, []string{"v/c=d"}); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Error(err)
	}
	for _, text := range []string{"", "{", `{"cdiVersion":"9.0.0","kind":"v/c"}`, `{"cdiVersion":"0.6.0","kind":"v"}`, `{"cdiVersion":"0.6.0","kind":"v/c","devices":[{"name":"../x"}]}`} {
		if _, err := parse([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestQualified(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"vendor.com/class=name": true, "v/c=0:1": true, "/dev/x=y": false, "v/c": false, "v/c=": false, "v=x": false, "../c=x": false} {
		if got := Qualified(text); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"cdiVersion":"0.6.0","kind":"v/c","devices":[{"name":"d","containerEdits":{"deviceNodes":[{"path":"/dev/d"}],"hooks":[{"hookName":"prestart","path":"/h"}]}}]}`))
	f.Add([]byte("cdiVersion: 0.6.0\nkind: v/c\ncontainerEdits:\n  mounts: [{hostPath: /a, containerPath: /b}]\n"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		d, err := parse(text)
		if err != nil {
			return
		}
		var e Edits
		_ = e.add(d.Edits)
		for _, dev := range d.Devices {
			_ = e.add(dev.Edits)
		}
	})
}
