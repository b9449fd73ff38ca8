#!/bin/sh
# Prepares a Debian machine for `make test`: as root it installs the tools that
# the checks compare with and makes two ordinary users, one with subordinate id
# ranges and one without. As an ordinary user it does nothing, and the checks
# that miss something say SKIP.
set -eu
[ "$(id -u)" = 0 ] || exit 0
export DEBIAN_FRONTEND=noninteractive

# program:package
needed="buildah:buildah podman:podman skopeo:skopeo umoci:umoci runc:runc crun:crun
mmdebstrap:mmdebstrap docker-registry:docker-registry newuidmap:uidmap gcc:gcc gencat:libc6-dev
containerd:containerd pasta:passt slirp4netns:slirp4netns ip:iproute2 /usr/lib/cni/ptp:containernetworking-plugins
/usr/lib/podman/netavark:netavark iptables:iptables bzip2:bzip2 xz:xz-utils useradd:passwd setpriv:util-linux strace:strace git:git cpp:cpp gpg:gpg openssl:openssl
mksquashfs:squashfs-tools fakeroot:fakeroot"

missing=
for pair in $needed; do
	command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
if [ -n "$missing" ] && command -v apt-get >/dev/null; then
	echo "setup: installing$missing"
	apt-get update -qq || echo "setup: apt-get update failed; trying with the lists at hand"
	# One by one: a package that this Debian lacks costs its own checks only.
	for package in $missing; do
		apt-get install -y -qq --no-install-recommends "$package" >/dev/null || echo "setup: no package $package"
	done
fi

# Their names are known to tests/harness.
id slipway-ranges >/dev/null 2>&1 || useradd --shell /bin/sh --home-dir /nonexistent slipway-ranges
grep -q '^slipway-ranges:' /etc/subuid 2>/dev/null || usermod --add-subuids 600000-665535 --add-subgids 600000-665535 slipway-ranges
id slipway-single >/dev/null 2>&1 || useradd --shell /bin/sh --home-dir /nonexistent -K SUB_UID_COUNT=0 -K SUB_GID_COUNT=0 slipway-single
