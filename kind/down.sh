#!/usr/bin/env bash
# Removes the clusters of `make kind-demo`, `make kind-services-demo` and `make kind-bgp-demo` with
# their networks and files, and the private Docker engine if they run in one. Build results stay in
# the cache.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../hack/lib.sh"
no_arguments "$@"
import_caller
cd "${root:?}"
clusters=(ha services bgp) # files in .cache/kind-NAME
docker_dir=${KVIP_CACHE:-${XDG_CACHE_HOME:-$(user_home)/.cache}/kvip}/docker-demo
removed=()

# remove_own removes the private engine.
remove_own() {
	[ "$(id -u)" = 0 ] ||
		{ say "the Docker engine in $docker_dir belongs to root: sudo make kind-down" && exit 1; }
	say "stopping the Docker engine in $docker_dir ..."
	kind/docker.sh remove "$docker_dir"
	removed+=("the Docker engine with its containers and images")
}

# remove_routers removes the routers of a cluster, and their network with the client.
remove_routers() {
	local label=label=dev.kvip.demo=$1 containers networks
	containers=$(docker ps -aq --filter "$label")
	networks=$(docker network ls -q --filter "$label")
	# shellcheck disable=SC2086 # lists of words
	{
		[ -z "$containers" ] || docker rm -fv $containers >/dev/null
		[ -z "$networks" ] || docker network rm $networks >/dev/null
	}
}

# remove_from_machine removes a cluster from the machine's Docker, if a demo created it.
remove_from_machine() {
	local cluster=$1 containers
	containers=$(docker ps -aq --filter "label=io.x-k8s.kind.cluster=$cluster")
	if [ "$(cat ".cache/kind-$cluster/engine" 2>/dev/null)" != machine ]; then
		[ -z "$containers" ] || say "kept the cluster $cluster: no record that a demo created it." \
			"To remove it: docker rm -fv" \
			"\$(docker ps -aq --filter label=io.x-k8s.kind.cluster=$cluster)"
		return 0
	fi
	# shellcheck disable=SC2086 # a list of words
	[ -z "$containers" ] || docker rm -fv $containers >/dev/null
	remove_routers "$cluster"
	removed+=("the cluster $cluster")
}

# remove_network removes kind's network from the machine's Docker, if a demo created it and no other
# container uses it.
remove_network() {
	if [ -n "$(docker network ls -q --filter label=dev.kvip.made --filter name='^kind$')" ] &&
		[ -z "$(docker ps -aq --filter network=kind)" ]; then
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
	rm -rf "$files" ||
		{ say "the files in $files belong to another user: sudo make kind-down" && exit 1; }
	removed+=("the files in $files")
done
if [ ${#removed[@]} = 0 ]; then removed=("nothing, no cluster of a demo exists"); fi
printf -v list '%s, ' "${removed[@]}"
say "removed: ${list%, }"
