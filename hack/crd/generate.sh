#!/usr/bin/env bash
# Generates the CRD and deep copies of the types in pkg/apis: hack/crd/generate.sh CRD-DIR
# COPIES-DIR The generator is a separate module, so its dependencies are not kvip's.
set -euo pipefail
crd=$(realpath "$1") copies=$(realpath "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

generator=$(go -C hack/crd tool -n controller-gen)
"$generator" paths=./pkg/apis/... object output:object:dir="$copies"
# Complete output first: a failure does not replace the file.
definition=$("$generator" paths=./pkg/apis/... crd output:crd:stdout)
printf '%s\n' "${definition#---$'\n'}" >"$crd/crd-ippool.yaml"
