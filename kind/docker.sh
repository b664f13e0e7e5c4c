#!/usr/bin/env bash
# Runs a private Docker engine, for tests and for machines without a running one. It has its own
# network namespace: its bridges, addresses and packet filter rules end with it, and it reaches no
# other network. All its files are in one directory.
#
#   docker.sh start DIR    starts it if it is not running, and waits until it answers
#   docker.sh stop DIR     stops it and its containers, removes the namespace and keeps its images
#   docker.sh remove DIR   stops it and removes the directory, with its images
#   docker.sh run DIR CMD  runs a command in its network namespace, with DOCKER_HOST set
#   docker.sh running DIR  exits with 0 if it is running, else with 1
#   docker.sh netns DIR    prints the path of its network namespace
#   docker.sh thaw DIR     thaws frozen processes inside its containers, so that they can end
set -euo pipefail

usage() { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2 && exit 2; }
say() { printf '%s\n' "$*" >&2; }

[ $# -ge 2 ] || usage
verb=$1 dir=$(mkdir -p "$2" && cd "$2" && pwd)
shift 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
netns=kvip-docker-$(printf '%s' "$dir" | cksum | cut -d' ' -f1)
export DOCKER_HOST=unix://$dir/docker.sock

# inside runs a command in the namespace. Unlike `ip netns exec`, it keeps /sys with the control
# groups.
inside() { nsenter --net=/run/netns/"$netns" -- "$@"; }

# lesser_runtime prints the engine's options for machines whose root lacks CAP_SYS_RESOURCE: runc
# refuses a privileged container that would get a missing capability.
lesser_runtime() {
	local bounding
	bounding=$(awk '/^CapBnd:/ { print $2 }' /proc/self/status)
	if ((0x$bounding >> 24 & 1)); then return; fi # CAP_SYS_RESOURCE
	install -m 0755 "$here/runc-without-sys-resource.sh" "$dir/runc"
	printf '%s\n' --add-runtime "lesser=$dir/runc" --default-runtime lesser
}

# running reports whether the engine runs. After a loss of power, its process number may be that of
# another program.
running() {
	local pid
	pid=$(cat "$dir/docker.pid" 2>/dev/null) && [ -n "$pid" ] || return 1
	tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF -- "$dir/docker.pid"
}

start() {
	if running && docker info >/dev/null 2>&1; then return; fi
	command -v dockerd >/dev/null ||
		{ say "dockerd is missing; install it: sudo apt-get install docker.io" && exit 1; }
	# The longest path of a socket in it is 38 bytes longer. The kernel's limit is 107 (unix(7)).
	if [ "$(printf '%s' "$dir" | wc -c)" -gt 69 ]; then
		say "the path $dir is too long for Docker's sockets: give one of at most 69 bytes, as in" \
			KVIP_CACHE=/var/cache/kvip
		exit 1
	fi
	stop
	ip netns add "$netns"
	inside ip link set lo up
	local options
	mapfile -t options < <(lesser_runtime)
	ulimit -Hn 1048576 2>/dev/null || true
	nsenter --net=/run/netns/"$netns" -- setsid dockerd --host "$DOCKER_HOST" \
		--data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/docker.pid" \
		"${options[@]}" >"$dir/docker.log" 2>&1 </dev/null &
	for _ in $(seq 300); do
		if docker info >/dev/null 2>&1; then return; fi
		if ! kill -0 $! 2>/dev/null; then break; fi
		sleep 0.2
	done
	say "dockerd did not start; the end of $dir/docker.log:"
	tail -n 15 "$dir/docker.log" >&2
	if kill $! 2>/dev/null; then wait $! || true; fi
	stop
	exit 1
}

# thaw thaws control groups below those of the containers, but not paused containers themselves.
# runc freezes a container while it updates its limits. If its node is killed at this moment, it
# stays frozen. With control groups version 1, a frozen process cannot be killed, so the node cannot
# end.
thaw() {
	local id group
	for id in $(timeout 20 docker ps -aq --no-trunc 2>/dev/null || true); do
		{ find "/sys/fs/cgroup/freezer/docker/$id" -mindepth 2 -name freezer.self_freezing \
			2>/dev/null || true; } | while read -r group; do
			if [ "$(cat "$group" 2>/dev/null)" = 1 ]; then
				echo THAWED >"${group%/*}/freezer.state" || true
			fi
		done
	done
}

stop() {
	local pid containers thawing
	if running; then
		pid=$(cat "$dir/docker.pid")
		containers=$(timeout 20 docker ps -aq 2>/dev/null || true)
		if [ -n "$containers" ]; then
			while sleep 1; do thaw; done &
			thawing=$!
			# shellcheck disable=SC2086 # a list of words
			timeout 120 docker rm -fv $containers >/dev/null 2>&1 || true
			kill "$thawing" && wait "$thawing" 2>/dev/null || true
		fi
		kill "$pid"
		for _ in $(seq 150); do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.2
		done
		if kill -0 "$pid" 2>/dev/null; then kill -KILL "$pid"; fi
	fi
	sweep
	rm -f "$dir/docker.pid" "$dir/docker.sock"
	if [ -e "/run/netns/$netns" ]; then ip netns delete "$netns"; fi
}

# sweep cleans up after a killed engine: processes, mounts, and the empty control group of the
# containers unless another engine may need it.
sweep() {
	local state path pid
	for state in "$dir"/exec/runtime-*/moby/*/; do
		if [ -d "$state" ]; then
			runc --root "$(dirname "$state")" delete --force "$(basename "$state")" 2>/dev/null || true
		fi
	done
	for pid in $(pgrep '^containerd' || true); do
		if tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$dir/exec/"; then
			kill -KILL "$pid" 2>/dev/null || true
		fi
	done
	awk -v dir="$dir/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
		while read -r path; do
			umount --lazy "$path" || true
		done
	if ! pgrep -x dockerd >/dev/null; then
		find /sys/fs/cgroup -mindepth 1 -maxdepth 2 -type d -name docker \
			-exec rmdir {} + 2>/dev/null || true
	fi
}

remove() {
	stop
	rm -rf "$dir"
}

case $verb in
start) start ;;
stop) stop ;;
remove) remove ;;
running) running ;;
run) inside "$@" ;;
thaw) thaw ;;
netns) echo "/run/netns/$netns" ;;
*) usage ;;
esac
