#!/usr/bin/env bash
# Installs the missing Debian packages of the lines of hack/packages that the arguments name.
# Without root or apt-get it reports which packages are missing and how to install them.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
import_caller

# list NAME prints the words of a line, with those of the lines that it refers to.
list() {
	local words word
	words=$(sed -n "s/^$1: *//p" "${root:?}/hack/packages")
	[ -n "$words" ] || { say "hack/packages has no line $1" && return 1; }
	for word in $words; do
		case $word in
		@*) list "${word#@}" || return 1 ;;
		*) printf '%s\n' "$word" ;;
		esac
	done
}

# present PACKAGE reports whether it is installed or, without dpkg, whether its program or file
# exists.
present() {
	if command -v dpkg-query >/dev/null; then
		dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
		return
	fi
	case $1 in
	apache2-utils) command -v ab ;;
	bird2) command -v bird ;;
	debian-archive-keyring) [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] ;;
	frr) [ -x /usr/lib/frr/bgpd ] ;;
	iproute2) command -v ip ;;
	libc6-dev) [ -e /usr/include/stdio.h ] ;;
	libseccomp-dev) [ -e /usr/include/seccomp.h ] ;;
	openbgpd) command -v bgpctl ;;
	procps) command -v pgrep && command -v sysctl ;;
	prometheus) command -v promtool && command -v prometheus ;;
	*) command -v "$1" ;;
	esac >/dev/null
}

# lacking WORD... sets missing to the packages of these words that are not installed.
lacking() {
	local word
	missing=()
	for word in "$@"; do
		case $word in
		*\?*) command -v "${word#*\?}" >/dev/null || missing+=("${word%\?*}") ;;
		*) present "$word" || missing+=("$word") ;;
		esac
	done
	[ ${#missing[@]} != 0 ]
}

# install_missing installs them without starting their services: the commands start those they need.
install_missing() {
	local policy=/usr/sbin/policy-rc.d service
	local install=(apt-get install -y -qq --no-install-recommends "${missing[@]}")
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		say "missing packages: ${missing[*]}; install them: sudo apt-get install ${missing[*]}"
		exit 1
	fi
	say "installing ${missing[*]} ..."
	export DEBIAN_FRONTEND=noninteractive
	if [ ! -e "$policy" ]; then
		trap 'rm -f /usr/sbin/policy-rc.d' EXIT
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi
	if ! "${install[@]}" >/dev/null 2>&1; then # the package lists may be old or absent
		apt-get update -qq >&2
		"${install[@]}" >&2
	fi
	# not at boot either
	for service in keepalived prometheus frr bird gobgpd openbgpd exabgp; do
		case " ${missing[*]/bird2/bird} " in
		*" $service "*) if [ -d /run/systemd/system ]; then systemctl disable -q "$service"; fi ;;
		esac
	done
}

packages=() unless_there=()
for name in "$@"; do
	words=$(list "$name")
	for word in $words; do
		case $word in
		*\?*) unless_there+=("$word") ;;
		*) packages+=("$word") ;;
		esac
	done
done
if lacking "${packages[@]}"; then install_missing; fi
for word in "${unless_there[@]}"; do # one by one: a package may contain the program of the next
	if lacking "$word"; then install_missing; fi
done
