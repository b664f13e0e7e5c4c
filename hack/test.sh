#!/usr/bin/env bash
# Runs every test in stages and prints the time of each; `make test` calls it. The calling user
# builds the test binaries; they run with the rights of make. Skipped tests are printed with the
# reason; with CI=true a skip is a failure.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
import_caller
cd "$root"

GO=$(find_go)
work=$root/.cache/test
withgo=$root/hack/with-go.sh
export GO CI=${CI:-} PATH=${GO%/*}:$PATH

# finish runs at every exit: files of root in the tree become the calling user's, and a failure
# names its stage.
building='' # the process group of the builds in the background
began=$SECONDS timings=() current='' stage_began=0 engine=''
finish() {
	local code=$?
	if [ -n "$engine" ] && [ -z "${KVIP_KEEP:-}" ]; then
		"$root/kind/docker.sh" stop "$engine" || true # interrupted tests do not stop it
	fi
	if [ -n "$building" ]; then kill -- "-$building" 2>/dev/null || true; fi
	if [ -n "${limit_was:-}" ]; then echo "$limit_was" >"$limit"; fi
	if through_sudo; then
		find .cache bin test/artifacts -user root \
			-exec chown -h "$SUDO_UID:$SUDO_GID" {} + 2>/dev/null || true
	fi
	if [ "$code" != 0 ]; then
		printf '\nFAILED in stage "%s" after %d s\n' "$current" $((SECONDS - stage_began))
	fi
	exit "$code"
}
trap finish EXIT

# stage NAME COMMAND... runs the command with errexit and records its time.
stage() {
	current=$1 stage_began=$SECONDS
	shift
	printf '\n== %s\n' "$current"
	"$@"
	timings+=("$(printf '%6d s  %s' $((SECONDS - stage_began)) "$current")")
}

# compile DIR FLAGS... -- PACKAGES... builds test binaries into $work/DIR, and a list of directories
# and packages.
compile() {
	local out=$work/$1 flags=()
	shift
	while [ "$1" != -- ]; do flags+=("$1") && shift; done
	shift
	rm -rf "$out" && as_user mkdir -p "$out"
	"$withgo" go test -c "${flags[@]}" -o "$out/" "$@"
	"$withgo" go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}} {{.ImportPath}}{{end}}' "$@" |
		as_user tee "$out/list" >/dev/null
}

# run_one OUT DIR PACKAGE [HALF] runs one test binary in the directory of its package, and prints the
# output of `go test -v` without subtests and, unless it failed, without output of tests, all at
# once, because several run at a time. HALF is 0 or 1: every second test.
run_one() {
	local out=$1 dir=$2 package=$3 half=${4:-} name=${3##*/} began=${EPOCHREALTIME/[.,]/} code=0
	local binary=$out/$name.test log skips spent tests
	if [ -n "$half" ]; then
		name=$name-$half
		tests=$(sed -n 's/^func \(Test[A-Za-z0-9_]*\)(t .*/\1/p' "$dir"/*_test.go |
			awk "NR % 2 == $half" | paste -sd '|')
		set -- "-test.run=^($tests)\$"
	else
		set --
	fi
	log=$out/$name.log
	(cd "$dir" && "$binary" -test.v -test.timeout 35m "$@" ${TESTFLAGS:-}) >"$log" 2>&1 || code=$?
	spent=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
	printf -v spent '%d.%03ds' $((spent / 1000)) $((spent % 1000))
	skips=$(grep -B1 -E '^ *--- SKIP' "$log" | grep -v -E '^(--|=== .*)$' || true)
	{
		if [ "$code" != 0 ] || { [ "$CI" = true ] && [ -n "$skips" ]; }; then
			grep -v -E '^ *=== (RUN|PAUSE|CONT|NAME)|^ +--- PASS|^PASS$' "$log" || true
			[ "$code" != 0 ] || echo 'CI=true allows no skipped test'
			printf 'exit code %d; all of its output: %s\n' "$code" "$log"
			printf 'FAIL\t%s\t%s\n' "$package${half:+ ($name)}" "$spent"
			code=1
		else
			grep -E '^--- PASS' "$log" || true
			if [ -n "$skips" ]; then printf '%s\n' "$skips"; fi
			printf 'ok  \t%s\t%s\n' "$package${half:+ ($name)}" "$spent"
		fi
	} >"$out/$name.summary"
	flock "$out/list" cat "$out/$name.summary"
	return "$code"
}
export -f run_one

# run_all DIR JOBS runs all binaries of one directory, JOBS at a time.
run_all() { xargs -a "$work/$1/list" -r -L 1 -P "$2" bash -c 'run_one "$0" "$@"' "$work/$1"; }

# The packages that need real API servers; all others run on every machine.
lab='/test/(lab/(cluster|servicelab)|e2e/(controlplane|services|bgp)|bench|soak|chaos|demo/labdemo)(/|$)'
kind='/test/e2e/(kubeadm|kindservices)$' # and those that need nodes in kind

# module DIR STATICCHECK checks a separate module.
module() {
	cd "$root/$1"
	"$withgo" go vet ./...
	"$withgo" "$2" ./...
	"$withgo" go mod tidy -diff
}

lint() {
	local unformatted staticcheck
	unformatted=$("$withgo" gofmt -l cmd hack kind pkg templates test)
	if [ -n "$unformatted" ]; then
		printf 'not formatted, run gofmt -w:\n%s\n' "$unformatted"
		return 1
	fi
	"$withgo" go vet ./...
	"$withgo" go tool staticcheck ./...
	"$withgo" "$(hack/golangci/build.sh)" run ./...
	"$withgo" go mod tidy -diff
	cd hack/golangci
	"$withgo" go mod tidy -diff
	cd "$root/test/k8s"
	"$withgo" go mod tidy -diff
	cd "$root/test/metallb" # only its go.mod: the benchmark builds it
	"$withgo" go mod tidy -diff
	staticcheck=$("$withgo" go -C "$root" tool -n staticcheck)
	module hack/image "$staticcheck"
	module kind/echo "$staticcheck"
	"$withgo" go test ./...
	module hack/crd "$staticcheck"
	"$withgo" go test -count=1 ./... # not cached: go test does not know the generator's input
	cd "$root"
}

units() { "$withgo" go list ./... | grep -v -E "$lab|$kind"; }

# test/lint reads sources: the race detector would only slow it down.
unit() {
	local list
	mapfile -t list < <(units | grep -v '/test/lint$')
	compile unit -race -- "${list[@]}"
	compile plain -- ./test/lint
	run_all unit 2
	run_all plain 1
}

# unit_quick runs the same tests with -short, and takes results of unchanged packages from the
# cache. Tests that need root are skipped.
unit_quick() {
	local list
	mapfile -t list < <(units)
	"$withgo" go test -race -short "${list[@]}" | { grep -v 'no test files' || true; }
}

# benchmarks runs each benchmark once, so that none breaks unnoticed.
benchmarks() { TESTFLAGS='-test.run=^$ -test.bench=. -test.benchtime=1x' run_all unit 2; }

# simulate simulates histories of the election: N of each property, the first one with seed FIRST.
# Without the race detector, which makes them ten times slower.
simulate() {
	compile simulate -- ./pkg/election
	TESTFLAGS="-test.run=^TestNeverTwo -cases=${N:-0} -first=${FIRST:-1}" run_all simulate 1
}

# fuzz runs each fuzz target for the given time.
fuzz() {
	local dir target
	while IFS=: read -r dir target; do
		printf '%s %s\n' "$dir" "$target"
		"$withgo" go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" "./$dir"
	done < <(grep -rhoE --include='*_test.go' '^func Fuzz\w+' cmd pkg kind test --with-filename |
		sed -E 's,/[^/]*:func ,:,')
}

# image builds the images, and builds them again from a copy of the sources in another directory.
# Then it runs the tests of the image program, and those of the images, which read KVIP_IMAGES and
# KVIP_IMAGES_AGAIN. Without git the version is dev.
image() {
	local make=(make --no-print-directory) copy=$work/image-again stamp
	stamp=$("${make[@]}" stamp)
	"${make[@]}" image $stamp
	as_user rm -rf "$copy"
	as_user mkdir -p "$copy"
	tar -c Makefile go.mod go.sum cmd hack pkg templates | as_user tar -x -C "$copy"
	"${make[@]}" -C "$copy" image $stamp
	GIT_DIR=/nonexistent "${make[@]}" stamp | grep -qx 'VERSION=dev COMMIT=unknown SOURCE_DATE_EPOCH=0'
	cd hack/image
	compile image -- ./...
	cd "$root"
	KVIP_IMAGES=$root/bin/image KVIP_IMAGES_AGAIN=$copy/bin/image run_all image 1
}

# lab_run DIR FLAGS... runs the lab, two packages at a time, because each mostly waits. The package
# with most tests begins, in two halves. Its agent is built with the same flags.
lab_run() {
	local dir=$1 list halves longest=e2e/controlplane
	shift
	mapfile -t list < <("$withgo" go list ./... | grep -E "$lab")
	compile "$dir" "$@" -- "${list[@]}"
	if [ -z "${RUN:-}" ]; then
		halves=$(awk -v longest="/$longest" '
			$1 ~ longest "$" { first = $0 " 0\n" $0 " 1\n"; next }
			{ rest = rest $0 "\n" }
			END { printf "%s%s", first, rest }' "$work/$dir/list")
		printf '%s\n' "$halves" >"$work/$dir/list"
	fi
	"$withgo" go build "$@" -o "$work/$dir/kvip" ./cmd/kvip
	KVIP_BINARY=$work/$dir/kvip run_all "$dir" 2
}

# build_begin starts in the background: builds of Kubernetes and the node image, then the test of
# every command on a fresh machine. Meanwhile the other stages run, which mostly wait. built NAME
# waits for one of these.
build_begin() {
	rm -f "$work"/{kubernetes,node,fresh}.code
	as_user mkdir -p "$work"
	setsid nice -n 19 bash -c '
		step() { code=0; "${@:2}" >"$0/$1.log" 2>&1 || code=$?; echo "$code" >"$0/$1.code"; }
		step kubernetes test/k8s/build.sh
		step node kind/node/build.sh build
		step fresh hack/fresh.sh "$0"' "$work" &
	building=$!
}

built() {
	local code=$work/$1.code log=$work/$1.log
	while [ ! -e "$code" ] && kill -0 "$building" 2>/dev/null; do sleep 1; done
	case $(cat "$code") in
	0) ;;
	77) # skipped
		cat "$log"
		[ "$CI" != true ] || { echo 'CI=true allows no skipped test' && return 1; }
		;;
	*) tail -n 40 "$log" && return 1 ;;
	esac
}

fresh() {
	built fresh
	grep '^ok' "$work/fresh.log" || true
}

# kind_prepare prepares the kind tests and writes the settings to a file; with the argument services
# also those of the case study. kind_run runs the tests of one package, which stops the engine.
kind_prepare() {
	if [ -n "$building" ]; then built node; fi
	kind/prepare.sh own test "$@" >"$work/kind.env"
}

# raise_inotify_limit raises a limit that all containers of a user share and that kubelets of two
# clusters reach. finish restores it.
limit=/proc/sys/fs/inotify/max_user_instances limit_was=''
raise_inotify_limit() {
	if [ "$(cat "$limit")" -lt 512 ]; then
		limit_was=$(cat "$limit")
		echo 1024 >"$limit"
	fi
}

kind_run() {
	raise_inotify_limit
	if [ "$1" = kubeadm ]; then rm -f test/artifacts/kind-outages.csv; fi
	compile "kind-$1" -- ./test/e2e/$1
	set -a
	. "$work/kind.env"
	set +a
	engine=$KVIP_DOCKER_DIR
	TESTFLAGS="-test.timeout=50m ${TESTFLAGS:-}" run_all "kind-$1" 1
}

need_root() { [ "$(id -u)" = 0 ] || { echo "these tests need root: sudo make $1" && exit 1; }; }

# RUN is a regular expression of tests that need root.
if [ -n "${RUN:-}" ]; then export TESTFLAGS="-test.run=$RUN ${TESTFLAGS:-}"; fi
if [ "${1:-}" = lab ]; then
	need_root lab
	mkdir -p "$work"
	stage 'packages' hack/deps.sh lab
	stage 'etcd, kube-apiserver and kubeadm' test/k8s/build.sh
	stage 'lab: real API servers, real packets, with -race' lab_run lab -race
	exit
fi
# has PACKAGE reports whether it has a test that RUN matches, or whether RUN is not set. A second
# argument of this script selects one package.
only=${2:-}
has() {
	[ "${only:-$1}" = "$1" ] || return 1
	[ -z "${RUN:-}" ] || cat "test/e2e/$1"/*_test.go |
		sed -n 's/^func \(Test[A-Za-z0-9_]*\).*/\1/p' | grep -qE "$RUN"
}

if [ "${1:-}" = kind ]; then
	need_root kind
	mkdir -p "$work"
	stage 'packages' hack/deps.sh kind
	if has kubeadm; then
		stage "kind: a node of Kubernetes ${K8S:-as in test/k8s/go.mod}" kind_prepare
		stage 'kind: real kubeadm, kubelet and containerd' kind_run kubeadm
	fi
	if has kindservices; then
		stage 'kind: tools of the case study of Services' kind_prepare services
		stage 'kind: Services behind addresses, under load' kind_run kindservices
	fi
	exit
fi
if [ "${1:-}" = fresh ]; then
	stage 'packages' hack/deps.sh kind-node-image
	stage 'every command on a fresh Debian' hack/fresh.sh "$work"
	exit
fi
case ${1:-} in
lint)
	stage 'lint' lint
	exit
	;;
unit)
	stage 'packages' hack/deps.sh unit-race
	stage 'unit, with -race' unit_quick
	exit
	;;
check)
	stage 'packages' hack/deps.sh unit-race
	stage 'lint (gofmt, vet, staticcheck, golangci-lint, tidy)' lint
	stage 'unit, with -race and the long tests short' unit_quick
	printf '\n%s\n' "${timings[@]}"
	exit
	;;
simulate)
	stage 'simulated histories' simulate
	exit
	;;
fuzz)
	stage 'fuzz' fuzz "${TIME:-30s}"
	exit
	;;
'') ;;
*)
	printf 'unknown part of the tests: %s\n' "$1" >&2
	exit 2
	;;
esac
if [ "$(id -u)" = 0 ]; then
	stage 'packages' hack/deps.sh test
else
	stage 'packages' hack/deps.sh unit-race
fi
stage 'build' make --no-print-directory build
if [ "$(id -u)" = 0 ]; then build_begin; fi
stage 'lint (gofmt, vet, staticcheck, golangci-lint, tidy)' lint
stage 'unit, property, golden and fuzz seeds, with -race' unit
stage 'simulated histories of the election' simulate
stage 'benchmarks of the hot paths, once each' benchmarks
stage 'image: built twice, inspected, run read-only' image
if [ "$(id -u)" = 0 ]; then
	stage 'etcd, kube-apiserver and kubeadm' built kubernetes
	stage 'lab: real API servers, real packets, with -race' lab_run lab -race
	stage 'kind: a node image from Debian packages and Go modules' kind_prepare
	stage 'kind: real kubeadm, kubelet and containerd' kind_run kubeadm
	stage 'kind: tools of the case study of Services' kind_prepare services
	stage 'kind: Services behind addresses, under load' kind_run kindservices
	stage 'every command on a fresh Debian' fresh
else
	current=lab
	printf '\n== lab and kind: skipped, network namespaces need root: sudo make test\n'
	if [ "$CI" = true ]; then
		echo 'CI=true allows no skipped stage'
		exit 1
	fi
fi
printf '\nall passed\n'
printf '%s\n' "${timings[@]}"
printf '%6d s  in all\n' $((SECONDS - began))
