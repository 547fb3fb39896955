#!/bin/sh
# Installs what the tests need besides Python packages, with apt-get: servers (PostgreSQL, ClickHouse), a browser, the tools
# of the five clients' languages, and the tools for network namespaces. Installed programs are left as they are, so root is
# needed only if something is missing. Without apt-get it prints the missing packages.
set -eu

# Debian's package names; an installed program makes its package unnecessary, wherever it came from.
wanted="postgresql clickhouse-server nftables iproute2 util-linux mount openssl pkg-config strace
libzmq3-dev cppzmq-dev libmsgpack-cxx-dev librust-zmq-dev librust-rmp-dev libjeromq-java libmsgpack-java
ruby ruby-ffi-rzmq ruby-msgpack"
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || wanted="$wanted chromium fonts-dejavu-core"
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
    echo "tests/install-packages.sh: apt-get is missing; install the equivalents of these Debian packages:$missing" >&2
    exit 1
fi
root=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "tests/install-packages.sh: install as root:$missing" >&2; exit 1; }
    root="sudo -n"
fi
echo "installing:$missing"
# The tests start their own servers, so the packages must not start any.
policy=/usr/sbin/policy-rc.d
policy_created=""
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null
    $root chmod +x "$policy"
    policy_created=yes
fi
trap '[ -z "$policy_created" ] || $root rm -f "$policy"' EXIT
$root env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 update -qq
# shellcheck disable=SC2086
$root env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends $missing </dev/null
