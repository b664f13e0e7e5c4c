#!/usr/bin/env bash
# Prepares a cluster in kind and prints its settings as lines of NAME=VALUE: an engine, the node
# image, the kind command, kvip and its image. Progress goes to stderr.
#
#   prepare.sh own NAME    with a private Docker engine, called NAME in the cache, and a local node
#                          image: no image is pulled
#   prepare.sh any NAME    with the machine's Docker engine if it works, else as above. NODE_IMAGE
#                          names a node image to pull, or is "local" for one that is built here
#   prepare.sh ... services  also for the case study of Services: its application's image, and ab
#   prepare.sh ... bgp       also for the demonstration of BGP: that application's image, and the
#                            image of the routers
#
# K8S=1.35 or K8S=v1.37.2 selects another release than the default one, and a local image.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../hack/lib.sh"
import_caller
cd "${root:?}"
engine=$1 name=$2 extra=${3:-}
cache=${KVIP_CACHE:-${XDG_CACHE_HOME:-$(user_home)/.cache}/kvip}

# machine_engine reports whether the machine's own Docker may be used and answers. Root installs it
# if it is missing, and starts its service: the packages for the rest depend on the result.
machine_engine() {
	[ "$engine" = any ] || return 1
	if docker info >/dev/null 2>&1; then return; fi
	[ "$(id -u)" = 0 ] || return 1
	hack/deps.sh docker
	if [ -d /run/systemd/system ] && systemctl cat docker.service >/dev/null 2>&1; then
		say "starting the service docker ..."
		systemctl start docker >&2 ||
			say "the service docker does not start (journalctl -u docker); using a private engine"
	fi
	docker info >/dev/null 2>&1
}

# no_docker reports how this user can get access to Docker.
no_docker() {
	say "Docker does not answer this user. Only root can install or start it: sudo make kind-demo, or
another demonstration (or have an administrator start Docker and add you to the group docker, and log
in again)"
	exit 1
}

# raise_inotify_limit raises a limit that all containers share and that kubelets of five nodes may
# reach: they end with "too many open files" then. kind/down.sh restores it.
raise_inotify_limit() {
	local limit=/proc/sys/fs/inotify/max_user_instances was
	was=$(cat "$limit")
	if [ "$engine" != any ] || [ "$was" -ge 512 ]; then return; fi
	if [ -w "$limit" ] && echo 1024 >"$limit" 2>/dev/null; then
		say "raised fs.inotify.max_user_instances from $was to 1024 for five nodes, until make kind-down"
		echo "$was" >/run/kvip-inotify
	else
		say "fs.inotify.max_user_instances is $was, which may be too low for five nodes; if some do not" \
			"become Ready: sudo sysctl fs.inotify.max_user_instances=1024"
	fi
}

# Packages first: builds start when no package is missing.
as_user mkdir -p "$cache"
docker_dir='' local_image=false need=()
if ! machine_engine; then
	[ "$(id -u)" = 0 ] || no_docker
	need+=(docker own-engine)
	docker_dir=$cache/docker-$name
	export DOCKER_HOST=unix://$docker_dir/docker.sock
	NODE_IMAGE=local
fi
image=${NODE_IMAGE:-${K8S:+local}} # a selected release is built here
if [ "$image" = local ]; then
	local_image=true
	need+=(kind-node-image)
fi
case $extra in
services) need+=(services-study) ;;
bgp) need+=(kind-routers) ;;
esac
hack/deps.sh "${need[@]}"

make --no-print-directory build image ${extra:+echo-image} >&2
kind=$(kind/node/build.sh kind)
if [ "$local_image" = true ]; then kind/node/build.sh build >/dev/null; fi
if [ "$extra" = bgp ]; then kind/bgp/image.sh build >/dev/null; fi

raise_inotify_limit
if [ -n "$docker_dir" ]; then
	if ! kind/docker.sh running "$docker_dir"; then
		say "starting a private Docker engine in $docker_dir ..."
	fi
	kind/docker.sh start "$docker_dir"
fi
if [ "$local_image" = true ]; then
	image=$(kind/node/build.sh load)
elif [ -z "$image" ]; then # the default of this version of kind
	sources=$(module_dir kind/node sigs.k8s.io/kind)
	image=$(sed -n 's/^const Image = "\(.*\)"$/\1/p' "$sources/pkg/apis/config/defaults/image.go")
	say "pulling $image if it is missing ..."
	docker pull --quiet "$image" >/dev/null || docker image inspect "$image" >/dev/null 2>&1 ||
		{ say "cannot pull $image; without a registry: make kind-demo NODE_IMAGE=local" && exit 1; }
fi
router=''
if [ "$extra" = bgp ]; then router=$(kind/bgp/image.sh load); fi
arch=$("$root/hack/with-go.sh" go env GOARCH)
cat <<END
KVIP_DOCKER_DIR=$docker_dir
KVIP_KIND=$kind
KVIP_NODE_IMAGE=$image
KVIP_NODE_IMAGE_LOCAL=$local_image
KVIP_BINARY=$root/bin/kvip
KVIP_IMAGE_ARCHIVE=$root/bin/image/kvip-$arch.tar
${extra:+KVIP_ECHO_ARCHIVE=$root/bin/image/echo-$arch.tar}
${router:+KVIP_ROUTER_IMAGE=$router}
END
