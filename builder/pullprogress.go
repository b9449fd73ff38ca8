package builder

import (
	"time"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
)

// tellEach is how often a copy tells how far it is.
const tellEach = 300 * time.Millisecond

// counting makes of what the image library says of each blob what there is of the whole (PullOptions.Progress). The caller calls end when the copy has
// ended; nothing is told after that.
func counting(tell func(done, total int64)) (events chan types.ProgressProperties, end func()) {
	if tell == nil {
		return nil, func() {}
	}
	events = make(chan types.ProgressProperties)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		var count blobCount
		for {
			select {
			case e := <-events:
				if done, total := count.add(e); total > 0 {
					tell(done, total)
				}
			case <-stop:
				return
			}
		}
	}()
	return events, func() { close(stop); <-stopped }
}

// A blobCount knows how much there is of each blob.
type blobCount struct{ done, size map[digest.Digest]int64 }

func (c *blobCount) add(e types.ProgressProperties) (done, total int64) {
	if c.done == nil {
		c.done, c.size = map[digest.Digest]int64{}, map[digest.Digest]int64{}
	}
	if e.Event != types.ProgressEventSkipped {
		c.done[e.Artifact.Digest] = int64(e.Offset) //nolint:gosec // sizes of blobs fit
		c.size[e.Artifact.Digest] = max(e.Artifact.Size, int64(e.Offset))
	}
	for d, n := range c.size {
		done, total = done+c.done[d], total+n
	}
	return done, total
}
