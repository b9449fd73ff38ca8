// Package builder holds the primitives that Slipway is made of: working containers over
// containers/storage, and the images that go into and come out of them.
//
// A [Store] is an open containers/storage plus the policies every operation needs. From it come
// [Container] (a named, persistent working container: from, copy, run, config, commit, rm),
// [Workspace] (the same without a name or a record: what a Dockerfile build works in) and [Image].
// Everything a Dockerfile build does is done through these, so a script of commands can do it too.
//
// A program that uses this package begins with a call of [github.com/slipway-build/slipway/builder/reexec.Init].
//
// The package knows nothing of Dockerfiles (package imagebuildah does) and nothing of flags (cmd/slipway
// does). Start reading at store.go, then container.go and commit.go.
package builder
