package imagebuildah

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
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

// A stage that prints more than is kept waits for its turn, and goes on.
func TestConsoleFull(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := consoleOf(&out, nil, 2)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 6 {
			fmt.Fprint(stream{c.list[1], 0}, strings.Repeat("x", 1<<20))
		}
		c.list[1].close()
	})
	c.list[0].close()
	wg.Wait()
	if out.Len() != 6<<20 {
		t.Errorf("%d bytes", out.Len())
	}
}

// A stage that another one waits for, and one of a build that is being ended, does not wait for its turn.
func TestConsoleHurried(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("x", 1<<20)
	for name, goOn := range map[string]func(*console){
		"hurried": func(c *console) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := c.list[1].await(ctx, make(chan struct{})); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		},
		"stopped": (*console).stop,
	} {
		var out bytes.Buffer
		c := consoleOf(&out, nil, 2)
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 6 {
				fmt.Fprint(stream{c.list[1], 0}, text)
			}
			c.list[1].close()
		})
		goOn(c)
		wg.Wait() // for ever, if it waits for the first stage
		c.list[0].close()
		if hurried := name == "hurried"; hurried != (out.Len() == 6<<20) {
			t.Errorf("%s: %d bytes", name, out.Len())
		}
	}
}

func consoleOf(out, err io.Writer, parts int) *console {
	c := &console{}
	for range parts {
		c.add(out, err)
	}
	return c
}
