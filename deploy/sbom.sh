#!/bin/sh
# The software bill of materials (CycloneDX JSON) of a Python environment, by the CycloneDX project's own tool.
#
#   deploy/sbom.sh PYTHON OUT.json
#
# The tool is installed into a temporary environment, so that nothing is added to the one it looks at.
set -eu
TOOL="cyclonedx-bom==7.5.0"
[ $# -eq 2 ] || { echo "usage: $0 PYTHON OUT.json" >&2; exit 2; }
command -v "$1" >/dev/null || { echo "$0: $1: no such program; give an environment's python" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check "$TOOL"
"$work/env/bin/cyclonedx-py" environment --output-reproducible --of JSON --sv 1.6 -o "$work/bill.json" "$(command -v "$1")"
mv "$work/bill.json" "$2"
