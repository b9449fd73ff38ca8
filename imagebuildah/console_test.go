package imagebuildah

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever the order of writes, the output is that of one stage after the other.
func TestConsoleOrder(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := consoleOf(&out, &out, 3)
	say := func(n, to int, text string) { fmt.Fprint(stream{c.list[n], to}, text) }
	say(2, 0, "c")
	say(1, 1, "b")
	say(0, 0, "a")
	c.list[1].close()
	if out.String() != "a" {
		t.Errorf("before the first stage's end: %q", out.String())
	}
	c.list[0].close()
	say(2, 1, "d")
	c.list[2].close()
	if out.String() != "abcd" {
		t.Errorf("got %q", out.String())
	}
}

// A failure shows what the failed stage printed, and nothing after it.
func TestConsoleFail(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := consoleOf(&out, nil, 3)
	for n, text := range []string{"a", "b", "c"} {
		fmt.Fprint(stream{c.list[n], 0}, text)
	}
	c.list[2].fail()
	c.list[0].fail()
	fmt.Fprint(stream{c.list[0], 0}, "more")
	if out.String() != "ac" {
		t.Errorf("got %q", out.String())
	}
}

// However much a stage prints before its turn, it does not wait, and all is printed in its order; what can be kept nowhere is printed at once.
func TestConsoleMuch(t *testing.T) {
	for name, dir := range map[string]string{"kept": t.TempDir(), "nowhere to keep it": filepath.Join(t.TempDir(), "missing")} {
		t.Setenv("TMPDIR", dir)
		var got, want bytes.Buffer
		c := consoleOf(&got, &got, 2)
		text := strings.Repeat("x", maxKept/16)
		for n := range 100 {
			piece := fmt.Sprintf("%d %s\n", n, text[:len(text)-n])
			fmt.Fprint(stream{c.list[1], n % 2}, piece)
			want.WriteString(piece)
		}
		if kept := name == "kept"; kept != (got.Len() == 0) {
			t.Errorf("%s: %d bytes were printed before its turn", name, got.Len())
		}
		if used := c.list[1].kept.size; used > maxKept {
			t.Errorf("%s: %d bytes in memory", name, used)
		}
		c.list[0].close()
		c.list[1].close()
		if !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("%s: %d bytes were printed, not %d", name, got.Len(), want.Len())
		}
		c.discard()
	}
}

func consoleOf(out, err io.Writer, parts int) *console {
	c := &console{}
	for range parts {
		c.add(out, err)
	}
	return c
}
