#!/bin/sh
# script.sh ROOTFS IMAGE: an image from a script of primitives. Each line is one
# ordinary command; between them you can do what you like, with any tool.
set -eu

c=$(slipway from scratch)                          # a working container, empty
slipway copy -q "$c" "$1" /                        # files of the host
slipway run "$c" -- sh -c 'echo "made by a script on $(uname -s)" >/etc/motd'
slipway config --env GREETING=hello --label demo=script \
	--cmd '["/bin/sh", "-c", "echo $GREETING; cat /etc/motd"]' "$c"
slipway commit -q --rm "$c" "$2"                   # the image; the container is spent
