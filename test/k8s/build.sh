#!/bin/sh
# Builds the real etcd, kube-apiserver and kubeadm from Go modules, at the versions in go.mod
# beside this file, and prints the directory that holds them. Progress goes to stderr.
#
# The directory is outside the tree, $KVIP_CACHE or ${XDG_CACHE_HOME:-~/.cache}/kvip of the
# calling user (also through sudo), and named after the versions and the hash of go.mod and
# go.sum: nothing is built twice. `build.sh --clean` removes everything kvip keeps there.
#
# GO is the go command to use (default: go).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
go=${GO:-go}

# Through sudo: work as the calling user, so that no files of root are left in a home.
if [ "$(id -u)" = 0 ] && [ "${SUDO_UID:-0}" != 0 ]; then
	home=$(getent passwd "$SUDO_UID" | cut -d: -f6)
	exec setpriv --reuid="$SUDO_UID" --regid="$SUDO_GID" --init-groups \
		env -u SUDO_UID HOME="$home" "$here/build.sh" "$@"
fi

cache=${KVIP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kvip}
if [ "${1:-}" = --clean ]; then
	rm -rf "$cache"
	exit
fi

version() { sed -n "s#^\t$1 \(v[^ ]*\).*#\1#p" "$here/go.mod" | head -n 1; }
k8s=$(version k8s.io/kubernetes)
etcd=$(version go.etcd.io/etcd/server/v3)
hash=$(cat "$here/go.mod" "$here/go.sum" | sha256sum | cut -c 1-10)
dir=$cache/k8s-$k8s-etcd-$etcd-$hash
if [ -e "$dir/complete" ]; then
	echo "$dir"
	exit
fi

mkdir -p "$dir"
exec 9>"$dir/lock"
flock 9 # another build of the same: wait for it

minor=${k8s#v1.}
minor=${minor%%.*}
x=k8s.io/component-base/version
flags="-s -w -X $x.gitVersion=$k8s -X $x.gitMajor=1 -X $x.gitMinor=$minor -X $x.gitTreeState=clean"

# build <number> <name> <version> <package>
build() {
	[ ! -e "$dir/$2" ] || return 0
	echo "[$1/3] building $2 $3 from Go modules ..." >&2
	start=$(date +%s)
	(cd "$here" && CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -mod=readonly" GOWORK=off \
		"$go" build -trimpath -ldflags "$flags" -o "$dir/$2.part" "$4") >&2
	mv "$dir/$2.part" "$dir/$2"
	echo "[$1/3] $2: $(($(date +%s) - start)) s" >&2
}

[ -e "$dir/complete" ] || echo "building Kubernetes $k8s and etcd $etcd once, into $dir (about 4 minutes)" >&2
build 1 etcd "$etcd" go.etcd.io/etcd/server/v3
build 2 kubeadm "$k8s" k8s.io/kubernetes/cmd/kubeadm
build 3 kube-apiserver "$k8s" k8s.io/kubernetes/cmd/kube-apiserver
touch "$dir/complete"
echo "$dir"
