package source

import (
	"strings"
	"testing"
)

func TestParseGit(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Git{
		"https://host/a.git":                   {Repository: "https://host/a.git"},
		"https://host/a.git#main":              {Repository: "https://host/a.git", Ref: "main"},
		"https://host/a.git#main:sub/dir":      {Repository: "https://host/a.git", Ref: "main", Subdir: "sub/dir"},
		"https://host/a.git#:sub":              {Repository: "https://host/a.git", Subdir: "sub"},
		"https://host/a.git?branch=b&subdir=s": {Repository: "https://host/a.git", Ref: "b", Subdir: "s"},
		"git://host/a":                         {Repository: "git://host/a"},
		"ssh://git@host/a#v1":                  {Repository: "ssh://git@host/a", Ref: "v1"},
		"git@host:a/b#v1":                      {Repository: "git@host:a/b", Ref: "v1"},
	} {
		if g, ok, err := ParseGit(text); !ok || err != nil || g != want {
			t.Errorf("%s: %+v, %v, %v", text, g, ok, err)
		}
	}
	for _, text := range []string{"https://host/a.tar", "dir", "./a.git", "../x.git", "/a.git", "file:///a.git", "ext::sh -c x", "http://host/a"} {
		if g, ok, _ := ParseGit(text); ok {
			t.Errorf("%s is taken for %+v", text, g)
		}
	}
	for _, text := range []string{"https://h/a.git#--upload-pack=x", "https://h/a.git?x=y", "https://h/a.git?ref=a#b"} {
		if _, ok, err := ParseGit(text); !ok || err == nil {
			t.Errorf("%s: %v, %v", text, ok, err)
		}
	}
}

// Credentials are not shown.
func TestGitString(t *testing.T) {
	t.Parallel()
	g, _, _ := ParseGit("https://user:secret@host/a.git#r:d")
	if s := g.String(); strings.Contains(s, "secret") || !strings.HasSuffix(s, "host/a.git#r:d") {
		t.Error(s)
	}
}

func FuzzParseGit(f *testing.F) {
	f.Add("https://host/a.git?ref=x#main:sub")
	f.Add("git@host:a#-x")
	f.Fuzz(func(t *testing.T, text string) {
		g, ok, err := ParseGit(text)
		if ok && err == nil && (strings.HasPrefix(g.Repository, "-") || strings.HasPrefix(g.Ref, "-")) {
			t.Errorf("an option of git: %+v", g)
		}
	})
}
