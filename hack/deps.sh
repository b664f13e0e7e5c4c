#!/usr/bin/env bash
# Installs the Debian packages named as arguments, those that are missing. Without root or apt-get
# it says which are missing and how to get them.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
import_caller

missing=()
for package in "$@"; do
	if command -v dpkg-query >/dev/null; then
		if dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed; then continue; fi
	else # not a Debian: judge by the command
		case $package in
		gcc) if command -v gcc >/dev/null; then continue; fi ;;
		libc6-dev) if [ -e /usr/include/stdio.h ]; then continue; fi ;;
		iproute2) if command -v ip >/dev/null; then continue; fi ;;
		prometheus) if command -v promtool >/dev/null && command -v prometheus >/dev/null; then continue; fi ;;
		procps) if command -v pgrep >/dev/null; then continue; fi ;;
		*) if command -v "$package" >/dev/null; then continue; fi ;;
		esac
	fi
	missing+=("$package")
done
if [ ${#missing[@]} = 0 ]; then exit 0; fi

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	say "missing packages: ${missing[*]}; install them, as with: sudo apt-get install ${missing[*]}"
	exit 1
fi
say "installing ${missing[*]} ..."
export DEBIAN_FRONTEND=noninteractive
# The tests start the programs that they need. A package must not start its service, now or at boot.
policy=/usr/sbin/policy-rc.d
case " ${missing[*]} " in
*' prometheus '*)
	if [ ! -e "$policy" ]; then
		trap 'rm -f "$policy"' EXIT
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi
	;;
*) policy='' ;;
esac
install=(apt-get install -y -qq --no-install-recommends "${missing[@]}")
if ! "${install[@]}" >/dev/null 2>&1; then # the package lists may be old or absent
	apt-get update -qq >&2
	"${install[@]}" >&2
fi
if [ -n "$policy" ] && [ -d /run/systemd/system ]; then systemctl disable -q prometheus; fi
