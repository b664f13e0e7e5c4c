#!/usr/bin/env bash
# Builds a kind node image without an image registry: Debian packages, the files that kind adds to
# them, and Kubernetes, containerd, runc, CoreDNS and the CNI plugins from Go modules. Prints the
# path of the archive (for `docker import`), which the cache keeps. Progress goes to stderr.
#
#   build.sh         builds it unless the cache has it
#   build.sh load    also loads it into the Docker engine of DOCKER_HOST; prints the image's name
#   build.sh kind    builds the kind command only and prints its path
#
# K8S=1.35 or K8S=v1.37.2 selects another release of Kubernetes than test/k8s/go.mod.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$here/../..
. "$root/hack/lib.sh"
root=$(cd "$root" && pwd)
import_caller
verb=${1:-build}
system=systemd,systemd-sysv,dbus,bash,ca-certificates,conntrack,curl,e2fsprogs,ethtool,iproute2
system+=,iptables,jq,kmod,libseccomp2,mount,nftables,pigz,procps,socat,util-linux
modules=(github.com/containerd/containerd/v2/cmd/{containerd,containerd-shim-runc-v2,ctr}
	github.com/containernetworking/plugins/plugins/{ipam/host-local,main/{loopback,ptp},meta/portmap}
	github.com/coredns/coredns)

cache=${KVIP_CACHE:-${XDG_CACHE_HOME:-$(user_home)/.cache}/kvip}
tools=$cache/node-tools-$(cat "$here/go.mod" "$here/go.sum" | sha256sum | cut -c 1-10)
go() { (cd "$here" && "$root/hack/with-go.sh" go "$@"); }

# build_kind builds the kind command, which is pure Go.
build_kind() {
	if [ -e "$tools/kind" ]; then return; fi
	as_user mkdir -p "$tools"
	say "building kind from Go modules ..."
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$tools/kind.part" sigs.k8s.io/kind
	as_user mv "$tools/kind.part" "$tools/kind"
}

# build_tools builds the other programs of the node. runc needs a C compiler and libseccomp.
build_tools() {
	if [ -e "$tools/complete" ]; then return; fi
	as_user mkdir -p "$tools"
	say "building containerd, runc, CoreDNS and the CNI plugins from Go modules (about 5 minutes) ..."
	CGO_ENABLED=1 go build -trimpath -tags seccomp -ldflags '-s -w' -o "$tools/" \
		github.com/opencontainers/runc
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$tools/" "${modules[@]}"
	as_user touch "$tools/complete"
}

if [ "$verb" = kind ]; then
	build_kind # not with &&, which would continue after an error in it
	echo "$tools/kind"
	exit
fi
[ "$(id -u)" = 0 ] ||
	{ say "a node image needs root for debootstrap: sudo make kind-node-image" && exit 1; }
"$root/hack/deps.sh" kind-node-image
as_user mkdir -p "$cache"
exec 9>"$cache/node.lock"
flock 9 # wait for another build
build_tools
kubernetes=$("$root/hack/with-go.sh" "$root/test/k8s/build.sh" node)
release=$("$kubernetes/kubeadm" version -o short)
name=localhost/kvip-node:$release
# shellcheck disable=SC2046 # names without spaces
key=$(cat <(sed "/^# derive/,/^if/d" "$here/build.sh") "$here/go.sum" \
	$(find "$here/files" -type f | LC_ALL=C sort) "$root"/hack/{debian.sh,image/*.go} |
	sha256sum | cut -c 1-10)
archive=$cache/node-$release-${kubernetes##*-}-$key.tar

# make_node turns the Debian in $node into a node as kind expects it, with kind's own files.
make_node() {
	local files wants=$node/usr/lib/systemd/system unit
	files=$(module_dir "$here" sigs.k8s.io/kind)/images/base/files
	cp -r --no-preserve=mode,ownership "$files"/. "$node"/
	cp -r --no-preserve=mode,ownership "$here/files"/. "$node"/
	chmod 0755 "$node"/usr/local/bin/* "$node"/kind/bin/*
	rm -f "$wants"/sysinit.target.wants/systemd-tmpfiles-setup.service \
		"$wants"/sockets.target.wants/*{udev,initctl}* \
		"$wants"/{multi-user,local-fs,basic}.target.wants/* "$node"/etc/systemd/system/*.wants/*
	mkdir -p "$node"/etc/systemd/system/multi-user.target.wants "$node"/etc/kubernetes/manifests \
		"$node"/opt/cni/bin
	for unit in kubelet containerd undo-mount-hacks node-network; do
		ln -sf "/etc/systemd/system/$unit.service" "$node/etc/systemd/system/multi-user.target.wants/"
	done
	ln -sf /dev/null "$node/etc/systemd/system/systemd-binfmt.service"
	echo ReadKMsg=no >>"$node/etc/systemd/journald.conf"
	sed -i -e 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' \
		-e "s#^\( *sandbox_image = \).*#\1\"$(image_name pause)\"#" "$node/etc/containerd/config.toml"
	"$tools/ctr" oci spec |
		jq '.hooks.createContainer = [{path: "/kind/bin/mount-product-files.sh"}] |
			del(.process.rlimits)' >"$node/etc/containerd/cri-base.json"
	printf %s "$release" >"$node/kind/version"
	install -D -t "$node/usr/bin" "$kubernetes"/{kubeadm,kubelet,kubectl}
	install -D -t "$node/usr/local/bin" "$tools"/{containerd,containerd-shim-runc-v2,ctr}
	install -D "$tools/runc" "$node/usr/local/sbin/runc"
	install -D -t "$node/opt/cni/bin" "$tools"/{host-local,loopback,ptp,portmap}
}

# image_name prints the full name that kubeadm of this release requires for an image.
image_name() {
	"$kubernetes/kubeadm" config images list --kubernetes-version "$release" 2>/dev/null |
		grep "/$1:"
}

# image NAME FILE FLAGS... builds one image in $work/images.
image() {
	local name=$1 file=$2
	shift 2
	mkdir -p "$work/images"
	"$cache/mkimage" -o "$work/images/$name.tar" --name "$(image_name "$name")" \
		--platform "linux/$(go env GOARCH)" --file "$file" "$@" >&2
}

# packet_filters fills a directory with the programs that kube-proxy calls, their modules, and the
# libraries of both: the module that selects among several endpoints needs one of its own.
packet_filters() {
	local tree=$1 path programs=(/usr/sbin/nft /usr/sbin/xtables-nft-multi)
	local modules=("$node"/usr/lib/*/xtables/*.so)
	mkdir -p "$tree/usr"
	for path in lib lib64 sbin; do # links; some architectures lack some of them
		if [ -e "$node/$path" ]; then cp -a "$node/$path" "$tree"/; fi
	done
	mkdir -p "$tree"/usr/{lib,lib64,sbin}
	for path in "${programs[@]}" $(chroot "$node" ldd "${programs[@]}" "${modules[@]#"$node"}" |
		grep -oE '/[^ :]+ ' | sort -u); do
		(cd "$node" && cp -L --parents ".$path" "$tree")
	done
	(cd "$node" && cp -r --parents usr/lib/*/xtables "$tree")
	for path in {iptables,ip6tables}{,-save,-restore}; do
		ln -s xtables-nft-multi "$tree/usr/sbin/$path"
	done
	install -D "$kubernetes/kube-proxy" "$tree/usr/local/bin/kube-proxy"
}

# images builds the images of the control plane, FROM scratch.
images() {
	local name sources
	# into the cache, where the calling user may write
	(cd "$root/hack/image" && "$root/hack/with-go.sh" go build -o "$cache/mkimage" .)
	for name in kube-apiserver kube-controller-manager kube-scheduler; do
		image "$name" "$kubernetes/$name:/usr/local/bin/$name"
	done
	image etcd "$kubernetes/etcd:/usr/local/bin/etcd"
	image coredns "$tools/coredns:/coredns" --entrypoint /coredns
	sources=$(module_dir "$root/test/k8s" k8s.io/kubernetes)
	gcc -Os -static -DVERSION=node -o "$work/pause" "$sources/build/pause/linux/pause.c"
	image pause "$work/pause:/pause" --entrypoint /pause
	packet_filters "$work/proxy"
	image kube-proxy "$work/proxy:/"
}

# import_images imports them into the node's image store, with a containerd that runs no containers.
import_images() {
	local config=$work/containerd.toml socket=$work/containerd.sock
	cat >"$config" <<-END
		version = 3
		root = "$node/var/lib/containerd"
		state = "$work/state"
		disabled_plugins = [
		  "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri",
		]
		[grpc]
		address = "$socket"
	END
	"$tools/containerd" --config "$config" >"$work/containerd.log" 2>&1 &
	daemon=$!
	for _ in $(seq 100); do
		if "$tools/ctr" --address "$socket" version >/dev/null 2>&1; then break; fi
		sleep 0.1
	done
	for archive_of in "$work"/images/*.tar; do
		"$tools/ctr" --address "$socket" --namespace k8s.io images import --no-unpack "$archive_of" >&2
	done
	kill "$daemon"
	wait "$daemon" || true
	daemon=''
}

make_archive() {
	local node=$work/node
	mkdir -p "$node"
	tar -C "$node" -xf "$("$root/hack/debian.sh" "$system")"
	make_node
	images
	import_images
	tar -C "$node" -cf "$archive.part" .
	rm -f "$cache/node-$release"-*.tar # of older builds
	mv "$archive.part" "$archive"
}

# derive NAME LINE... builds an image from $name with other settings. It uses the engine's own
# builder: some docker commands come without another.
derive() {
	local derived=$1
	shift
	printf '%s\n' "FROM $name-files" "$@" |
		DOCKER_BUILDKIT=0 docker build -q -t "$derived" - >/dev/null 2>"$cache/docker-build.log" ||
		{ cat "$cache/docker-build.log" >&2 && exit 1; }
}

# load loads the image into Docker, and one that replaces kind's load balancer.
load() {
	local balancer sources loaded
	sources=$(module_dir "$here" sigs.k8s.io/kind)/pkg/cluster/internal/loadbalancer
	balancer=$(sed -n 's/^const Image = "\(.*\)"$/\1/p' "$sources/const.go")
	loaded=$(docker image inspect -f '{{index .Config.Labels "key"}}' "$name" 2>/dev/null || true)
	if [ "$loaded" = "$key" ]; then return; fi
	say "loading $name into Docker ..."
	docker import "$archive" "$name-files" >/dev/null
	derive "$balancer" 'ENTRYPOINT []'
	derive "$name" 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]' 'ENV container=docker' \
		'STOPSIGNAL SIGRTMIN+3' "LABEL key=$key"
}

if [ ! -e "$archive" ]; then
	say "building a kind node image of Kubernetes $release ..."
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/work.XXXXXX")
	daemon=''
	trap 'if [ -n "$daemon" ]; then kill "$daemon" && wait "$daemon" || true; fi
		rm -rf "$work"' EXIT
	make_archive
fi
case $verb in
build) echo "$archive" ;;
load)
	load
	echo "$name"
	;;
*) say "build.sh: unknown command $verb" && exit 2 ;;
esac
