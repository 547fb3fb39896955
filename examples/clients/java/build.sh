#!/usr/bin/env bash
# Builds OUT/conformance and OUT/train, small scripts that start java, and OUT/tracker.jar; the source tree is unchanged.
# Needs a JDK (17 or later) and the jars of JeroMQ and msgpack-core: Debian's libjeromq-java and libmsgpack-java, or any
# directory that JARS names.
#
#   ./build.sh OUT
set -euo pipefail
[ $# = 1 ] || { echo "usage: build.sh OUT" >&2; exit 2; }
source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
jars=$(cd "${JARS:-/usr/share/java}" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

libraries=
for name in jeromq msgpack-core; do
    candidates=("$jars/$name".jar "$jars/$name"-[0-9]*.jar)
    for jar in "${candidates[@]}"; do
        if [ -e "$jar" ]; then libraries+=":$jar"; continue 2; fi
    done
    echo "build.sh: no $name.jar in $jars" >&2
    exit 1
done

javac --release 17 -encoding UTF-8 -Xlint:all,-classfile -Werror -cp "${libraries#:}" -d "$work" \
    "$source"/tracker/*.java
jar --create --file "$out/tracker.jar" -C "$work" .
for program in Conformance Train; do
    script=$out/${program,,}
    cat >"$script" <<SCRIPT
#!/bin/sh
here=\$(dirname "\$0")
exec java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "\$here/tracker.jar$libraries" tracker.$program "\$@"
SCRIPT
    chmod +x "$script"
done
