// Command library is the program of docs/library.md: a build from a Dockerfile and a command in a container of its image, with nothing but
// the packages that other programs may import.
package main

import (
	"context"
	"errors"
	"log"
	"os"
	"strings"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/reexec"
	"github.com/slipway-build/slipway/imagebuildah"
)

const dockerfile = `
FROM docker.io/library/alpine
COPY greeting /
RUN echo "from $(id -un)" >>/greeting
`

func main() {
	reexec.Init() // first of all: see its comment
	if err := reexec.Enter(); err != nil {
		log.Fatal(err)
	}
	if err := build(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func build(ctx context.Context) (err error) {
	store, err := builder.Open(builder.StoreOptions{Environ: os.LookupEnv})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	built, err := imagebuildah.Build(ctx, store, imagebuildah.Options{
		Context: ".", File: strings.NewReader(dockerfile), Name: "Dockerfile", Tags: []string{"greeting"},
		Out: os.Stderr, Err: os.Stderr,
	})
	if err != nil {
		return err
	}
	work, err := store.From(ctx, built.Images[0].ID(), builder.FromOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, work.Remove()) }()
	return work.Run(ctx, []string{"cat", "/greeting"}, builder.RunOptions{Stdio: builder.Stdio{Out: os.Stdout, Err: os.Stderr}})
}
