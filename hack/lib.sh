# Functions for the scripts that source this file: settings and rights of the calling user through
# sudo, and a sufficiently new Go. It runs no command by itself.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# no_arguments ARG...: ends the script if it was given arguments that it would ignore.
no_arguments() {
	[ $# = 0 ] || { printf '%s takes no arguments, got: %s\n' "$0" "$*" >&2 && exit 2; }
}

say() { printf '%s\n' "$*" >&2; }

# through_sudo reports whether sudo started this, called by a user other than root.
through_sudo() { [ "$(id -u)" = 0 ] && [ "${SUDO_UID:-0}" != 0 ]; }

# caller_environ prints the environment of the sudo process, each variable followed by NUL. sudo
# drops most of them for its command.
caller_environ() {
	local pid=$PPID sudo=
	while [ "${pid:-0}" -gt 1 ]; do
		if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = sudo ]; then sudo=$pid; fi
		pid=$(awk '/^PPid:/ { print $2 }' "/proc/$pid/status" 2>/dev/null)
	done
	if [ -n "$sudo" ]; then cat "/proc/$sudo/environ" 2>/dev/null || true; fi
}

# import_caller exports the caller's settings of Go, proxies, certificates and kvip, and stores the
# caller's PATH in caller_path. Variables that are set already (make VAR=...) stay.
import_caller() {
	local entry name
	caller_path=$PATH
	[ -n "${SUDO_UID:-}" ] || return 0
	while IFS= read -r -d '' entry; do
		name=${entry%%=*}
		case $name in
		PATH) caller_path=$PATH:${entry#*=} ;;
		GO[A-Z]*[A-Z] | CGO_* | CC | CXX | *_proxy | *_PROXY | SSL_CERT_* | CI | RUNS | RUN | TIME | \
			K8S | NODE_IMAGE | KVIP_* | XDG_CACHE_HOME)
			if [ -z "${!name+set}" ]; then export "${entry?}"; fi
			;;
		esac
	done < <(caller_environ)
}

# user_home prints the home of the calling user.
user_home() {
	if through_sudo; then
		getent passwd "$SUDO_UID" | cut -d: -f6
	else
		printf '%s\n' "${HOME:-/root}"
	fi
}

# module_dir DIR MODULE prints the directory of the sources of a module that DIR/go.mod requires. It
# downloads them if the machine lacks them, for example because only the programs are cached.
module_dir() {
	(cd "$1" && "$root/hack/with-go.sh" go mod download "$2" &&
		"$root/hack/with-go.sh" go list -m -f '{{.Dir}}' "$2")
}

# as_user runs a command as the calling user, so that no files of root remain in the tree or in a
# home. If that user cannot write the tree (a clone of root's), root runs the command.
as_user() {
	local drop=(setpriv "--reuid=${SUDO_UID:-0}" "--regid=${SUDO_GID:-0}" --init-groups)
	if through_sudo && "${drop[@]}" test -w "$root"; then
		"${drop[@]}" env -u SUDO_UID -u SUDO_GID -u SUDO_USER -u SUDO_COMMAND \
			"HOME=$(user_home)" "USER=$SUDO_USER" "LOGNAME=$SUDO_USER" "$@"
	else
		"$@"
	fi
}

# needed_go prints the Go version of go.mod, as 1.26.0.
needed_go() { awk '$1 == "go" { print $2; exit }' "$root/go.mod"; }

# at_least HAVE WANT reports whether version HAVE is WANT or later.
at_least() {
	local have=${1%%rc*} want=$2
	[ "$(printf '%s\n' "${have%%-*}" "$want" | sort -V | head -n 1)" = "$want" ] ||
		[ "$1" = "${want%.0}" ]
}

# go_candidates prints possible paths of a go command, those of the caller's PATH first.
go_candidates() {
	local home dir
	home=$(user_home)
	if [ -n "${GO:-}" ]; then command -v "$GO" || true; fi
	tr ':' '\n' <<<"$caller_path" | while read -r dir; do printf '%s/go\n' "${dir:-.}"; done
	printf '%s\n' /usr/local/go/bin/go "$home"/go/bin/go "$home"/sdk/go*/bin/go "$home"/.go/bin/go \
		"$home"/.local/go/bin/go /usr/lib/go/bin/go /usr/lib/go-*/bin/go /opt/go/bin/go /snap/bin/go
}

# find_go prints the first go command that is new enough, by itself or because it can download the
# toolchain of go.mod. If there is none, it reports what it found and what is required.
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
	if [ -n "$able" ] && have=$(cd "$root" && as_user "$able" env GOVERSION 2>/dev/null) &&
		at_least "${have#go}" "$want"; then
		printf '%s\n' "$able"
		return
	fi
	if [ -n "$seen" ]; then seen="Too old:${seen%;}."; fi
	seen=${seen:-No Go in PATH, /usr/local/go, the home of this user and /usr/lib/go*.}
	say "kvip needs Go $want or later. $seen"
	say "Install it (https://go.dev/doc/install), or give its path: make GO=/path/to/go ..."
	return 1
}
