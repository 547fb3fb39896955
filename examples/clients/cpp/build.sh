#!/usr/bin/env bash
# Builds OUT/conformance and OUT/train; the source tree is unchanged. Needs g++ or clang++ (C++17) and, on Debian,
# libzmq3-dev, cppzmq-dev and libmsgpack-cxx-dev.
#
#   ./build.sh OUT
set -euo pipefail
[ $# = 1 ] || { echo "usage: build.sh OUT" >&2; exit 2; }
source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compile=("${CXX:-c++}" -std=c++17 -O2 -Wall -Wextra -Werror -pthread -DMSGPACK_NO_BOOST)
for part in tracker wire; do
    "${compile[@]}" -c "$source/$part.cpp" -o "$work/$part.o"
done
for program in conformance train; do
    "${compile[@]}" "$source/$program.cpp" "$work"/*.o -lzmq -o "$out/$program"
done
