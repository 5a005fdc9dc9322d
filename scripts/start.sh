#!/bin/sh
# npm start: installs what is missing, builds, and runs examples/hello.yaml in a server of its own
# until Ctrl-C. Arguments go to "davit demo": npm start -- --once ends by itself.
set -eu
cd "$(dirname "$0")/.."

case $(id -u) in
  0) ;;
  *)
    echo "start: davit makes namespaces, mounts and networks: run npm start as root" >&2
    exit 1
    ;;
esac

log=$(mktemp "${TMPDIR:-/tmp}/davit-start.XXXXXX")
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM

tick=$(printf '\342\234\223')
cross=$(printf '\342\234\227')
dots=$(printf '\342\200\246')

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# step TITLE COMMAND...: runs it with a line as those of "davit demo"; what it says comes below.
step() {
  title=$1
  shift
  begun=$(now_ms)
  live=
  if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ]; then live=1; fi
  [ -z "$live" ] || printf '  %s %s' "$dots" "$title"
  mark=$tick
  "$@" >"$log" 2>&1 </dev/null || mark=$cross
  ms=$(($(now_ms) - begun))
  if [ $ms -lt 1000 ]; then
    time="$ms ms"
  else
    time="$((ms / 1000)).$((ms % 1000 / 100)) s"
  fi
  [ -z "$live" ] || printf '\r\033[2K'
  printf '  %s %s%*s %8s\n' "$mark" "$title" $((48 - ${#title})) '' "$time"
  sed 's/^/    /' "$log"
  [ "$mark" = "$tick" ]
}

echo "davit: a pod from its manifest to its address"
echo
step "Install what is missing, prepare the host" sh scripts/setup.sh
step "Build" sh scripts/build.sh
rm -f "$log"
# exec: Ctrl-C and the exit code are davit's from here.
exec bin/davit demo "$@" examples/hello.yaml
