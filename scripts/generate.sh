#!/bin/sh
# Turns proto/ into src/gen/, the schema of the configuration into its reference, and bench/RESULTS.md
# into the figures of README.md. With --check it writes nothing and fails when src/gen/ is not what
# proto/ and the installed generator give; the reference is compared by a unit test.
set -eu
cd "$(dirname "$0")/.."
# buf finds its plugin, and the plugin its node (>= 22), by PATH: ours come first.
PATH="$PWD/node_modules/.bin:$PATH"
export PATH

case "${1:-}" in
  "")
    buf lint
    rm -rf src/gen
    buf generate
    node scripts/cri-types.ts src/gen
    node scripts/configuration.ts
    node scripts/figures.ts
    ;;
  --check)
    fresh=$(mktemp -d)
    trap 'rm -rf "$fresh"' EXIT
    buf lint
    buf generate --output "$fresh"
    node scripts/cri-types.ts "$fresh/src/gen"
    if ! diff -r "$fresh/src/gen" src/gen >&2; then
      echo "generate: src/gen is not current: run scripts/generate.sh and commit the result" >&2
      exit 1
    fi
    ;;
  *)
    echo "usage: scripts/generate.sh [--check]" >&2
    exit 2
    ;;
esac
