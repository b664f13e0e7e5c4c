#!/usr/bin/env bash
# Removes everything that kvip keeps in its cache, and ends the Docker engines of our own that live there.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
import_caller
cache=${KVIP_CACHE:-${XDG_CACHE_HOME:-$(user_home)/.cache}/kvip}

# Root makes engines and node images, also in the cache of the user who called sudo.
if [ "$(id -u)" != 0 ] && [ -n "$(find "$cache" ! -user "$(id -u)" -print -quit 2>/dev/null)" ]; then
	say "some of $cache is root's: sudo make clean-cache"
	exit 1
fi
for engine in "$cache"/docker-*/; do
	if [ -d "$engine" ]; then "${root:?}/kind/docker.sh" remove "$engine"; fi
done
rm -rf "$cache"
