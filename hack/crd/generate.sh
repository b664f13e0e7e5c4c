#!/usr/bin/env bash
# Writes what is made from the types in pkg/apis: hack/crd/generate.sh DIR-OF-THE-CRD DIR-OF-THE-COPIES
# The generator is a module of its own, so that nothing of it is among kvip's dependencies.
set -euo pipefail
crd=$(realpath "$1") copies=$(realpath "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

generator=$(go -C hack/crd tool -n controller-gen)
"$generator" paths=./pkg/apis/... object output:object:dir="$copies"
definition=$("$generator" paths=./pkg/apis/... crd output:crd:stdout) # at once: what failed replaces nothing
printf '%s\n' "${definition#---$'\n'}" >"$crd/crd-ippool.yaml"
