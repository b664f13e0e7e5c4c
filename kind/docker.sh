#!/usr/bin/env bash
# A Docker engine of kvip's own, for machines that run none, and for tests: in a network namespace of
# its own, so that its bridges, addresses and packet filter rules end with it and it reaches nothing
# outside. Everything it writes is in one directory.
#
#   docker.sh start DIR    starts it if it does not run, and waits until it answers
#   docker.sh stop DIR     stops it, its containers and its network namespace, and keeps its images
#   docker.sh remove DIR   stops it and removes the directory, with its images
#   docker.sh run DIR CMD  runs a command in its network namespace, with DOCKER_HOST set
#   docker.sh running DIR  says by its exit code whether it runs
#   docker.sh netns DIR    prints the path of its network namespace
#   docker.sh thaw DIR     lets processes inside its containers end that are frozen there
set -euo pipefail

usage() { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2 && exit 2; }
say() { printf '%s\n' "$*" >&2; }

[ $# -ge 2 ] || usage
verb=$1 dir=$(mkdir -p "$2" && cd "$2" && pwd)
shift 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
netns=kvip-docker-$(printf '%s' "$dir" | cksum | cut -d' ' -f1)
export DOCKER_HOST=unix://$dir/docker.sock

# inside runs a command in the namespace. Unlike `ip netns exec`, it keeps /sys and with it the
# control groups.
inside() { nsenter --net=/run/netns/"$netns" -- "$@"; }

# lesser_runtime prints the path of a runtime for machines whose root lacks a capability: runc
# refuses a privileged container that would get one that is not there.
lesser_runtime() {
	local bounding
	bounding=$(awk '/^CapBnd:/ { print $2 }' /proc/self/status)
	if ((0x$bounding >> 24 & 1)); then return; fi # CAP_SYS_RESOURCE
	install -m 0755 "$here/runc-without-sys-resource.sh" "$dir/runc"
	printf '%s\n' --add-runtime "lesser=$dir/runc" --default-runtime lesser
}

# running: a process of that number may be another one, after a loss of power.
running() {
	local pid
	pid=$(cat "$dir/docker.pid" 2>/dev/null) && [ -n "$pid" ] || return 1
	tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF -- "$dir/docker.pid"
}

start() {
	if running && docker info >/dev/null 2>&1; then return; fi
	command -v dockerd >/dev/null || { say "dockerd is missing; install it, as with: sudo apt-get install docker.io" && exit 1; }
	# The longest path of a socket below is 38 bytes longer, and the kernel takes 107 (unix(7)).
	[ "$(printf '%s' "$dir" | wc -c)" -le 69 ] || { say "the path $dir is too long for Docker's sockets: name a shorter one than 70 bytes, as with KVIP_CACHE=/var/cache/kvip" && exit 1; }
	stop
	ip netns add "$netns"
	inside ip link set lo up
	local options
	mapfile -t options < <(lesser_runtime)
	ulimit -Hn 1048576 2>/dev/null || true
	nsenter --net=/run/netns/"$netns" -- setsid dockerd --host "$DOCKER_HOST" --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/docker.pid" \
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

# thaw thaws control groups below those of the containers, not those of containers that are paused. runc
# freezes a container while it sets what that may do; with the node that it is in killed at this
# moment, nobody thaws it, and with version 1 of control groups what is frozen does not die, so neither
# does the node.
thaw() {
	local id group
	for id in $(timeout 20 docker ps -aq --no-trunc 2>/dev/null || true); do
		{ find "/sys/fs/cgroup/freezer/docker/$id" -mindepth 2 -name freezer.self_freezing 2>/dev/null || true; } | while read -r group; do
			if [ "$(cat "$group" 2>/dev/null)" = 1 ]; then echo THAWED >"${group%/*}/freezer.state" || true; fi
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

# sweep ends and unmounts what an engine leaves that was killed itself, and the empty control group
# above its containers unless another engine may need it.
sweep() {
	local state path pid
	for state in "$dir"/exec/runtime-*/moby/*/; do
		if [ -d "$state" ]; then runc --root "$(dirname "$state")" delete --force "$(basename "$state")" 2>/dev/null || true; fi
	done
	for pid in $(pgrep '^containerd' || true); do
		if tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$dir/exec/"; then kill -KILL "$pid" 2>/dev/null || true; fi
	done
	awk -v dir="$dir/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r path; do
		umount --lazy "$path" || true
	done
	if ! pgrep -x dockerd >/dev/null; then
		find /sys/fs/cgroup -mindepth 1 -maxdepth 2 -type d -name docker -exec rmdir {} + 2>/dev/null || true
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
