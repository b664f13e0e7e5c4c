#!/usr/bin/env bash
# The image of the routers and of the client of make kind-bgp-demo: FRR and BIRD in a Debian from
# debootstrap, as the base of the node image. The cache keeps it. Needs root.
#
#   image.sh build   builds the archive unless the cache has it
#   image.sh load    also loads it into the Docker engine of DOCKER_HOST; prints the image's name
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../hack/lib.sh"
import_caller
[ "$(id -u)" = 0 ] ||
	{ say "the routers' image needs root for debootstrap: sudo make kind-bgp-demo" && exit 1; }
archive=$("${root:?}/hack/debian.sh" bird2,frr,iproute2)
if [ "${1:-}" != load ]; then
	echo "$archive"
	exit
fi
name=$(basename "$archive" .tar)
name=localhost/kvip-router:${name#debian-}
if ! docker image inspect "$name" >/dev/null 2>&1; then
	say "loading $name into Docker ..."
	docker import "$archive" "$name" >/dev/null
fi
echo "$name"
