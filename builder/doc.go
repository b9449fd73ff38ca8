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
// does). Start reading at store.go, then container.go and commit.go. The other files, by what they are about:
//
//   - what is asked for and what goes wrong: options, platform, errors
//   - the storage and its upkeep: store, ownership, live, claim, scratch, reserve, host, info, examine, diskuse, prune, deeptrees
//   - containers: container, workspace, from, keep, view, inspect, remove
//   - user namespaces of containers: users, usersof, shifted, remap
//   - copying: copy, copydigest, fetch, credentials, linked
//   - running: run, sandbox, defaults, selinux, runfiles, runnames, runnetwork, runusers, runhooks, runforeign, runinterpreter, runoutput, runterminal, runstubs, runbelow
//   - mounts of a command: mount, mountbind, mountcontext, mountowners, mountcache, cachemounts, mountmemory, mountsecret, mountsconf
//   - committing: commit, commitdraft, commitfiles, committo, committed, sbom, sign, encryption, windows
//   - images: image, names, history, saveload, export, exportplatforms, platforms
//   - copying images in: pull, pullprogress, policy, localsource, ocilayout, ociarchive, unpackdest, staging
//   - copying images out: push, pushhere, relay, archivefile, artifact, sourceimages
//   - registries: transfer, daemon, authfile, login, blobs, blobdest, chunked, remote
//   - manifest lists: index, indexbuild, indexedit, indexmember, indexsource, onceindex
//   - the build cache: layer, stepnote, remotecache, remotechain, remotelayout, remotesweep, remoteplace, remotemounts
package builder
