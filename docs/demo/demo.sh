#!/bin/sh
# demo.sh SLIPWAY: builds an image twice, runs commands in both, writes an OCI
# archive, and says what it did. The store is a directory of its own, so nothing on
# the machine changes; DEMO_DIR names another one.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
binary=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
dir=${DEMO_DIR:-${TMPDIR:-/tmp}/slipway-demo-$(id -u)}

export SLIPWAY_ROOT="$dir/root" SLIPWAY_RUNROOT="$dir/runroot"
mkdir -p "$dir/bin"
ln -sfn "$binary" "$dir/bin/slipway"
export PATH="$dir/bin:$PATH"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# report IMAGE: its ID, size and layers.
report() {
	slipway images --no-trunc --format 'image   {{.Name}}:{{.Tag}}
ID      {{.ID}}
size    {{.Size}}' "$1"
	slipway inspect --type image --format '{{range .OCIv1.RootFS.DiffIDs}}layer   {{.}}
{{end}}' "$1"
}

# try IMAGE COMMAND…: runs a command in a container of the image.
try() {
	image=$1
	shift
	c=$(slipway from "$image")
	slipway run "$c" -- "$@"
	slipway rm "$c" >/dev/null
}

say "1. A root file system from this machine's own shell and tools"
rm -rf "$dir/rootfs"
"$here/rootfs.sh" "$dir/rootfs" sh cat sort uniq head uname ls id
echo "$(ls "$dir/rootfs/bin" | wc -l) programs and their libraries, $(du -sh "$dir/rootfs" | cut -f1)"

say "2. An image from a script of primitives: docs/demo/script.sh"
"$here/script.sh" "$dir/rootfs" slipway-demo/script
report slipway-demo/script
echo "its command prints:"
try slipway-demo/script sh -c 'echo $GREETING; cat /etc/motd' | sed 's/^/    /'

say "3. An image from a Dockerfile: docs/demo/context/Dockerfile"
slipway build --build-arg BASE=slipway-demo/script -t slipway-demo/dockerfile "$here/context"
report slipway-demo/dockerfile
echo "its command prints:"
try slipway-demo/dockerfile /bin/report | sed 's/^/    /'

say "4. An OCI archive that other tools read"
rm -f "$dir/demo.tar"
slipway push -q slipway-demo/dockerfile "oci-archive:$dir/demo.tar"
ls -l "$dir/demo.tar"

# Storage keeps its directory mounted on itself for root; for a user the mount is gone
# with the namespace, but files may belong to ids that only the namespace has.
remove="$binary unshare rm -rf $dir"
[ "$(id -u)" != 0 ] || remove="umount -q $dir/root/overlay; rm -rf $dir"

say "Done. How to run it:"
cat <<EOF
    podman run --rm oci-archive:$dir/demo.tar
    skopeo copy oci-archive:$dir/demo.tar docker-daemon:demo:latest && docker run --rm demo
or with Slipway alone:
    export SLIPWAY_ROOT=$SLIPWAY_ROOT SLIPWAY_RUNROOT=$SLIPWAY_RUNROOT
    c=\$($binary from slipway-demo/dockerfile); $binary run \$c -- /bin/report
To remove everything:
    $remove
EOF
