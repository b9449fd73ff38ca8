package spec

import (
	"io/fs"
	"reflect"
	"strings"
	"testing"
)

// texts is a file system of texts.
type texts map[string]string

func (f texts) ReadFile(name string, _ int64) ([]byte, error) {
	text, ok := f[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

func accounts() texts {
	return texts{
		"/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\njoe:x:1234:1235:Joe:/home/joe:/bin/sh\nnohome:x:7:7::\nodd:x:seven:7:::\n",
		"/etc/group":  "root:x:0:\nstaff:x:50:joe,ann\njoe:x:1235:joe\nwheel:x:10:ann,joe\nbad:x:many:joe\n",
	}
}

func TestLookupUserForms(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]User{
		"":           {0, 0, []uint32{0}, "/root"},
		"root":       {0, 0, []uint32{0}, "/root"},
		"joe":        {1234, 1235, []uint32{1235, 50, 10}, "/home/joe"},
		"joe:":       {1234, 1235, []uint32{1235, 50, 10}, "/home/joe"},
		"1234":       {1234, 1235, []uint32{1235, 50, 10}, "/home/joe"},
		"joe:staff":  {1234, 50, []uint32{50}, "/home/joe"},
		"joe:99":     {1234, 99, []uint32{99}, "/home/joe"},
		"4000":       {4000, 0, []uint32{0}, "/"},
		"4000:wheel": {4000, 10, []uint32{10}, "/"},
		":staff":     {0, 50, []uint32{50}, "/root"},
	} {
		got, err := LookupUser(accounts(), text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"nobody": `unknown user error looking up user "nobody"`, "joe:nogroup": "unknown group", "odd": "unknown user",
		"4294967295": "unknown user", "-1": "unknown user", "broken": "unknown user",
	} {
		if got, err := LookupUser(accounts(), text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	if u, err := LookupUser(texts{}, "root"); err != nil || u.UID != 0 || u.Home != "/root" {
		t.Errorf("root without texts: %+v, %v", u, err)
	}
}

func FuzzLookupUser(f *testing.F) {
	f.Add("joe:staff", accounts()["/etc/passwd"], accounts()["/etc/group"])
	f.Add("0:0", "a:b:c", ":::\n")
	f.Fuzz(func(t *testing.T, user, passwd, group string) {
		u, err := LookupUser(texts{"/etc/passwd": passwd, "/etc/group": group}, user)
		if err == nil && (len(u.Groups) == 0 || u.Groups[0] != u.GID || u.Home == "") {
			t.Errorf("%+v", u)
		}
	})
}
