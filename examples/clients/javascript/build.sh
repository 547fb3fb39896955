#!/bin/sh
# Builds the programs `conformance` and `train` in a directory: build.sh OUT
set -eu
[ $# = 1 ] || { echo "usage: build.sh OUT" >&2; exit 2; }
for tool in node npm; do
    command -v "$tool" >/dev/null || { echo "build.sh: $tool is missing; install Node.js 18.3 or later, with npm" >&2; exit 1; }
done
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cp "$here"/package.json "$here"/*.js "$1"
cd "$1"
# The zeromq package contains its binaries, so no install script needs to run.
npm install --omit=dev --ignore-scripts --no-package-lock --no-audit --no-fund --loglevel=error
for program in conformance train; do
    printf '#!/bin/sh\nexec node "$(dirname "$0")/%s.js" "$@"\n' "$program" >"$program"
    chmod +x "$program"
done
