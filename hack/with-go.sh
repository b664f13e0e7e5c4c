#!/usr/bin/env bash
# Runs a command with a sufficiently new Go first in PATH, as the calling user and with that user's
# Go settings, also through sudo: hack/with-go.sh go build ./... With --root the command keeps the
# rights of root.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

runner=as_user
if [ "${1:-}" = --root ]; then
	runner=
	shift
fi
import_caller
go=$(find_go)
export GO=$go PATH=${go%/*}:$PATH
$runner "$@"
