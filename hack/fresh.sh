#!/usr/bin/env bash
# Runs each command of the Makefile as the first command on a fresh machine: in a Debian with make,
# git and the Go of this machine only. A command runs until it would build Kubernetes, which needs
# no packages: by then its packages are installed, and code that needs a C compiler is compiled.
# Needs root and debootstrap. Files are in one directory, mounts and processes in namespaces that
# end with this script. If the kernel mounts no overlays, it reports that and exits with 77.
#
#   fresh.sh DIR             runs all commands, in a new directory of DIR
#   fresh.sh DIR COMMAND     runs one of them
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
import_caller

# COMMAND UNTIL PROGRAM...: the point where the test of a command ends, and the programs that the
# command runs later.
#   end    to its end
#   build  until it would build Kubernetes
#   vet    until it would vet; for make test, tests are compiled with the race detector then
#   test   until it would run tests, of which some are compiled
commands='help end
build end
stamp end
image end
echo-image end
manifests end
generate end
lint vet
check vet gcc spin
unit test gcc spin
fuzz test
simulate test
lab build gcc spin ip
golden test
kind-down end
clean end
clean-cache end
demo build ip
soak build ip bird vtysh
chaos build ip
bench-services build ip
bench-failover build ip keepalived curl bird vtysh
test vet gcc spin ip sysctl promtool prometheus dockerd docker debootstrap jq ab
kind build gcc dockerd docker ip iptables pgrep debootstrap jq ab
bench-kind build gcc dockerd docker ip iptables pgrep debootstrap jq ab
kind-node-image build gcc debootstrap jq
kind-demo build gcc dockerd docker ip iptables pgrep debootstrap jq
kind-services-demo build gcc dockerd docker ip iptables pgrep debootstrap jq ab
kind-bgp-demo build gcc dockerd docker ip iptables pgrep debootstrap jq'

# From here on in new namespaces: mounts and processes end with them.
if [ -z "${KVIP_FRESH:-}" ]; then
	[ "$(id -u)" = 0 ] || { say 'fresh.sh needs root' && exit 1; }
	mkdir -p "$1"
	KVIP_FRESH=$(mktemp -d "$(realpath "$1")/fresh.XXXXXX")
	trap 'rm -rf --one-file-system "$KVIP_FRESH"' EXIT
	GO=$(find_go)
	export KVIP_FRESH GO
	unshare --mount --pid --fork --kill-child "$0" "$@"
	exit
fi
dir=$KVIP_FRESH

go_env() { (cd "$root" && as_user "$GO" env "$1"); }
goroot=$(go_env GOROOT)

# go_wrapper prints the go command of the fresh machine: the real one, without the builds that take
# minutes and need no packages.
go_wrapper() {
	cat <<-END
		#!/bin/bash
		go=$goroot/bin/go
	END
	cat <<-'END'
		stop() { if [ "$UNTIL" = "$1" ]; then echo "$1" >/fresh/reached; fi; exit 75; }
		case " $* " in
		' build '*-modfile=*) stop build ;; # Kubernetes
		' build '*/opencontainers/runc' ') # only its C code
			exec "$go" build -tags seccomp github.com/seccomp/libseccomp-golang \
				github.com/opencontainers/runc/libcontainer/nsenter ;;
		' build '*' sigs.k8s.io/kind ') : >"$(sed 's/.* -o \([^ ]*\) .*/\1/' <<<"$*")" && exit ;;
		' build '*/containerd/v2/*) exit ;;
		' vet '*)
			if [[ $FIRST =~ ^(test|check)$ ]]; then
				"$go" test -race -c -o /dev/null ./pkg/placement || exit
			else
				"$go" vet ./pkg/placement || exit
			fi
			stop vet ;;
		' test '*) "$go" test -c -o /dev/null ./pkg/placement && stop test ;;
		esac
		exec "$go" "$@"
	END
}

# prepare creates the files that the fresh machines share: the system, this tree, and writable
# overlays of Go's caches.
prepare() {
	local cache
	mkdir -p "$dir"/probe/{lower,upper,work,over}
	overlay "$dir/probe/lower" "$dir/probe/upper" "$dir/probe/work" "$dir/probe/over" ||
		{ say "skipped: cannot mount an overlay in $dir" && exit 77; }
	mkdir -p "$dir"/base "$dir"/apt/{lists,archives} "$dir"/caches
	tar -C "$dir/base" -xf "$("$root/hack/debian.sh" make,git,ca-certificates)"
	apt-config dump | grep -E '^Acquire::(https?|Check|Retries|ForceIPv)' \
		>"$dir/base/etc/apt/apt.conf.d/90host" || true
	echo force-unsafe-io >"$dir/base/etc/dpkg/dpkg.cfg.d/unsafe" # all files end with the script
	cp -L /etc/resolv.conf /etc/hosts "$dir/base/etc/"
	if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
		cp -L /etc/ssl/certs/ca-certificates.crt "$dir/base/etc/ssl/certs/"
	fi
	mkdir -p "$dir/base/fresh" "$dir/base/src"
	go_wrapper >"$dir/base/fresh/go"
	chmod 0755 "$dir/base/fresh/go"
	ln -s "$goroot/bin/gofmt" "$dir/base/fresh/gofmt"
	# Other programs may write in the tree meanwhile: tar's exit code is 1 then.
	{ tar -C "$root" --exclude=./.git --exclude=./.cache --exclude=./bin --exclude=./test/artifacts \
		--warning=no-file-changed -c . || [ $? = 1 ]; } |
		tar -C "$dir/base/src" -x --no-same-owner
	for cache in "$(go_env GOCACHE)" "$(go_env GOMODCACHE)"; do
		mkdir -p "$cache" "$dir/caches$cache" "$dir/caches/upper$cache" "$dir/caches/work$cache"
		overlay "$cache" "$dir/caches/upper$cache" "$dir/caches/work$cache" "$dir/caches$cache"
	done
}

# overlay LOWER UPPER WORK TARGET mounts an overlay at TARGET.
overlay() { mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" "$4"; }

# boot COMMAND creates a fresh machine in $dir/machine.
boot() {
	local machine=$dir/machine path
	mkdir -p "$machine" "$dir/disk/$1"/{upper,work}
	overlay "$dir/base" "$dir/disk/$1/upper" "$dir/disk/$1/work" "$machine"
	mount -t proc proc "$machine/proc"
	mount --bind "$machine/proc/sys" "$machine/proc/sys" # of the whole host
	mount -o remount,bind,ro "$machine/proc/sys"
	mount --rbind /dev "$machine/dev"
	mount --bind "$dir/apt/lists" "$machine/var/lib/apt/lists"
	mount --bind "$dir/apt/archives" "$machine/var/cache/apt/archives"
	for path in "$(go_env GOCACHE)" "$(go_env GOMODCACHE)"; do
		mkdir -p "$machine$path"
		mount --bind "$dir/caches$path" "$machine$path"
	done
	mkdir -p "$machine$goroot"
	mount --bind "$goroot" "$machine$goroot"
	mount -o remount,bind,ro "$machine$goroot"
}

# inside COMMAND... runs a command on the fresh machine, with the proxies and mirrors of the host.
inside() {
	local name environ=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
		HOME=/root GO=/fresh/go GOTOOLCHAIN=local)
	for name in GOCACHE GOMODCACHE GOPROXY GOSUMDB GONOSUMDB GOPRIVATE GOINSECURE; do
		environ+=("$name=$(go_env "$name")")
	done
	for name in {http,https,no,HTTP,HTTPS,NO}_{proxy,PROXY} SSL_CERT_FILE; do
		if [ -n "${!name:-}" ]; then environ+=("$name=${!name}"); fi
	done
	chroot "$dir/machine" env -i "${environ[@]}" "FIRST=$first" "UNTIL=$until" "$@" </dev/null
}

# try COMMAND UNTIL PROGRAM... fails unless the command reaches UNTIL and the programs are
# installed.
try() {
	local first=$1 until=$2 program code=0
	shift 2
	boot "$first"
	inside make --no-print-directory -C /src "$first" >"$dir/log" 2>&1 || code=$?
	if [ "$until" = end ]; then
		[ "$code" = 0 ]
	else
		[ -e "$dir/machine/fresh/reached" ]
	fi || {
		tail -n 30 "$dir/log"
		say "make $first does not reach $until on a fresh machine"
		return 1
	}
	for program in "$@"; do
		inside sh -c "command -v $program" >/dev/null ||
			{ say "make $first does not install $program" && return 1; }
		if [ "$program" = gcc ] && [ "$until" = build ]; then # the pause container
			inside sh -c 'echo "int main(void) { return 0; }" | gcc -static -x c -o /dev/null -' || return 1
		fi
	done
	umount --recursive "$dir/machine"
	rm -rf --one-file-system "${dir:?}/disk"
}

# untested prints the commands that are missing in the list above. test-fresh is this script.
untested() {
	comm -23 \
		<(make --no-print-directory -C "$root" help | awk '{ print $1 }' | grep -vx test-fresh | sort) \
		<(cut -d ' ' -f 1 <<<"$commands" | sort)
}

missing=$(untested)
[ -z "$missing" ] || { say 'add these commands to the list in fresh.sh:' "$missing" && exit 1; }
prepare
while read -r command until programs; do
	if [ -n "${2:-}" ] && [ "$2" != "$command" ]; then continue; fi
	began=$SECONDS
	# shellcheck disable=SC2086 # a list of words
	try "$command" "$until" $programs
	printf 'ok  \tmake %s\t%d s\n' "$command" $((SECONDS - began))
done <<<"$commands"
