package imagebuildah_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/imagebuildah"
)

// A build from a Dockerfile that is a string, in a program that begins as package reexec says. docs/library.md shows this function; it is compiled, not run, by the tests.
func ExampleBuild() {
	store, err := builder.Open(builder.StoreOptions{Environ: os.LookupEnv})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	result, err := imagebuildah.Build(context.Background(), store, imagebuildah.Options{
		Context: ".",
		File:    strings.NewReader("FROM scratch\nCOPY . /app\n"), Name: "Dockerfile",
		Tags: []string{"app"},
		Out:  os.Stdout, Err: os.Stderr,
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(result.Images[0].ID())
}
