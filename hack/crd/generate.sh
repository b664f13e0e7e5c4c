#!/usr/bin/env bash
# Generates the CRDs and deep copies of the types in pkg/apis: hack/crd/generate.sh CRD-DIR
# COPIES-DIR The generator is a separate module, so its dependencies are not kvip's.
set -euo pipefail
crd=$(realpath "$1") copies=$(realpath "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

generator=$(go -C hack/crd tool -n controller-gen)
"$generator" paths=./pkg/apis/... object output:object:dir="$copies"
# Complete output first: a failure does not replace a file.
made=$(mktemp -d)
trap 'rm -r "$made"' EXIT
"$generator" paths=./pkg/apis/... crd output:crd:dir="$made"
for file in "$made"/*.yaml; do
	kind=$(sed -n 's/^    singular: //p' "$file")
	sed '1{/^---$/d}' "$file" >"$crd/crd-$kind.yaml"
done
