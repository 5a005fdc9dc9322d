#!/bin/sh
# Prepares a Debian machine for davit, as root: npm packages, Debian packages, the host's settings.
# Quick and silent if nothing is missing; otherwise it prints a line for each step.
#
#   scripts/setup.sh           what davit needs
#   scripts/setup.sh --test    what its tests need as well
#   scripts/setup.sh --vm      what npm run test:vm needs as well
#   scripts/setup.sh --packages  what npm run package and npm run test:packages need as well
set -eu
cd "$(dirname "$0")/.."

# conmon to iptables: what davit runs. The rest: what builds its native part and looks at pods.
packages="crun runc conmon containernetworking-plugins iptables busybox-static
  gcc libc6-dev libisal-dev iproute2 util-linux procps"
test_packages="docker-registry containerd skopeo cosign strace nftables tmux libarchive-tools mandoc criu libcriu2"
# The kernel of the virtual machine is downloaded, not installed: test/vm/kernel.ts.
vm_packages="docker-registry qemu-system-x86 nftables xz-utils e2fsprogs"
# The packages of davit for both architectures, and their tests. qemu-user runs the programs of the other one.
package_packages="binutils dpkg gcc-aarch64-linux-gnu libc6-dev-arm64-cross xz-utils openssl lintian mmdebstrap qemu-user"

prometheus=
case "${1:-}" in
  "") ;;
  --test)
    packages="$packages $test_packages"
    prometheus=yes
    ;;
  --vm) packages="$packages $vm_packages" ;;
  --packages)
    [ "$(uname -m)" = x86_64 ] || package_packages=$(echo "$package_packages" |
      sed 's/gcc-aarch64-linux-gnu/gcc-x86-64-linux-gnu/; s/libc6-dev-arm64-cross/libc6-dev-amd64-cross/')
    packages="$packages $package_packages"
    ;;
  *)
    echo "usage: scripts/setup.sh [--test | --vm | --packages]" >&2
    exit 2
    ;;
esac

if [ "$(id -u)" != 0 ]; then
  echo "setup: must run as root" >&2
  exit 1
fi

. scripts/progress.sh

# start.sh names a file, and shows the last line of it itself.
log=${STEP_LOG-}
if [ -n "$log" ]; then
  no_progress=1
else
  log=$(mktemp "${TMPDIR:-/tmp}/davit-setup.XXXXXX")
  trap 'rm -f "$log"' EXIT
fi
trap 'end_watched; exit 130' INT TERM

# How long a registry or mirror may take for a first answer.
reach_seconds=20

# quietly TITLE COMMAND...: runs a command with its output kept aside, and shows that only if it fails.
quietly() {
  quiet_title=$1
  shift
  code=0
  watched "$quiet_title" "$log" "$@" || code=$?
  [ "$code" != 0 ] || return 0
  tail -n 30 "$log" >&2
  echo "setup: failed: $*" >&2
  return "$code"
}

# One small question instead of hundreds that each wait for their own time limit.
npm_registry_answers() {
  watched "ask the npm registry" "$log" timeout "$reach_seconds" \
    npm view --prefer-online --fetch-retries=0 "--fetch-timeout=${reach_seconds}000" typescript version
}

# npm writes .package-lock.json last: one that is older than ours, or absent, is not of this lock file.
# Not npm ci, which refuses a lock file that was written where the registry has not the packages of
# every platform; install --no-save takes the locked versions as well, and changes no file of ours.
npm_packages() {
  installed=node_modules/.package-lock.json
  if [ -f "$installed" ] && [ ! package-lock.json -nt "$installed" ]; then return 0; fi
  set -- --no-save --ignore-scripts --no-audit --no-fund --loglevel=http
  code=0
  npm_registry_answers || code=$?
  # 124 is that of timeout(1).
  [ "$code" = 124 ] && why="no answer within $reach_seconds s" || why=$(sed -n 's/^npm error code //p' "$log" | head -n 1)
  if [ "$code" = 0 ]; then
    quietly "install the npm packages" npm install "$@" --fetch-timeout=60000
  elif ! watched "install the npm packages from npm's cache" "$log" npm install "$@" --offline; then
    echo "setup: the npm registry cannot be reached, and npm's cache does not hold the packages: $why" >&2
    echo "setup: check network and proxy (npm config get proxy), or copy node_modules from a machine that has it" >&2
    return 1
  fi
  echo "installed the npm packages"
}

installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# apt COMMAND...: asks no questions, and waits for another apt, for example the machine's own upgrades.
apt() {
  DEBIAN_FRONTEND=noninteractive quietly "apt-get $1" apt-get -o DPkg::Lock::Timeout=120 \
    -o Acquire::Retries=1 -o "Acquire::http::Timeout=$reach_seconds" -y "$@"
}

# apt prints Hit or Get for each list that it got from a mirror, and succeeds even if no mirror answers. Each name
# that does not resolve has its own time limit: the update is ended if it got no list in time.
update_lists() {
  "$@" &
  update_job=$!
  trap 'kill "$update_job" 2>/dev/null; exit 130' INT TERM
  waited=0
  while kill -0 "$update_job" 2>/dev/null && ! grep -qE '^(Hit|Get):' "$log" && [ "$waited" -lt "$reach_seconds" ]; do
    sleep 1
    waited=$((waited + 1))
  done
  grep -qE '^(Hit|Get):' "$log" || kill "$update_job" 2>/dev/null || true
  wait "$update_job" || true
  grep -qE '^(Hit|Get):' "$log"
}

debian_packages() {
  missing=
  for package in $packages; do
    installed "$package" || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "setup: install what these packages of Debian have:$missing" >&2
    return 1
  fi
  if ! watched "apt-get update" "$log" update_lists apt-get update \
    -o Acquire::Retries=1 -o "Acquire::http::Timeout=$reach_seconds"; then
    tail -n 5 "$log" >&2
    echo "setup: no mirror of Debian answered within $reach_seconds s; missing:$missing" >&2
    echo "setup: check network and proxy (apt-config dump Acquire::http::Proxy), or install these packages by hand" >&2
    return 1
  fi
  # shellcheck disable=SC2086 # a list of words
  if ! apt install --no-install-recommends $missing; then
    echo "setup: trying once more" >&2
    # shellcheck disable=SC2086
    apt install --no-install-recommends $missing
  fi
  echo "installed from Debian:$missing"
}

# The tests need two programs of Prometheus and not its services: the packages are unpacked and not installed.
prometheus_programs() {
  [ -n "$prometheus" ] || return 0
  cache=node_modules/.cache/prometheus
  if [ -d "$cache" ] || { command -v prometheus && command -v promtool; } >/dev/null; then return 0; fi
  if ! command -v apt-get >/dev/null; then
    echo "setup: install the programs prometheus and promtool" >&2
    return 1
  fi
  fresh=$PWD/$cache.new
  rm -rf "$fresh"
  mkdir -p "$fresh"
  if ! (cd "$fresh" && watched "download Prometheus" "$log" apt-get -qq download prometheus promtool); then
    watched "apt-get update" "$log" update_lists apt-get update \
      -o Acquire::Retries=1 -o "Acquire::http::Timeout=$reach_seconds" || true
    (cd "$fresh" && quietly "download Prometheus" apt-get -qq download prometheus promtool)
  fi
  for file in "$fresh"/*.deb; do
    dpkg-deb -x "$file" "$fresh"
    rm "$file"
  done
  mv "$fresh" "$cache"
  echo "unpacked Prometheus for the tests in $cache"
}

ip_forward() {
  file=/proc/sys/net/ipv4/ip_forward
  [ "$(cat $file)" = 1 ] && return 0
  echo 1 >$file
  echo "set net.ipv4.ip_forward = 1, so that pods reach other networks"
}

# Where cgroup v1 is in use and a controller is left with v2, crun refuses to start ("drop all
# controllers from cgroupv2"). Mounting that controller as v1, beside the others, takes it from v2.
hybrid_cgroups() {
  base=/sys/fs/cgroup
  left=$base/unified/cgroup.controllers
  [ -f "$left" ] || return 0
  grep -q " $base/[^ ]* cgroup " /proc/mounts || return 0
  read -r controllers <"$left" || true
  for controller in ${controllers:-}; do
    mkdir -p "$base/$controller"
    if mount -t cgroup -o "$controller" cgroup "$base/$controller" 2>"$log"; then
      echo "mounted the cgroup controller $controller as v1: crun does not start while v2 has it"
    elif mountpoint -q "$base/$controller"; then
      continue # Another setup was faster.
    else
      rmdir "$base/$controller"
      echo "setup: the cgroup controller $controller stays with v2, and crun may refuse to start:" \
        "$(cat "$log")" >&2
    fi
  done
}

npm_packages
debian_packages
prometheus_programs
ip_forward
hybrid_cgroups
