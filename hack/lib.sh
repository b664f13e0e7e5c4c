# Functions for the scripts beside this file, which source it: the calling user's settings and
# rights through sudo, and a Go that is new enough. It runs nothing by itself.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*" >&2; }

# through_sudo: whether root's rights were borrowed by somebody else.
through_sudo() { [ "$(id -u)" = 0 ] && [ "${SUDO_UID:-0}" != 0 ]; }

# caller_environ prints, each ended by NUL, the variables that sudo itself was started with. sudo
# drops most of them for its command, but the kernel keeps those of the sudo process.
caller_environ() {
	local pid=$PPID sudo=
	while [ "${pid:-0}" -gt 1 ]; do
		if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = sudo ]; then sudo=$pid; fi
		pid=$(awk '/^PPid:/ { print $2 }' "/proc/$pid/status" 2>/dev/null)
	done
	if [ -n "$sudo" ]; then cat "/proc/$sudo/environ" 2>/dev/null || true; fi
}

# import_caller exports the caller's settings for Go, proxies, certificates and kvip's own, and keeps
# the caller's PATH in caller_path. What is set already (make VAR=...) wins.
import_caller() {
	local entry name
	caller_path=$PATH
	[ -n "${SUDO_UID:-}" ] || return 0
	while IFS= read -r -d '' entry; do
		name=${entry%%=*}
		case $name in
		PATH) caller_path=$PATH:${entry#*=} ;;
		GO[A-Z]*[A-Z] | CGO_* | CC | CXX | *_proxy | *_PROXY | SSL_CERT_* | CI | RUNS | RUN | TIME | K8S | NODE_IMAGE | KVIP_* | XDG_CACHE_HOME)
			if [ -z "${!name+set}" ]; then export "${entry?}"; fi
			;;
		esac
	done < <(caller_environ)
}

# user_home prints the home of whoever the work is done for.
user_home() {
	if through_sudo; then getent passwd "$SUDO_UID" | cut -d: -f6; else printf '%s\n' "${HOME:-/root}"; fi
}

# as_user runs a command as the calling user, so that nothing of root's is left in the tree or in
# a home. Where that user cannot write the tree, as in a clone that root made, root does it.
as_user() {
	local drop=(setpriv "--reuid=${SUDO_UID:-0}" "--regid=${SUDO_GID:-0}" --init-groups)
	if through_sudo && "${drop[@]}" test -w "$root"; then
		"${drop[@]}" env -u SUDO_UID -u SUDO_GID -u SUDO_USER -u SUDO_COMMAND \
			"HOME=$(user_home)" "USER=$SUDO_USER" "LOGNAME=$SUDO_USER" "$@"
	else
		"$@"
	fi
}

# needed_go prints the Go version that go.mod asks for, as 1.26.0.
needed_go() { awk '$1 == "go" { print $2; exit }' "$root/go.mod"; }

# at_least HAVE WANT: whether version HAVE is WANT or later.
at_least() {
	local have=${1%%rc*} want=$2
	[ "$(printf '%s\n' "${have%%-*}" "$want" | sort -V | head -n 1)" = "$want" ] || [ "$1" = "${want%.0}" ]
}

# go_candidates prints every go command there may be, the caller's PATH first.
go_candidates() {
	local home dir
	home=$(user_home)
	if [ -n "${GO:-}" ]; then command -v "$GO" || true; fi
	tr ':' '\n' <<<"$caller_path" | while read -r dir; do printf '%s/go\n' "${dir:-.}"; done
	printf '%s\n' /usr/local/go/bin/go "$home"/go/bin/go "$home"/sdk/go*/bin/go "$home"/.go/bin/go \
		"$home"/.local/go/bin/go /usr/lib/go/bin/go /usr/lib/go-*/bin/go /opt/go/bin/go /snap/bin/go
}

# find_go prints the first go command that is new enough, by itself or because it can fetch the
# toolchain that go.mod names; else it says what it found and what is needed.
find_go() {
	local want go have seen='' able=''
	want=$(needed_go)
	while read -r go; do
		if [ ! -x "$go" ] || [ -d "$go" ]; then continue; fi
		have=$(cd / && GOTOOLCHAIN=local GOFLAGS='' as_user "$go" env GOVERSION 2>/dev/null) || continue
		if at_least "${have#go}" "$want"; then
			printf '%s\n' "$go"
			return
		fi
		case "$seen" in *" $go "*) ;; *) seen="$seen $go is ${have:-of unknown version};" ;; esac
		if at_least "${have#go}" 1.21.0; then able=${able:-$go}; fi
	done < <(go_candidates | awk '!done[$0]++')
	if [ -n "$able" ] && have=$(cd "$root" && as_user "$able" env GOVERSION 2>/dev/null) && at_least "${have#go}" "$want"; then
		printf '%s\n' "$able"
		return
	fi
	if [ -n "$seen" ]; then seen="Too old:${seen%;}."; fi
	say "kvip needs Go $want or later. ${seen:-None was found in PATH, /usr/local/go, the home of this user or /usr/lib/go*.}"
	say "Install a newer one as https://go.dev/doc/install says, or name it: make GO=/path/to/go ..."
	return 1
}
