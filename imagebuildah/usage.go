package imagebuildah

import (
	"fmt"
	"io"
	"time"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"
)

// usage is what this process and its children have used so far.
type usage struct {
	at           time.Time
	user, system time.Duration
	in, out      int64 // bytes of block devices
}

func (b *build) usage() usage {
	u := usage{at: b.s.Now()}
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var r unix.Rusage
		if unix.Getrusage(who, &r) != nil {
			continue // does not happen for these two
		}
		u.user += time.Duration(r.Utime.Nano())
		u.system += time.Duration(r.Stime.Nano())
		u.in += r.Inblock * 512
		u.out += r.Oublock * 512
	}
	return u
}

// used prints what has been used since start (exact.md §11.2.4). Steps of stages that are built side by side count each other's.
func (st *stage) used(start usage) {
	if !st.b.o.LogUsage {
		return
	}
	now := st.b.usage()
	short := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	text := fmt.Sprintf("%s(system) %s(user) %s(elapsed) %s input %s output\n", short(now.system-start.system), short(now.user-start.user),
		short(now.at.Sub(start.at)), units.HumanSize(float64(now.in-start.in)), units.HumanSize(float64(now.out-start.out)))
	if w := st.b.o.Usage; w != nil {
		st.b.watching.Lock()
		defer st.b.watching.Unlock()
		_, _ = io.WriteString(w, text) // the build goes on
		return
	}
	st.printf("%s", text)
	st.event(Event{Kind: "usage", Text: text})
}
