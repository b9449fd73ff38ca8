#!/bin/sh
# rootfs.sh DIR PROGRAM…: a small root file system from this machine's own programs
# and the libraries that ldd names. It needs no network and no privilege.
set -eu
dir=$1
shift
mkdir -p "$dir/bin" "$dir/etc" "$dir/tmp" "$dir/usr"
ln -sfn ../bin "$dir/usr/bin"
echo 'root:x:0:0:root:/:/bin/sh' >"$dir/etc/passwd"
echo 'root:x:0:' >"$dir/etc/group"
for name in "$@"; do
	program=$(command -v "$name")
	cp -L "$program" "$dir/bin/$name"
	for library in $(ldd "$program" 2>/dev/null | grep -o '/[^ ]*'); do
		mkdir -p "$dir${library%/*}"
		[ -e "$dir$library" ] || cp -L "$library" "$dir$library"
	done
done
chmod -R go=u,go-w "$dir"
chmod 1777 "$dir/tmp"
