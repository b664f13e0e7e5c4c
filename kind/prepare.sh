#!/usr/bin/env bash
# Prepares what a cluster in kind needs and prints it as lines of NAME=VALUE: an engine, the node
# image, the kind command, kvip and its image. Progress goes to stderr.
#
#   prepare.sh own NAME    with a Docker engine of our own, which is called NAME in the cache, and a
#                          node image built here: nothing is pulled from anywhere
#   prepare.sh any NAME    with the machine's Docker engine if it works, else as above. NODE_IMAGE
#                          names a node image to pull, or is "local" for one that is built here
#
# K8S=1.35 or K8S=v1.37.2 takes another release than the default one.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../hack/lib.sh"
import_caller
cd "${root:?}"
engine=$1 name=$2
cache=${KVIP_CACHE:-${XDG_CACHE_HOME:-$(user_home)/.cache}/kvip}

# machine_engine: whether the machine's own Docker answers and can run what kind needs.
machine_engine() { [ "$engine" = any ] && docker info >/dev/null 2>&1; }

if machine_engine; then
	docker_dir=''
else
	[ "$(id -u)" = 0 ] || { say "no Docker engine answers; start one, or let this start its own: sudo make ..." && exit 1; }
	hack/deps.sh docker.io iproute2
	docker_dir=$cache/docker-$name
	kind/docker.sh start "$docker_dir"
	export DOCKER_HOST=unix://$docker_dir/docker.sock
	NODE_IMAGE=local
fi
kind=$(kind/node/build.sh kind)
image=${NODE_IMAGE:-}
if [ -z "$image" ]; then # kind knows which image goes with it
	image=$(sed -n 's/^const Image = "\(.*\)"$/\1/p' "$(cd kind/node && "$root/hack/with-go.sh" go list -m -f '{{.Dir}}' sigs.k8s.io/kind)/pkg/apis/config/defaults/image.go")
	docker pull --quiet "$image" >/dev/null || { say "cannot pull $image; without a registry: make kind-demo NODE_IMAGE=local" && exit 1; }
fi
if [ "$image" = local ]; then
	image=$(kind/node/build.sh load)
	local_image=true
fi
make --no-print-directory build image >&2
cat <<END
KVIP_DOCKER_DIR=$docker_dir
KVIP_KIND=$kind
KVIP_NODE_IMAGE=$image
KVIP_NODE_IMAGE_LOCAL=${local_image:-false}
KVIP_BINARY=$root/bin/kvip
KVIP_IMAGE_ARCHIVE=$root/bin/image/kvip-$("$root/hack/with-go.sh" go env GOARCH).tar
END
