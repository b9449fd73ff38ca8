#!/bin/sh
# Runs each fuzz target of the module for the time given (Go fuzzes one at a time).
set -eu
cd "$(dirname "$0")/.."
tags=-tags=containers_image_openpgp,exclude_graphdriver_btrfs
git ls-files '*_test.go' | xargs grep -o '^func Fuzz[A-Za-z0-9_]*' | sort -u |
while IFS=: read -r file name; do
	name=${name#func }
	echo "fuzz: $(dirname "$file") $name"
	go test $tags -run '^$' -fuzz "^$name\$" -fuzztime "$1" "./$(dirname "$file")"
done
