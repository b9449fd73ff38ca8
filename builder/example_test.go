package builder_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/builder/source"
	"github.com/slipway-build/slipway/copier/rootfs"
)

// A working container from beginning to end, in a program that begins as package reexec says. docs/library.md shows this function; it is
// compiled, not run, by the tests.
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

// What can be done with a container besides. docs/library.md shows this function too.
func ExampleContainer() {
	ctx := context.Background()
	var store *builder.Store    // of builder.Open
	var work *builder.Container // of store.From
	site, err := rootfs.Open("site", rootfs.Apply)
	if err != nil {
		panic(err)
	}
	defer site.Close()
	files := source.Dir(site, "site", "*.html", "images")
	if _, err := work.Copy(ctx, "/var/www/", files, builder.CopyOptions{Chown: "www-data"}); err != nil {
		panic(err)
	}
	err = work.Run(ctx, []string{"nginx", "-t"}, builder.RunOptions{Stdio: builder.Stdio{Out: os.Stdout, Err: os.Stderr}})
	var exit *builder.ExitError
	if errors.As(err, &exit) {
		fmt.Println("nginx does not like it:", exit.Code)
	}
	if err := work.Configure(config.Port("80/tcp"), config.Cmd([]string{"nginx", "-g", "daemon off;"})); err != nil {
		panic(err)
	}
	if _, err := work.Commit(ctx, []string{"web"}, builder.CommitOptions{}); err != nil {
		panic(err)
	}
	digest, err := store.Push(ctx, "web", "docker://registry.example/web:1", builder.PushOptions{})
	if err != nil {
		panic(err)
	}
	fmt.Println(digest)
}
