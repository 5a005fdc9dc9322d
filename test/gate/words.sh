#!/bin/sh
# The project speaks of itself only, leaves nothing half-said, and uses one plain language: fails on
# paths of somebody's own machine, on registry hosts, on notes to finish something later, and on the
# words that words.txt replaces (words.ts; DAVIT_WORDS_REPORT=1 only counts those).
set -u
cd "$(dirname "$0")/../.." || exit 1
PATH=$PWD/node_modules/.bin:$PATH
export PATH

# Options are those of words.ts: --list PATH..., --lower.
[ $# -eq 0 ] || exec node test/gate/words.ts "$@"

# Tracked files and new ones; without git (an unpacked archive) every file that is not built.
list() {
  if git rev-parse --git-dir >/dev/null 2>&1; then
    git ls-files -z --cached --others --exclude-standard
  else
    find . -name node_modules -prune -o -name dist -prune -o -type f -print0
  fi
}

# Written with brackets so that this file does not find itself.
elsewhere='(^|[^A-Za-z0-9_.])/(work|tmp/h|farm)/[A-Za-z]|[.][.]/shared/|registry[.]npm|DEVELOPER[S][.]md|notes/style[.]md'
later='(^|[^A-Za-z])(TOD[O]|FIXM[E]|XX[X])([^A-Za-z]|$)'

found=0
if list | xargs -0 grep -nIE "$elsewhere" -- 2>/dev/null; then
  echo "words: the lines above name a place or a document that no reader of this repository has"
  found=1
fi
if list | grep -zE '^(\./)?(src|native|scripts|test|bench)/.*\.(ts|c|h|sh|js|mjs)$' |
  grep -zvE '^(\./)?src/gen/' | xargs -0 grep -nIE "$later" -- 2>/dev/null; then
  echo "words: the lines above leave something open; do it, or file it"
  found=1
fi
node test/gate/words.ts || found=1
exit "$found"
