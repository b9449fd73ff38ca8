package layer

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkCommit commits 50,000 small files and 200 MB of large ones; cpu-s/op is the processor time of the
// process, storage's part included.
func BenchmarkCommit(b *testing.B) {
	contents := map[string]func(testing.TB, string){"files=50000": manyFiles, "size=200MB": largeFiles}
	for name, fill := range contents {
		for _, v := range variants {
			b.Run(fmt.Sprintf("%s/%s/move=%v", name, v.driver, v.move), func(b *testing.B) {
				st := openStore(b, v.driver)
				tmp := b.TempDir()
				used := 0.0
				for range b.N {
					b.StopTimer()
					l, err := st.CreateLayer("", "", nil, "", true, nil)
					must(b, err)
					root, err := st.Mount(l.ID, "")
					must(b, err)
					fill(b, root)
					_, err = st.Unmount(l.ID, false)
					must(b, err)
					unix.Sync()
					b.StartTimer()
					before := cpu(b)
					res := mustCommit(b, st, l.ID, "", Options{Move: v.move, TempDir: tmp})
					used += cpu(b) - before
					b.StopTimer()
					must(b, st.DeleteLayer(l.ID), st.DeleteLayer(res.ID))
					b.StartTimer()
				}
				b.ReportMetric(used/float64(b.N), "cpu-s/op")
			})
		}
	}
}

// BenchmarkTar is the walk, the tar, its digest and the tar-split records alone.
func BenchmarkTar(b *testing.B) {
	for name, fill := range map[string]func(testing.TB, string){"files=50000": manyFiles, "size=200MB": largeFiles} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			fill(b, dir)
			used := cpu(b)
			b.ResetTimer()
			for range b.N {
				tarOf(b, dir, Options{})
			}
			b.ReportMetric((cpu(b)-used)/float64(b.N), "cpu-s/op")
		})
	}
}

func cpu(b *testing.B) float64 {
	var self, children unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &self), unix.Getrusage(unix.RUSAGE_CHILDREN, &children))
	sum := 0.0
	for _, t := range []unix.Timeval{self.Utime, self.Stime, children.Utime, children.Stime} {
		sum += float64(t.Sec) + float64(t.Usec)/1e6
	}
	return sum
}

func manyFiles(t testing.TB, root string) {
	text := make([]byte, 2000)
	for i := range 500 {
		dir := filepath.Join(root, fmt.Sprintf("dir%d", i))
		must(t, os.Mkdir(dir, 0o755))
		for j := range 100 {
			must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%d", j)), text[:1000+10*j], 0o644))
		}
	}
}

func largeFiles(t testing.TB, root string) {
	text := make([]byte, 4<<20)
	for i := range text {
		text[i] = byte(i * i >> 7)
	}
	for i := range 50 {
		must(t, os.WriteFile(filepath.Join(root, fmt.Sprintf("file%d", i)), text, 0o644))
	}
}
