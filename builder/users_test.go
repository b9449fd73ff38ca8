package builder

import (
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/idmap"
)

func TestParseUsers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "private", "private": "private", "container": "private", "host": "host", "auto": "auto", "auto:size=10": "auto:size=10",
		"auto:size=5,uidmapping=7:8:9,gidmapping=1:2:3": "auto:size=5,uidmapping=7:8:9,gidmapping=1:2:3",
		"keep-id": "keep-id", "keep-id:uid=7,gid=8": "keep-id:uid=7,gid=8", "ns:/x": "ns:/x", "/proc/1/ns/user": "ns:/proc/1/ns/user",
	} {
		if got, err := ParseUsers(text); got != want || err != nil {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"keep-id:size=3": "want uid=N or gid=N", "keep-id:uid=x": "want uid=N", "ns:x": "invalid user namespace", "foo": "invalid user namespace", "automatic": "invalid user namespace", "auto:size=": "is no size",
		"auto:size=-1": "is no size", "auto:uidmapping=1:2": "is not container:host:length", "auto:,": "unknown option",
	} {
		if _, err := ParseUsers(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestAutoUsers(t *testing.T) {
	t.Parallel()
	o, err := autoUsers("size=5,uidmapping=7:8:9,uidmapping=70:80:1,gidmapping=1:2:3")
	if err != nil || o.Size != 5 || !slices.Equal(fromStorage(o.AdditionalUIDMappings), idmap.Map{{Container: 7, Host: 8, Size: 9}, {Container: 70, Host: 80, Size: 1}}) ||
		!slices.Equal(fromStorage(o.AdditionalGIDMappings), idmap.Map{{Container: 1, Host: 2, Size: 3}}) {
		t.Errorf("got %+v, %v", o, err)
	}
}

func TestCovered(t *testing.T) {
	t.Parallel()
	has := idmap.Map{{Container: 0, Host: 0, Size: 1}, {Container: 1, Host: 1, Size: 65536}}
	for _, tt := range []struct {
		host, size uint32
		want       bool
	}{{0, 1, true}, {0, 65537, true}, {1, 65536, true}, {0, 65538, false}, {65536, 2, false}, {70000, 1, false}} {
		if got := covered(has, idmap.Range{Host: tt.host, Size: tt.size}); got != tt.want {
			t.Errorf("%+v: got %v", tt, got)
		}
	}
}

func TestKept(t *testing.T) {
	t.Parallel()
	own := idmap.Map{{Container: 0, Host: 0, Size: 1}, {Container: 1, Host: 1, Size: 65536}}
	for _, tt := range []struct {
		id   uint32
		want idmap.Map
	}{
		{1000, idmap.Map{{Container: 1000, Host: 0, Size: 1}, {Container: 0, Host: 1, Size: 1000}, {Container: 1001, Host: 1001, Size: 64536}}},
		{0, idmap.Map{{Container: 0, Host: 0, Size: 1}, {Container: 1, Host: 1, Size: 65536}}},
		{65536, idmap.Map{{Container: 65536, Host: 0, Size: 1}, {Container: 0, Host: 1, Size: 65536}}},
		{100000, idmap.Map{{Container: 100000, Host: 0, Size: 1}, {Container: 0, Host: 1, Size: 65536}}},
	} {
		if got := kept(tt.id, own); !slices.Equal(got, tt.want) || got.Check() != nil {
			t.Errorf("%d: got %v, %v, want %v", tt.id, got, got.Check(), tt.want)
		}
	}
}
