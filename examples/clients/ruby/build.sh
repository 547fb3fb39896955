#!/bin/sh
# Builds the programs `conformance` and `train` in a directory: build.sh OUT
set -eu
[ $# = 1 ] || { echo "usage: build.sh OUT" >&2; exit 2; }
command -v ruby >/dev/null || { echo "build.sh: ruby is missing; install ruby 3.0 or later" >&2; exit 1; }
for library in ffi-rzmq msgpack; do
    ruby -e "require '$library'" 2>/dev/null || {
        echo "build.sh: the library $library is missing; install the package ruby-$library or the gem $library" >&2
        exit 1
    }
done
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/tracker"
cp "$here"/*.rb "$1"
cp "$here"/tracker/*.rb "$1/tracker"
cd "$1"
for program in conformance train; do
    printf '#!/bin/sh\nexec ruby "$(dirname "$0")/%s.rb" "$@"\n' "$program" >"$program"
    chmod +x "$program"
done
