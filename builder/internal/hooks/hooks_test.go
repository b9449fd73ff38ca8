package hooks

//lint:file-ignore SA1019 stage prestart is superseded, and in use

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWhen(t *testing.T) {
	t.Parallel()
	c := Command{Program: "/usr/bin/make", Annotations: map[string]string{"org.example.gpu": "yes"}, Binds: true}
	for when, want := range map[string]bool{
		`{"always":true}`: true, `{"always":false}`: false, `{}`: false,
		`{"commands":["/make$"]}`: true, `{"commands":["^make","^/usr"]}`: true, `{"commands":["^make"]}`: false,
		`{"annotations":{"^org\\.example\\.":"^y"}}`: true, `{"annotations":{"^org":"no"}}`: false, `{"annotations":{"^com":""}}`: false,
		`{"hasBindMounts":true}`: true, `{"hasBindMounts":false}`: false,
		`{"always":true,"commands":["cc"]}`: false, `{"commands":["make"],"hasBindMounts":true,"annotations":{"gpu":"yes"}}`: true,
	} {
		h, err := parse([]byte(fmt.Sprintf(`{"version":"1.0.0","hook":{"path":"/h"},"when":%s,"stages":["prestart","poststop"]}`, when)))
		if err != nil {
			t.Errorf("%s: %v", when, err)
			continue
		}
		s := For([]Hook{h}, c)
		if got := s != nil; got != want || want && (len(s.Prestart) != 1 || len(s.Poststop) != 1 || s.Poststart != nil) {
			t.Errorf("%s: %v, want %v", when, s, want)
		}
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	a, b := t.TempDir(), t.TempDir()
	put := func(dir, name, program string) {
		text := fmt.Sprintf(`{"version":"1.0.0","hook":{"path":%q},"when":{"always":true},"stages":["prestart"]}`, program)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(a, "b.json", "/replaced")
	put(a, "C.json", "/third")
	put(a, "other.txt", "relative: not read")
	put(b, "b.json", "/second")
	put(b, "A.json", "/first")
	list, err := Load([]string{a, b, filepath.Join(a, "missing")})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range For(list, Command{}).Prestart {
		got = append(got, h.Path)
	}
	if strings.Join(got, " ") != "/first /second /third" {
		t.Error(got)
	}
}

// Files that say what cannot be, and those that are made to hang or fill whoever reads them.
func TestRefused(t *testing.T) {
	t.Parallel()
	for want, text := range map[string]string{
		"version":         `{"version":"0.1.0","hook":{"path":"/h"},"when":{"always":true},"stages":["prestart"]}`,
		"absolute":        `{"version":"1.0.0","hook":{"path":"h"},"when":{"always":true},"stages":["prestart"]}`,
		"precreate":       `{"version":"1.0.0","hook":{"path":"/h"},"when":{"always":true},"stages":["precreate"]}`,
		"no stages":       `{"version":"1.0.0","hook":{"path":"/h"},"when":{"always":true}}`,
		"missing closing": `{"version":"1.0.0","hook":{"path":"/h"},"when":{"commands":["("]},"stages":["prestart"]}`,
		"timeout":         `{"version":"1.0.0","hook":{"path":"/h","timeout":-1},"when":{"always":true},"stages":["prestart"]}`,
		"env":             `{"version":"1.0.0","hook":{"path":"/h","env":["A"]},"when":{"always":true},"stages":["prestart"]}`,
		"more than":       `{"version":"1.0.0","hook":{"path":"/h"},"when":{"always":true},"stages":["prestart"]}{}`,
		"larger":          strings.Repeat(" ", maxSize+1),
	} {
		name := filepath.Join(t.TempDir(), "h.json")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load([]string{filepath.Dir(name)}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "h.json") {
			t.Errorf("%s: %v", want, err)
		}
	}
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "h.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load([]string{dir}); err == nil || !strings.Contains(err.Error(), "regular") {
		t.Errorf("a FIFO: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":"1.0.0","hook":{"path":"/h","timeout":1},"when":{"annotations":{"a":"b"},"commands":["c"]},"stages":["prestart"]}`))
	f.Fuzz(func(_ *testing.T, text []byte) {
		if h, err := parse(text); err == nil {
			For([]Hook{h}, Command{Program: "p", Annotations: map[string]string{"a": "b"}})
		}
	})
}
