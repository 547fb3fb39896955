#!/bin/sh
# Installs what the tests need besides Python packages, where there is apt-get: servers (PostgreSQL, ClickHouse), the
# tools of the five clients' languages, and those for network namespaces. What is there already is left alone, so it
# asks for root only where something is missing. Elsewhere it says what to install.
set -eu

# Debian's names; a program that is there makes its package unnecessary, wherever it came from.
wanted="postgresql clickhouse-server nftables iproute2 util-linux mount openssl pkg-config strace
libzmq3-dev cppzmq-dev libmsgpack-cxx-dev librust-zmq-dev librust-rmp-dev libjeromq-java libmsgpack-java
ruby ruby-ffi-rzmq ruby-msgpack"
command -v g++ >/dev/null || wanted="$wanted g++"
command -v cargo >/dev/null || wanted="$wanted cargo"
command -v javac >/dev/null || wanted="$wanted default-jdk-headless"
command -v node >/dev/null || wanted="$wanted nodejs"
command -v npm >/dev/null || wanted="$wanted npm"

missing=""
for package in $wanted; do
    if ! { command -v dpkg-query >/dev/null && dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed"; }; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "tests/install-packages.sh: there is no apt-get here; the tests need, by their names in Debian:$missing" >&2
    exit 1
fi
root=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "tests/install-packages.sh: install as root:$missing" >&2; exit 1; }
    root="sudo -n"
fi
echo "installing:$missing"
# Servers are started by the tests, each for itself: none is to be started by its package.
policy=/usr/sbin/policy-rc.d
made=""
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null
    $root chmod +x "$policy"
    made=yes
fi
trap '[ -z "$made" ] || $root rm -f "$policy"' EXIT
$root env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 update -qq
# shellcheck disable=SC2086
$root env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends $missing </dev/null
