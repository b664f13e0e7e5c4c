#!/usr/bin/env bash
# Prints the path of an archive with the files of a Debian: its essential packages and those of the
# argument, as in make,git. The cache keeps the archive. Suite and mirror are those of this machine
# if it is a Debian. Needs root and debootstrap.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
import_caller
packages=$1
cache=${KVIP_CACHE:-${XDG_CACHE_HOME:-$(user_home)/.cache}/kvip}

suite=bookworm mirror=''
if grep -qx 'ID=debian' /etc/os-release; then
	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
	# debootstrap does not read mirror lists
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $suite" |
		grep -m 1 -E '^https?://' || true)
fi
tar=$cache/debian-$suite-$(printf %s "$packages" | sha256sum | cut -c 1-10).tar
if [ ! -e "$tar" ]; then
	say "installing Debian $suite into an empty directory (about 2 minutes) ..."
	as_user mkdir -p "$cache"
	work=$(mktemp -d "$cache/debian.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	debootstrap --variant=minbase --include="$packages" "$suite" "$work/root" \
		${mirror:+"$mirror"} >"$work/log" 2>&1 ||
		{ tail -n 20 "$work/log" >&2 && exit 1; }
	rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/* \
		"$work"/root/usr/share/{doc,man,locale}
	tar -C "$work/root" -cf "$tar.part" .
	mv "$tar.part" "$tar"
fi
echo "$tar"
