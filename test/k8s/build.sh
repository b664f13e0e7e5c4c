#!/bin/sh
# Builds Kubernetes from Go modules, at the versions of go.mod in this directory, and prints the
# directory of the programs. Progress goes to stderr.
#
#   build.sh            etcd, kube-apiserver and kubeadm, for the lab
#   build.sh node       also the other programs of a node: kubelet, kubectl, kube-proxy, ...
#
# K8S=1.35 or K8S=v1.37.2 builds another release than that of go.mod. The directory is outside the
# tree, in $KVIP_CACHE or ${XDG_CACHE_HOME:-~/.cache}/kvip of the calling user (also through sudo).
# Its name has the versions and the hash of go.mod and go.sum: no program is built twice.
#
# GO is the go command to use (default: go).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
go=${GO:-go}

# Through sudo: continue as the calling user, so that no files of root remain in a home.
if [ "$(id -u)" = 0 ] && [ "${SUDO_UID:-0}" != 0 ]; then
	home=$(getent passwd "$SUDO_UID" | cut -d: -f6)
	exec setpriv --reuid="$SUDO_UID" --regid="$SUDO_GID" --init-groups \
		env -u SUDO_UID HOME="$home" "$here/build.sh" "$@"
fi

cache=${KVIP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kvip}

version() { sed -n "s#^\t$1 \(v[^ ]*\).*#\1#p" "$here/go.mod" | head -n 1; }
pinned=$(version k8s.io/kubernetes)
etcd=$(version go.etcd.io/etcd/server/v3)
case ${K8S:-$pinned} in
1.36) k8s=$pinned ;;
1.35) k8s=v1.35.4 ;;
1.37) k8s=v1.37.2 ;;
v1.*.*) k8s=${K8S:-$pinned} ;;
*) echo "K8S=$K8S: give a release as in K8S=v1.37.2, or K8S=1.35, 1.36 or 1.37" >&2 && exit 2 ;;
esac
hash=$(cat "$here/go.mod" "$here/go.sum" | sha256sum | cut -c 1-10)
dir=$cache/k8s-$k8s-etcd-$etcd-$hash
complete=$dir/complete${1:+-$1}
if [ -e "$complete" ]; then
	echo "$dir"
	exit
fi

mkdir -p "$dir"
exec 9>"$dir/lock"
flock 9 # wait for another build of the same programs

# drop_unknown removes parts of Kubernetes that the release does not have from the module file. The
# release's own go.mod lists its parts with version v0.0.0.
drop_unknown() {
	theirs=$(cd / && "$go" mod download -json "k8s.io/kubernetes@$k8s" |
		sed -n 's/^\t"GoMod": "\(.*\)",$/\1/p')
	sed -n 's#^\t*\(k8s\.io/[^ ]*\) => .*#\1#p' "$modfile" | while read -r part; do
		if ! grep -q "^	$part v0.0.0" "$theirs"; then
			"$go" mod edit -dropreplace="$part" -droprequire="$part" "$modfile"
		fi
	done
}

# Another release: the same programs and etcd, with the modules that this release requires.
modfile=$here/go.mod
if [ "$k8s" != "$pinned" ]; then
	modfile=$dir/go.mod
	if [ ! -e "$dir/go.sum" ]; then
		awk '!/\/\/ indirect$/ || $1 == "k8s.io/kubernetes" || $1 ~ /^go\.etcd\.io\//' "$here/go.mod" |
			sed "s#\b$pinned\b#$k8s#; s#\bv0\.${pinned#v1.}\b#v0.${k8s#v1.}#" >"$modfile"
		drop_unknown
		(cd "$here" && GOWORK=off "$go" mod tidy -modfile="$modfile") >&2
	fi
fi

minor=${k8s#v1.}
minor=${minor%%.*}
x=k8s.io/component-base/version
flags="-s -w -X $x.gitVersion=$k8s -X $x.gitMajor=1 -X $x.gitMinor=$minor -X $x.gitTreeState=clean"

# build <name> <version> <package>
build() {
	[ ! -e "$dir/$1" ] || return 0
	echo "building $1 $2 from Go modules ..." >&2
	start=$(date +%s)
	(cd "$here" && CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -mod=readonly" GOWORK=off \
		"$go" build -modfile="$modfile" -trimpath -ldflags "$flags" -o "$dir/$1.part" "$3") >&2
	mv "$dir/$1.part" "$dir/$1"
	echo "$1: $(($(date +%s) - start)) s" >&2
}

about="5 minutes"
if [ "${1:-}" = node ]; then about="10 minutes"; fi
echo "building Kubernetes $k8s and etcd $etcd once, into $dir (about $about)" >&2
build etcd "$etcd" go.etcd.io/etcd/server/v3
build kubeadm "$k8s" k8s.io/kubernetes/cmd/kubeadm
build kube-apiserver "$k8s" k8s.io/kubernetes/cmd/kube-apiserver
touch "$dir/complete"
if [ "${1:-}" = node ]; then
	for name in kubelet kubectl kube-controller-manager kube-scheduler kube-proxy; do
		build "$name" "$k8s" "k8s.io/kubernetes/cmd/$name"
	done
	touch "$complete"
fi
echo "$dir"
