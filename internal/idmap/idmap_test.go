package idmap

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Range{
		"0:100000:65536": {0, 100000, 65536}, "0/1/2": {0, 1, 2}, "1 2-3": {1, 2, 3}, "0:0:4294967295": {0, 0, 4294967295}, "1–2·3": {1, 2, 3},
	} {
		if got, err := Parse(text); got != want || err != nil {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "1", "1:2", "1:2:", "1:2:3:", "1:2:3:4", ":1:2:3", "-1:2:3", "1::2:3", "1:2:4294967296", "a:b:c", "1: 2:3", "0:x:y", "1:2:3\n"} {
		if got, err := Parse(text); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("0:100000:65536")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := Parse(r.String()); again != r || err != nil {
			t.Errorf("%q is %v, which is read as %v, %v", text, r, again, err)
		}
	})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, m := range []Map{nil, {{0, 1, 2}}, {{0, 1000, 1000}, {1000, 5, 1}}, {{0, 0, 1<<32 - 1}}} {
		if err := m.Check(); err != nil {
			t.Errorf("%v: %v", m, err)
		}
	}
	for _, m := range []Map{{{0, 1, 0}}, {{1 << 31, 0, 1 << 31}}, {{0, 1 << 31, 1 << 31}}, {{0, 10, 5}, {4, 20, 1}}, {{0, 10, 5}, {5, 14, 1}}} {
		if m.Check() == nil {
			t.Errorf("%v passes", m)
		}
	}
}

func TestInsideOutside(t *testing.T) {
	t.Parallel()
	ids := &IDs{UIDs: Map{{0, 100000, 1000}, {1000, 7, 1}}, GIDs: Map{{0, 200000, 10}}}
	for _, tt := range []struct{ uid, gid, u, g int }{{0, 0, 100000, 200000}, {999, 9, 100999, 200009}, {1000, -1, 7, -1}, {-1, 3, -1, 200003}} {
		u, g, err := ids.Outside(tt.uid, tt.gid)
		if u != tt.u || g != tt.g || err != nil {
			t.Errorf("%v: got %d:%d, %v", tt, u, g, err)
		}
		if tt.uid < 0 || tt.gid < 0 {
			continue
		}
		if u, g := ids.Inside(uint32(tt.u), uint32(tt.g)); int(u) != tt.uid || int(g) != tt.gid {
			t.Errorf("%v: back are %d:%d", tt, u, g)
		}
	}
	if _, _, err := ids.Outside(1001, 0); err == nil {
		t.Error("a user without a number is no error")
	}
	if _, _, err := ids.Outside(0, 10); err == nil {
		t.Error("a group without a number is no error")
	}
	if u, g := ids.Inside(0, 1000); u != 0 || g != 1000 {
		t.Errorf("owners that the maps have not became %d:%d", u, g)
	}
	var none *IDs
	if u, g, err := none.Outside(5, 6); u != 5 || g != 6 || err != nil {
		t.Errorf("no maps: got %d:%d, %v", u, g, err)
	}
}

func TestCapability(t *testing.T) {
	t.Parallel()
	ids := &IDs{UIDs: Map{{0, 100000, 1000}}, GIDs: Map{{0, 100000, 1000}}}
	v2 := binary.LittleEndian.AppendUint32(nil, revision2|1)
	v2 = append(v2, make([]byte, 16)...)
	v2[5] = 4
	v3 := ids.CapabilityOutside(v2)
	if len(v3) != size3 || binary.LittleEndian.Uint32(v3) != revision3|1 || binary.LittleEndian.Uint32(v3[rootIDAt:]) != 100000 || !slices.Equal(v3[4:rootIDAt], v2[4:]) {
		t.Errorf("on disk: % x", v3)
	}
	if back := ids.CapabilityInside(v3); !slices.Equal(back, v2) {
		t.Errorf("back: % x", back)
	}
	binary.LittleEndian.PutUint32(v3[rootIDAt:], 100005) // for root of a namespace inside the container's
	if got := ids.CapabilityInside(v3); binary.LittleEndian.Uint32(got[rootIDAt:]) != 5 {
		t.Errorf("another root: % x", got)
	}
	for _, odd := range [][]byte{nil, {1}, v2[:19]} {
		if got := ids.CapabilityInside(ids.CapabilityOutside(odd)); !slices.Equal(got, odd) {
			t.Errorf("% x became % x", odd, got)
		}
	}
}
