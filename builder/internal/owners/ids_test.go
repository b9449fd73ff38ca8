package owners

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestOne: the rules of setuid(2); the same for groups.
func TestOne(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		s          set
		id         uint32
		privileged bool
		want       set
		errno      unix.Errno
	}{
		"root becomes a user for good": {all(0), 5, true, all(5), 0},
		"a user stays one":             {all(5), 5, false, all(5), 0},
		"and cannot go back":           {all(5), 0, false, all(5), unix.EPERM},
		"to the saved one":             {set{5, 5, 7, 5}, 7, false, set{5, 7, 7, 7}, 0},
		"not to the effective one":     {set{5, 6, 5, 6}, 6, false, set{5, 6, 5, 6}, unix.EPERM},
		"-1 is no id":                  {all(0), none, true, all(0), unix.EINVAL},
	} {
		if got, errno := c.s.one(c.id, c.privileged); got != c.want || errno != c.errno {
			t.Errorf("%s: %+v, %v", name, got, errno)
		}
	}
}

func TestTwo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		s          set
		r, e       int64
		privileged bool
		want       set
		errno      unix.Errno
	}{
		"nothing":                  {all(3), -1, -1, false, all(3), 0},
		"drop for a while":         {all(0), -1, 5, true, set{0, 5, 5, 5}, 0},
		"the same id keeps saved":  {set{5, 6, 7, 6}, -1, 5, false, set{5, 5, 7, 5}, 0},
		"swap":                     {set{5, 6, 6, 6}, 6, 5, false, set{6, 5, 5, 5}, 0},
		"real cannot be the saved": {set{5, 6, 7, 6}, 7, -1, false, set{5, 6, 7, 6}, unix.EPERM},
		"effective can":            {set{5, 6, 7, 6}, -1, 7, false, set{5, 7, 7, 7}, 0},
		"a stranger":               {all(5), -1, 9, false, all(5), unix.EPERM},
	} {
		if got, errno := c.s.two(c.r, c.e, c.privileged); got != c.want || errno != c.errno {
			t.Errorf("%s: %+v, %v", name, got, errno)
		}
	}
}

func TestThree(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		s          set
		r, e, v    int64
		privileged bool
		want       set
		errno      unix.Errno
	}{
		"apt's way down": {all(0), 42, 42, 42, true, all(42), 0},
		"and up again":   {all(42), 0, 0, 0, false, all(42), unix.EPERM},
		"rotate":         {set{1, 2, 3, 2}, 3, 1, 2, false, set{3, 1, 2, 1}, 0},
		"one is wrong":   {set{1, 2, 3, 2}, 3, 1, 9, false, set{1, 2, 3, 2}, unix.EPERM},
		"leave":          {set{1, 2, 3, 9}, -1, -1, -1, false, set{1, 2, 3, 2}, 0},
	} {
		if got, errno := c.s.three(c.r, c.e, c.v, c.privileged); got != c.want || errno != c.errno {
			t.Errorf("%s: %+v, %v", name, got, errno)
		}
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	if got := all(0).files(7, true); got.fs != 7 || got.e != 0 {
		t.Error(got)
	}
	if got := (set{1, 2, 3, 4}).files(9, false); got.fs != 4 {
		t.Error(got)
	}
	if got := (set{1, 2, 3, 4}).files(none, true); got.fs != 4 {
		t.Error(got)
	}
}

// TestKeep: setpriv sets the user first and the group with the capabilities that it kept; a program it starts has none.
func TestKeep(t *testing.T) {
	t.Parallel()
	i := identity{keep: true}.as(all(5))
	if !i.privileged() {
		t.Error("capabilities were not kept")
	}
	if i = i.run(0, 0, 0o755); i.privileged() || i.uid != all(5) {
		t.Errorf("after exec: %+v", i)
	}
	if i := (identity{}).as(all(5)); i.privileged() {
		t.Error("capabilities were kept unasked")
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	joe := identity{uid: all(5), gid: all(6)}
	if got := joe.run(0, 0, 0o4755); got.uid != (set{5, 0, 0, 0}) || got.gid != all(6) {
		t.Errorf("setuid: %+v", got)
	}
	if got := joe.run(0, 9, 0o2755); got.uid != all(5) || got.gid != (set{6, 9, 9, 9}) {
		t.Errorf("setgid: %+v", got)
	}
	if got := joe.run(0, 9, 0o2644); got.gid != all(6) {
		t.Errorf("setgid without execution is locking: %+v", got)
	}
}

func TestMayChown(t *testing.T) {
	t.Parallel()
	joe := identity{uid: all(5), gid: all(6), groups: []uint32{8}}
	for name, c := range map[string]struct {
		who          identity
		owner, group int
		uid, gid     int64
		cap          bool
		want         bool
	}{
		"root":                         {identity{}, 3, 4, 7, 8, true, true},
		"root without the capability":  {identity{}, 3, 4, 7, 8, false, false},
		"own file to own group":        {joe, 5, 6, -1, 8, true, true},
		"own file to another group":    {joe, 5, 6, -1, 9, true, false},
		"own file away":                {joe, 5, 6, 7, -1, true, false},
		"own file to oneself":          {joe, 5, 6, 5, 6, true, true},
		"somebody else's, no change":   {joe, 7, 6, 7, 6, true, false},
		"the group the file has, kept": {joe, 5, 9, -1, 9, true, true},
	} {
		if got := c.who.mayChown(c.owner, c.group, c.uid, c.gid, c.cap); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
