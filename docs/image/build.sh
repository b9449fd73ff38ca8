#!/bin/sh
# build.sh SLIPWAY [NAME]: builds Slipway's own image with Slipway. CA_CERTIFICATES names another bundle.
set -eu
slipway=$1
name=${2:-localhost/slipway:latest}
here=$(dirname "$0")
bundle=${CA_CERTIFICATES:-/etc/ssl/certs/ca-certificates.crt}
[ -r "$bundle" ] || { echo "image: no CA certificates at $bundle: install ca-certificates or set CA_CERTIFICATES" >&2; exit 1; }
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
umask 022
chmod 755 "$context"
mkdir -p "$context/usr/bin" "$context/etc/ssl/certs" "$context/tmp" "$context/var/lib/slipway"
chmod 1777 "$context/tmp" "$context/var/lib/slipway"
cp "$slipway" "$context/usr/bin/slipway"
cp "$bundle" "$context/etc/ssl/certs/ca-certificates.crt"
chmod 755 "$context/usr/bin/slipway"
chmod 644 "$context/etc/ssl/certs/ca-certificates.crt"
"$slipway" bud -q --timestamp "$(git -C "$here" log -1 --format=%ct 2>/dev/null || echo 0)" -t "$name" -f "$here/Dockerfile" "$context"
