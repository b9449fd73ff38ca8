package mounts

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	mode := uint32(0o700)
	for text, want := range map[string]Mount{
		"target=/x":                                         {Type: "bind", Target: "/x", ReadOnly: true},
		"type=bind,src=a,dst=/x,rw":                         {Type: "bind", Source: "a", Target: "/x"},
		"SOURCE=a,Destination=/x,ro=false":                  {Type: "bind", Source: "a", Target: "/x"},
		"target=/x,rw=false":                                {Type: "bind", Target: "/x", ReadOnly: true},
		`"source=a,b",target=/x`:                            {Type: "bind", Source: "a,b", Target: "/x", ReadOnly: true},
		"from=s,target=x,z":                                 {Type: "bind", From: "s", Target: "x", ReadOnly: true, Extra: []string{"z"}},
		"target=/x,relabel=private,U":                       {Type: "bind", Target: "/x", ReadOnly: true, Extra: []string{"Z", "U"}},
		"target=/x,bind-propagation=rslave":                 {Type: "bind", Target: "/x", ReadOnly: true, Options: []string{"rslave"}},
		"target=/x,consistency=cached":                      {Type: "bind", Target: "/x", ReadOnly: true},
		"type=cache,target=/x,sharing=locked":               {Type: "cache", Target: "/x", Sharing: "locked"},
		"type=cache,id=i,target=/x,mode=0700,uid=3,gid=4":   {Type: "cache", ID: "i", Target: "/x", Sharing: "shared", Mode: &mode, UID: 3, GID: 4},
		"type=tmpfs,target=/x,size=64k":                     {Type: "tmpfs", Target: "/x", Size: 65536},
		"type=tmpfs,target=/x,tmpfs-size=1m,tmpfs-mode=700": {Type: "tmpfs", Target: "/x", Size: 1 << 20, Mode: &mode},
		"type=secret,id=a/b":                                {Type: "secret", ID: "a/b", Target: "/run/secrets/b"},
		"type=secret,target=/x/key,required":                {Type: "secret", ID: "key", Target: "/x/key", Required: true},
		"type=secret,id=a,env=A":                            {Type: "secret", ID: "a", Env: "A"},
		"type=ssh":                                          {Type: "ssh", ID: "default"},
	} {
		got, err := Parse(text, nil)
		if err != nil || got.String() != want.String() {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"type=foo,target=/x":                             `unsupported mount type "foo"`,
		"target=/x,nope=1":                               "unexpected key 'nope' in 'nope=1'",
		"target=/":                                       `invalid mount target "/"`,
		"type=tmpfs,target=/x/..":                        `invalid mount target "/"`,
		"target=/x,nope":                                 "invalid field 'nope' must be a key=value pair",
		"target=/x,required":                             "unexpected key 'required' for mount type 'bind'",
		"target=/x,size=1":                               "unexpected key 'size' for mount type 'bind'",
		"type=tmpfs,target=/x,mode=1":                    `mode not allowed for "tmpfs" type mounts`,
		"target=/x,uid=1":                                `uid not allowed for "bind" type mounts`,
		"type=cache,target=/x,sharing=odd":               `unsupported sharing value "odd"`,
		"target=/x,sharing=shared":                       "invalid cache sharing set",
		"type=cache,target=/x,mode=9":                    "invalid value 9 for mode",
		"type=tmpfs,target=/x,size=99999999999999999999": "invalid value for size: 99999999999999999999",
		"target=/x,ro=perhaps":                           "invalid value for ro: perhaps",
		"type=secret":                                    "invalid secret mount. one of source, target required",
		"type=secret,id=a,source=b":                      "both source and id can't be set",
		"type=secret,id=a,from=b":                        "secret mount should not have a from",
		"type=secret,id=a,sharing=shared":                "secret mount should not define sharing",
		"type=ssh,source=a":                              "ssh does not support source",
		"target=/x,from=":                                "from points to an empty value",
		"target=/x,bind-propagation=odd":                 "invalid mount option",
		"target=/x,shared,private":                       "more than one option",
		`target="/x`:                                     "failed to parse csv mounts",
	} {
		if _, err := Parse(text, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestAt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, dir, want string }{
		{"target=a", "/w", "/w/a"}, {"source=a", "/w", "/w"}, {"target=../../a", "/w", "/a"}, {"target=..", "/w", ""}, {"source=a", "/", ""},
		{"type=ssh", "/w", "/run/buildkit/ssh_agent.1"},
	} {
		m, err := Parse(c.text, nil)
		if err != nil {
			t.Fatal(err)
		}
		if m, err = m.At(c.dir, 1); (err == nil) != (c.want != "") || err == nil && m.Target != c.want {
			t.Errorf("%s in %s: %q, %v, want %q", c.text, c.dir, m.Target, err, c.want)
		}
	}
}

func TestVolume(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Mount{
		"/a:/b":                          {Type: "bind", Source: "/a", Target: "/b", Host: true},
		`/a\:c:/b:ro,noexec`:             {Type: "bind", Source: "/a:c", Target: "/b", ReadOnly: true, Options: []string{"noexec"}, Host: true},
		"/a:/b/:O":                       {Type: "bind", Source: "/a", Target: "/b", Extra: []string{"O"}, Host: true},
		"/a:/b:U,z":                      {Type: "bind", Source: "/a", Target: "/b", Extra: []string{"U", "z"}, Host: true},
		"/a:/b:O,upperdir=/u,workdir=/w": {Type: "bind", Source: "/a", Target: "/b", Extra: []string{"O"}, Upper: "/u", Work: "/w", Host: true},
		"/a:/b:idmap,ro":                 {Type: "bind", Source: "/a", Target: "/b", Extra: []string{"idmap"}, ReadOnly: true, Host: true},
		"/a:/b:idmap=uids=0-1-10#20-30-5;gids=0-9-1": {Type: "bind", Source: "/a", Target: "/b", Extra: []string{"idmap"}, IDMap: "uids=0-1-10#20-30-5;gids=0-9-1", Host: true},
	} {
		if got, err := Volume(text); err != nil || got.String() != want.String() {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "/a", "a:/b", "/a:b", "/a:/", "/a:/b:odd", "/a:/b:ro,rw", "/a:/b:z,Z", "/a:/b:O,z", "/a:/b:upperdir=/u,workdir=/w", "/a:/b:O,upperdir=/u", "/a:/b:idmap=", "/a:/b:idmap=uids", "/a:/b:idmap=uids=1-2", "/a:/b:idmap=uids=1-2-0", "/a:/b:idmap=users=1-2-3", "/a:/b:idmap=uids=1-2-3;uids=5-6-7",
		"/a:/b:idmap=uids=0-1-9#5-20-3", "/a:/b:idmap,U", "/a:/b:idmap,O", "/a:/b:ro=1", "/a:/b:ro:rw"} {
		if m, err := Volume(text); err == nil {
			t.Errorf("%q was taken: %v", text, m)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("type=cache,id=../..,target=/x,mode=700")
	f.Add(`type=secret,"id=a,b",env=X`)
	f.Fuzz(func(t *testing.T, text string) {
		m, err := Parse(text, nil)
		if err != nil {
			return
		}
		if m, err = m.At("/w", 0); err == nil && m.Target != "" && (m.Target[0] != '/' || m.Target == "/" || strings.Contains(m.Target, "/../")) {
			t.Errorf("target %q of %q", m.Target, text)
		}
	})
}

func FuzzVolume(f *testing.F) {
	f.Add(`/a\:b:/c:ro,U`)
	f.Fuzz(func(t *testing.T, text string) {
		if m, err := Volume(text); err == nil && (m.Target[0] != '/' || m.Target == "/" || m.Source[0] != '/') {
			t.Errorf("%q: %v", text, m)
		}
	})
}

// Keys of steps hold what a mount says: it is readable, and no two mounts say the same.
func TestString(t *testing.T) {
	t.Parallel()
	mode := uint32(0)
	m := Mount{Type: "cache", Target: "/c", ID: "x y", Mode: &mode, UID: 5, ReadOnly: true, Options: []string{"nosuid", "a b"}, Extra: []string{}}
	if got, want := m.String(), `type=cache,target=/c,id="x y",readonly=true,mode=0,uid=5,options=["nosuid" "a b"]`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, pair := range [][2]Mount{
		{{Target: "/a,from=b"}, {Target: "/a", From: "b"}},
		{{Target: "/a From:b"}, {Target: "/a", From: "b From:"}},
		{{Options: []string{"a b"}}, {Options: []string{"a", "b"}}},
		{{Options: []string{`a" "b`}}, {Options: []string{"a", "b"}}},
		{{Mode: &mode}, {}},
	} {
		if pair[0].String() == pair[1].String() {
			t.Errorf("%+v and %+v are both %s", pair[0], pair[1], pair[0])
		}
	}
}
