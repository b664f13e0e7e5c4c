#!/usr/bin/env bash
# Removes what `make kind-demo` and `make kind-services-demo` made: their clusters with network and files
# and, where they run in a Docker engine of our own, that engine with everything in it. What was built
# stays in the cache.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../hack/lib.sh"
import_caller
cd "${root:?}"
clusters=(ha services) # their files are in .cache/kind-NAME
docker_dir=${KVIP_CACHE:-${XDG_CACHE_HOME:-$(user_home)/.cache}/kvip}/docker-demo
removed=()

# remove_own removes the engine of our own.
remove_own() {
	[ "$(id -u)" = 0 ] || { say "the Docker engine in $docker_dir is root's: sudo make kind-down" && exit 1; }
	say "stopping the Docker engine in $docker_dir ..."
	kind/docker.sh remove "$docker_dir"
	removed+=("the Docker engine with all in it")
}

# remove_from_machine removes a cluster from the machine's Docker, if a demonstration made it.
remove_from_machine() {
	local cluster=$1 containers
	containers=$(docker ps -aq --filter "label=io.x-k8s.kind.cluster=$cluster")
	if [ "$(cat ".cache/kind-$cluster/engine" 2>/dev/null)" != machine ]; then
		[ -z "$containers" ] || say "Docker has a cluster $cluster that is not known to be of a demonstration; if it may go: docker rm -fv \$(docker ps -aq --filter label=io.x-k8s.kind.cluster=$cluster)"
		return 0
	fi
	# shellcheck disable=SC2086 # a list of words
	[ -z "$containers" ] || docker rm -fv $containers >/dev/null
	removed+=("the cluster $cluster")
}

# remove_network removes kind's network from the machine's Docker, if a demonstration made it and nobody
# else uses it.
remove_network() {
	if [ -n "$(docker network ls -q --filter label=dev.kvip.made --filter name='^kind$')" ] && [ -z "$(docker ps -aq --filter network=kind)" ]; then
		docker network rm kind >/dev/null
	fi
}

if [ -e "$docker_dir" ]; then remove_own; fi
if docker info >/dev/null 2>&1; then
	for cluster in "${clusters[@]}"; do remove_from_machine "$cluster"; done
	if [ ${#removed[@]} != 0 ]; then remove_network; fi
fi
if [ -w /run/kvip-inotify ]; then # kind/prepare.sh
	cat /run/kvip-inotify >/proc/sys/fs/inotify/max_user_instances
	rm /run/kvip-inotify
fi
for cluster in "${clusters[@]}"; do
	files=.cache/kind-$cluster
	if [ ! -e "$files" ]; then continue; fi
	rm -rf "$files" || { say "the files in $files are another user's: sudo make kind-down" && exit 1; }
	removed+=("the files in $files")
done
if [ ${#removed[@]} = 0 ]; then removed=("nothing, there was no cluster of a demonstration"); fi
printf -v list '%s, ' "${removed[@]}"
say "removed: ${list%, }"
