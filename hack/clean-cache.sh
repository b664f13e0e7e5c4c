#!/usr/bin/env bash
# Removes kvip's cache, and stops the Docker engines in it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
no_arguments "$@"
import_caller
cache=${KVIP_CACHE:-${XDG_CACHE_HOME:-$(user_home)/.cache}/kvip}

# Engines and node images are files of root, also in the cache of the user who called sudo.
if [ "$(id -u)" != 0 ] &&
	[ -n "$(find "$cache" ! -user "$(id -u)" -print -quit 2>/dev/null)" ]; then
	say "$cache has files of root: sudo make clean-cache"
	exit 1
fi
for engine in "$cache"/docker-*/; do
	if [ -d "$engine" ]; then "${root:?}/kind/docker.sh" remove "$engine"; fi
done
rm -rf "$cache"
