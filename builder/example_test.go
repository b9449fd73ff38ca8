package builder_test

import (
	"context"
	"fmt"
	"os"

	"github.com/slipway-build/slipway/builder"
)

// A working container from beginning to end, in a program that begins as package reexec says. docs/library.md shows this function; it is compiled, not run, by the tests.
func Example() {
	ctx := context.Background()
	store, err := builder.Open(builder.StoreOptions{Environ: os.LookupEnv})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	work, err := store.From(ctx, "docker.io/library/debian:bookworm", builder.FromOptions{})
	if err != nil {
		panic(err)
	}
	dir, err := work.Mount()
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile(dir+"/etc/motd", []byte("hello\n"), 0o644); err != nil {
		panic(err)
	}
	if _, err := work.Unmount(); err != nil {
		panic(err)
	}
	image, err := work.Commit(ctx, []string{"app"}, builder.CommitOptions{Remove: true})
	if err != nil {
		panic(err)
	}
	fmt.Println(image.ID())
}
