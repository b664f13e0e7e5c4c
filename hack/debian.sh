#!/usr/bin/env bash
# Prints the path of a Debian with only its essential packages and those named as an argument, as in
# make,git: an archive of its files, which is kept in the cache. It is of this machine's own suite and
# mirror, where this machine is a Debian. It needs root, and debootstrap.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
import_caller
packages=$1
cache=${KVIP_CACHE:-${XDG_CACHE_HOME:-$(user_home)/.cache}/kvip}

suite=bookworm mirror=''
if grep -qx 'ID=debian' /etc/os-release; then
	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
	# debootstrap knows no mirror lists
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $suite" | grep -m 1 -E '^https?://' || true)
fi
tar=$cache/debian-$suite-$(printf %s "$packages" | sha256sum | cut -c 1-10).tar
if [ ! -e "$tar" ]; then
	say "installing Debian $suite into an empty folder (about 2 minutes) ..."
	as_user mkdir -p "$cache"
	work=$(mktemp -d "$cache/debian.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	debootstrap --variant=minbase --include="$packages" "$suite" "$work/root" ${mirror:+"$mirror"} >"$work/log" 2>&1 ||
		{ tail -n 20 "$work/log" >&2 && exit 1; }
	rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/* "$work"/root/usr/share/{doc,man,locale}
	tar -C "$work/root" -cf "$tar.part" .
	mv "$tar.part" "$tar"
fi
echo "$tar"
