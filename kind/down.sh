#!/usr/bin/env bash
# Removes what `make kind-demo` made: the cluster with its network and files and, where it runs in a
# Docker engine of our own, that engine with everything in it. What was built stays in the cache.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../hack/lib.sh"
import_caller
cd "${root:?}"
cluster=ha files=.cache/kind-ha
docker_dir=${KVIP_CACHE:-${XDG_CACHE_HOME:-$(user_home)/.cache}/kvip}/docker-demo
removed=''

# remove_own removes the engine of our own.
remove_own() {
	[ "$(id -u)" = 0 ] || { say "the Docker engine in $docker_dir is root's: sudo make kind-down" && exit 1; }
	say "stopping the Docker engine in $docker_dir ..."
	kind/docker.sh remove "$docker_dir"
	removed="the cluster $cluster, its Docker engine and its files"
}

# remove_from_machine removes the cluster from the machine's Docker, if the demonstration made it.
remove_from_machine() {
	local containers
	docker info >/dev/null 2>&1 || return 0
	containers=$(docker ps -aq --filter "label=io.x-k8s.kind.cluster=$cluster")
	if [ "$(cat "$files/engine" 2>/dev/null)" != machine ]; then
		[ -z "$containers" ] || say "Docker has a cluster $cluster that is not known to be of make kind-demo; if it may go: docker rm -fv \$(docker ps -aq --filter label=io.x-k8s.kind.cluster=$cluster)"
		return 0
	fi
	# shellcheck disable=SC2086 # a list of words
	[ -z "$containers" ] || docker rm -fv $containers >/dev/null
	if [ -n "$(docker network ls -q --filter label=dev.kvip.made --filter name='^kind$')" ] && [ -z "$(docker ps -aq --filter network=kind)" ]; then
		docker network rm kind >/dev/null
	fi
	removed="the cluster $cluster and its files"
}

if [ -e "$docker_dir" ]; then remove_own; fi
remove_from_machine
if [ -w /run/kvip-inotify ]; then # kind/prepare.sh
	cat /run/kvip-inotify >/proc/sys/fs/inotify/max_user_instances
	rm /run/kvip-inotify
fi
if [ -e "$files" ] && ! rm -rf "$files"; then
	say "the files in $files are another user's: sudo make kind-down"
	exit 1
fi
say "removed: ${removed:-nothing, there was no cluster of make kind-demo}"
