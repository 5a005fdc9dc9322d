#!/bin/sh
# The fuzzer of test/fuzz: every target for ten minutes, one after another, at a low priority. npm test has a few inputs
# of each. docs/fuzzing.md describes the targets.
#
#   npm run test:fuzz                          everything: some hours
#   npm run test:fuzz -- tar zstd --minutes 1  two targets for a minute each
#   npm run test:fuzz -- --list                the names of the targets
set -eu
cd "$(dirname "$0")/.."

PATH=$PWD/node_modules/.bin:$PATH
export PATH
sh scripts/build.sh >/dev/null
exec nice -n 10 node test/fuzz/run.ts "$@"
