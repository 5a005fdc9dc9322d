#!/bin/sh
# Prepares a Debian machine for davit, as root: npm packages, Debian packages, the host's settings.
# Quick and silent when nothing is missing; otherwise a line for each thing that it did.
#
#   scripts/setup.sh           what davit needs
#   scripts/setup.sh --test    what its tests need as well
#   scripts/setup.sh --vm      what npm run test:vm needs as well
set -eu
cd "$(dirname "$0")/.."

# conmon to iptables: what davit runs. The rest: what builds its native part and looks at pods.
packages="crun runc conmon containernetworking-plugins iptables busybox-static
  gcc libc6-dev iproute2 util-linux procps"
test_packages="docker-registry containerd skopeo strace nftables tmux"
# The kernel of the virtual machine is downloaded, not installed: test/vm/kernel.ts.
vm_packages="docker-registry qemu-system-x86 nftables xz-utils e2fsprogs"

case "${1:-}" in
  "") ;;
  --test) packages="$packages $test_packages" ;;
  --vm) packages="$packages $vm_packages" ;;
  *)
    echo "usage: scripts/setup.sh [--test | --vm]" >&2
    exit 2
    ;;
esac

if [ "$(id -u)" != 0 ]; then
  echo "setup: must run as root" >&2
  exit 1
fi

log=$(mktemp "${TMPDIR:-/tmp}/davit-setup.XXXXXX")
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM

# Runs a command with its output kept aside, and shows that only if the command fails.
quietly() {
  "$@" >"$log" 2>&1 </dev/null && return 0
  code=$?
  tail -n 30 "$log" >&2
  echo "setup: failed: $*" >&2
  return "$code"
}

# npm writes .package-lock.json last: one that is older than ours, or absent, is not of this lock file.
# Not npm ci, which refuses a lock file that was written where the registry has not the packages of
# every platform; install --no-save takes the locked versions as well, and changes no file of ours.
npm_packages() {
  installed=node_modules/.package-lock.json
  if [ -f "$installed" ] && [ ! package-lock.json -nt "$installed" ]; then return 0; fi
  quietly npm install --no-save --ignore-scripts --no-audit --no-fund
  echo "installed the npm packages"
}

installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

apt() {
  # Another apt may run, for instance the machine's own upgrades: wait for it.
  DEBIAN_FRONTEND=noninteractive quietly apt-get -o DPkg::Lock::Timeout=120 -y "$@"
}

install_packages() {
  apt update && apt install --no-install-recommends "$@"
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
  # shellcheck disable=SC2086 # a list of words
  if ! install_packages $missing; then
    echo "setup: trying once more" >&2
    # shellcheck disable=SC2086
    install_packages $missing
  fi
  echo "installed from Debian:$missing"
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
    else
      rmdir "$base/$controller"
      echo "setup: the cgroup controller $controller stays with v2, and crun may refuse to start:" \
        "$(cat "$log")" >&2
    fi
  done
}

npm_packages
debian_packages
ip_forward
hybrid_cgroups
