#!/bin/sh
# Measures davit and Debian's containerd, as root, and writes bench/RESULTS.md.
#
#   npm run bench                        everything, 50 rounds
#   npm run bench -- --rounds 10         quicker
#   npm run bench -- --only lifecycle    see: npm run bench -- --help
#   npm run bench -- --peer NAME=SOCKET  beside a server that you have started, see docs/benchmark.md
#
# Both servers run in a network, mount and pid namespace of their own. At every end of the bench its processes and
# mounts disappear with the pid namespace; this script removes the directory and the cgroups.
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
  echo "bench: it makes mounts, namespaces and cgroups: run it as root" >&2
  exit 1
fi

sh scripts/setup.sh --test
sh scripts/build.sh

# The root of the row "a Debian root": made once, here, since the namespaces below have no network. mmdebstrap takes the
# host's package sources only for the host's own suite.
root=bench/out/debian-root.tar
if [ ! -f "$root" ] && command -v mmdebstrap >/dev/null; then
  mkdir -p bench/out
  suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
  if mmdebstrap --quiet --variant=minbase --format=tar "$suite" "$root.new"; then
    mv "$root.new" "$root"
  else
    rm -rf "$root.new"
    echo "bench: mmdebstrap failed: there is no row of a Debian root" >&2
  fi
fi

# On the disk, where a node has its container runtimes: /tmp and /run may be in memory.
directory=$(mktemp -d "${DAVIT_BENCH_DIR:-/var/tmp}/davit-bench.XXXXXX")
name=$(basename "$directory")
cgroup=davit-bench-${name#*.}
# containerd keeps CNI results in /var/lib/cni, which is not configurable.
made_cni=
if [ ! -d /var/lib/cni ]; then
  mkdir -p /var/lib/cni
  made_cni=1
fi
child=

clean_up() {
  trap '' INT TERM HUP
  if [ -n "$child" ]; then
    kill -KILL "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
    child=
  fi
  # Cgroups and mounts of killed processes are free after a moment.
  for attempt in 1 2 3 4 5 6 7 8 9 10; do
    find /sys/fs/cgroup -mindepth 1 -depth -type d -path "*/$cgroup*" -exec rmdir {} + 2>/dev/null || true
    rm -rf --one-file-system "$directory" 2>/dev/null || true
    if [ ! -e "$directory" ] && [ -z "$(find /sys/fs/cgroup -type d -name "$cgroup*" 2>/dev/null)" ]; then
      break
    fi
    [ "$attempt" != 10 ] || echo "bench: could not remove all of $directory and cgroups $cgroup" >&2
    sleep 0.5
  done
  [ -z "$made_cni" ] || rmdir /var/lib/cni 2>/dev/null || true
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

cc -static -Os -s -o "$directory/pause" bench/pause.c

# shellcheck disable=SC2016 # expanded by the inner shell
inside='
  # Where servers of --peer are (bench/rivals.ts).
  mkdir "$DAVIT_BENCH_DIRECTORY/outside" "$DAVIT_BENCH_DIRECTORY/outside/proc" "$DAVIT_BENCH_DIRECTORY/outside/run"
  mount --bind /proc "$DAVIT_BENCH_DIRECTORY/outside/proc"
  mount --bind /run "$DAVIT_BENCH_DIRECTORY/outside/run"
  mount -t proc -o nosuid,nodev,noexec proc /proc
  ip link set lo up
  mount -t tmpfs -o mode=0755 davit-bench-run /run
  mkdir "$DAVIT_BENCH_DIRECTORY/cni"
  mount --bind "$DAVIT_BENCH_DIRECTORY/cni" /var/lib/cni
  # No exec: the shell is process 1 and reaps the shims.
  "$@"
  exit $?
'
DAVIT_BENCH_DIRECTORY=$directory DAVIT_BENCH_CGROUP=/$cgroup \
  DAVIT_BENCH_OUTSIDE=$directory/outside/proc/$$ \
  unshare --net --mount --propagation private --pid --fork --kill-child=KILL \
  sh -euc "$inside" bench node_modules/.bin/node --disable-warning=ExperimentalWarning \
  bench/run.ts "$@" &
child=$!
code=0
wait "$child" || code=$?
child=
exit "$code"
