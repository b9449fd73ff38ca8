package builder

import (
	"testing"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
)

// What is told is the sum over blobs, as far as they are known; what is here already does not count, nor does what has no size.
func TestCounting(t *testing.T) {
	t.Parallel()
	var told [][2]int64
	events, end := counting(func(done, total int64) { told = append(told, [2]int64{done, total}) })
	event := func(kind types.ProgressEvent, name string, size int64, offset uint64) {
		events <- types.ProgressProperties{Event: kind, Artifact: types.BlobInfo{Digest: digest.FromString(name), Size: size}, Offset: offset}
	}
	event(types.ProgressEventSkipped, "here", 1000, 0)
	event(types.ProgressEventNewArtifact, "a", 10, 0)
	event(types.ProgressEventRead, "a", 10, 4)
	event(types.ProgressEventNewArtifact, "b", -1, 0)
	event(types.ProgressEventRead, "b", -1, 7)
	event(types.ProgressEventDone, "a", 10, 10)
	end()
	want := [][2]int64{{0, 10}, {4, 10}, {4, 10}, {11, 17}, {17, 17}}
	if len(told) != len(want) {
		t.Fatalf("told %v instead of %v", told, want)
	}
	for i := range want {
		if told[i] != want[i] {
			t.Errorf("told %v instead of %v", told, want)
		}
	}
	if events, end := counting(nil); events != nil || end == nil {
		t.Error("who is not told anything is asked to be")
	}
}
