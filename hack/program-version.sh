#!/usr/bin/env bash
# Prints the version of the program in this tree: the last commit that changed the program, not its
# tests or documentation, and a hash of the files if they have uncommitted changes. Measurements are
# stored under this version, so a commit of their results does not outdate them. Prints nothing
# without git.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
files=(cmd pkg templates go.mod go.sum ':!*_test.go' ':!*/testdata/*')

commit=$(git log -1 --format=%h -- "${files[@]}" 2>/dev/null) || exit 0
if [ -n "$(git status --porcelain -- "${files[@]}")" ]; then
	hash=$(git ls-files -z -co --exclude-standard --deduplicate -- "${files[@]}" | sort -z |
		xargs -0 sha256sum 2>/dev/null | sha256sum)
	commit=$commit-dirty-${hash:0:7}
fi
printf '%s\n' "$commit"
