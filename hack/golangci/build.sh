#!/usr/bin/env bash
# Builds the golangci-lint of go.mod in this directory, once, into kvip's cache, and prints its
# path.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
no_arguments "$@"
import_caller
cd "${root:?}/hack/golangci"

key=$("$root/hack/with-go.sh" go env GOVERSION | cat - go.mod go.sum | sha256sum | cut -c 1-12)
cache=${KVIP_CACHE:-${XDG_CACHE_HOME:-$(user_home)/.cache}/kvip}
program=$cache/golangci-lint-$key
if [ ! -x "$program" ]; then
	as_user mkdir -p "$cache"
	"$root/hack/with-go.sh" go build -o "$program.$$" \
		github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	as_user mv "$program.$$" "$program"
fi
printf '%s\n' "$program"
