#!/bin/sh
# The gate: everything that can be judged without root. All checks run, so that one run shows every
# finding; the exit code is 1 if any of them found something.
#
#   npm run ok                  all checks; the audit is skipped where the registry does not answer
#   npm run ok -- types lint    only these (format types lint layers generated words audit unit)
set -u
cd "$(dirname "$0")/.." || exit 1
PATH=$PWD/node_modules/.bin:$PATH
export PATH

case $(node --version 2>/dev/null) in
v2[4-9].* | v[3-9][0-9].*) ;;
*)
  echo "ok: Node 24 or newer is missing in node_modules/.bin; run: npm install --ignore-scripts" >&2
  exit 1
  ;;
esac

out=$(mktemp -d "${TMPDIR:-/tmp}/davit-ok.XXXXXX") || exit 1
trap 'rm -rf "$out"' EXIT
trap 'exit 130' INT TERM

format() {
  biome format --colors=off --reporter=summary . && return
  echo "fix it: npm run format"
  return 1
}
types() { tsc -p tsconfig.json && tsc -p src/page/tsconfig.json; }
lint() { eslint --max-warnings 0 $(sources); }
layers() { depcruise --config .dependency-cruiser.mjs $(sources); }
generated() { sh scripts/generate.sh --check; }
words() { sh test/gate/words.sh; }
audit() { node scripts/audit.ts; }
unit() { node test/run.ts unit; }

# The directories that hold TypeScript now: the tools call an empty directory an error.
sources() {
  for directory in src test bench scripts examples; do
    [ -n "$(find "$directory" -name '*.ts' -print -quit 2>/dev/null)" ] && echo "$directory"
  done
}

seconds() { date +%s%N; }

# Runs one check with its output kept aside, and notes its time and its exit code.
check() {
  begin=$(seconds)
  "$1" >"$out/$1.txt" 2>&1
  code=$?
  echo "$code $((($(seconds) - begin) / 1000000))" >"$out/$1.result"
}

failed=0
skipped=
report() {
  read -r code ms <"$out/$1.result"
  time=$(printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100)))
  if [ "$1-$code" = audit-3 ]; then
    printf 'skipped %-10s %7s  %s\n' "$1" "$time" "$(head -n 1 "$out/$1.txt")"
    skipped=$1
  elif [ "$code" = 0 ]; then
    printf 'ok      %-10s %7s  %s\n' "$1" "$time" "$(grep -a ' passed, ' "$out/$1.txt" | tail -n 1)"
  else
    printf 'FAILED  %-10s %7s\n' "$1" "$time"
    sed 's/^/        /' "$out/$1.txt"
    failed=$((failed + 1))
  fi
}

[ $# -gt 0 ] || set -- format types lint layers generated words audit unit
for name; do
  case $name in
  format | types | lint | layers | generated | words | audit | unit) ;;
  *)
    echo "ok: there is no check \"$name\"; choose from: format types lint layers generated words audit unit" >&2
    exit 2
    ;;
  esac
done

# Two at a time: the compiler and the linter take as long as all others together.
for name; do
  [ "$name" = types ] && { check types & types_job=$!; }
done
for name; do
  [ "$name" = types ] || check "$name"
done
[ -z "${types_job-}" ] || wait "$types_job"

for name; do report "$name"; done
if [ "$failed" -gt 0 ]; then
  echo "ok: $failed of $# checks failed"
  exit 1
fi
if [ -n "$skipped" ]; then
  echo "ok: all checks passed except $skipped, which was skipped"
else
  echo "ok: all $# checks passed"
fi
