#!/usr/bin/env bash
# Builds OUT/conformance and OUT/train; writes nothing into the source tree. Needs cargo, and libzmq with its headers.
# Where Debian's crates are installed (librust-zmq-dev, librust-rmp-dev) they are used and nothing is downloaded;
# elsewhere cargo takes the crates from crates.io.
#
#   ./build.sh OUT
set -euo pipefail
[ $# = 1 ] || { echo "usage: build.sh OUT" >&2; exit 2; }
source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# cargo writes Cargo.lock beside Cargo.toml, so it gets a copy.
cp -r "$source/Cargo.toml" "$source/build.rs" "$source/src" "$work"
crates=/usr/share/cargo/registry
cargo=(cargo build --release --quiet --manifest-path "$work/Cargo.toml" --target-dir "$work/target")
if compgen -G "$crates/zmq-[0-9]*" >/dev/null && compgen -G "$crates/rmp-[0-9]*" >/dev/null; then
    cargo+=(--offline --config 'source.crates-io.replace-with="debian"' --config "source.debian.directory=\"$crates\"")
fi
"${cargo[@]}"
cp "$work/target/release/conformance" "$work/target/release/train" "$out"
