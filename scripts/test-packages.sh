#!/bin/sh
# Tests of the packages (test/packages): builds them twice, the second time from a copy of the sources and for this
# machine's architecture only, makes a clean root of Debian, and installs, runs and removes each package there. Runs as
# root, and takes minutes. What needs mmdebstrap, lintian, qemu-user or a mirror is skipped without it.
#
#   npm run test:packages
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
  echo "npm run test:packages needs root: it makes a root directory, mounts and namespaces" >&2
  exit 1
fi
sh scripts/setup.sh --packages
PATH=$PWD/node_modules/.bin:$PATH
export PATH

cache=node_modules/.cache/davit-packages
mkdir -p "$cache"
copy=$(mktemp -d "${TMPDIR:-/tmp}/davit-packages.XXXXXX")
trap 'rm -rf "$copy"' EXIT
trap 'exit 130' INT TERM

case $(uname -m) in aarch64) arch=arm64 ;; *) arch=x64 ;; esac
rm -rf dist/packages
sh scripts/package.sh
echo "build the packages again, from a copy"
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)
export SOURCE_DATE_EPOCH
tar --exclude=./node_modules --exclude=./dist --exclude=./.git --exclude=./bench/out --exclude=./test/vm/out -cf - . |
  tar -xf - -C "$copy"
ln -s "$PWD/node_modules" "$copy/node_modules"
sh "$copy/scripts/package.sh" --arch "$arch" "$copy/packages" >/dev/null

# mmdebstrap takes the host's package sources only for the host's own suite. The root is kept for the next run.
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
root=$cache/root-$suite.tar
if [ ! -f "$root" ] && command -v mmdebstrap >/dev/null; then
  echo "make a root of Debian $suite"
  mmdebstrap --quiet --variant=minbase --format=tar \
    --include=crun,conmon,containernetworking-plugins,iptables,libisal2,libstdc++6,kmod \
    "$suite" "$root.new" && mv "$root.new" "$root" || rm -rf "$root.new"
fi

code=0
DAVIT_TEST_ROOT=$root DAVIT_TEST_PACKAGES=$PWD/dist/packages DAVIT_TEST_PACKAGES_AGAIN=$copy/packages \
  DAVIT_TEST_PACKAGES_TABLE=$copy/table node test/run.ts packages "$@" || code=$?
[ ! -f "$copy/table" ] || cat "$copy/table"
exit "$code"
