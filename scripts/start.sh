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

. scripts/progress.sh

log=$(mktemp "${TMPDIR:-/tmp}/davit-start.XXXXXX")
STEP_LOG=$log.step
export STEP_LOG
trap 'rm -f "$log" "$STEP_LOG"' EXIT
interrupted() {
  end_teller
  printf '\nstart: interrupted; ending what runs now. npm start continues from here\n' >&2
  end_watched
  exit 130
}
trap interrupted INT TERM

tick=$(printf '\342\234\223')
cross=$(printf '\342\234\227')

# step TITLE COMMAND...: runs a command with a line like those of "davit demo", and its output below.
step() {
  title=$1
  shift
  begun=$(now_ms)
  mark=$tick
  watched "$title" "$log" "$@" || mark=$cross
  ms=$(($(now_ms) - begun))
  if [ $ms -lt 1000 ]; then
    time="$ms ms"
  else
    time="$((ms / 1000)).$((ms % 1000 / 100)) s"
  fi
  printf '  %s %s%*s %8s\n' "$mark" "$title" $((48 - ${#title})) '' "$time"
  sed 's/^/    /' "$log"
  rm -f "$STEP_LOG"
  [ "$mark" = "$tick" ]
}

# Problems that would stop the demo are reported before the installation.
check_host() {
  command -v npm >/dev/null || {
    echo "npm is not installed: install Node.js 20 or newer with npm"
    return 1
  }
  # In KiB: npm packages, the build, and the demo's image.
  free=$(df -Pk . | awk 'NR == 2 { print $4 }')
  if [ ! -d node_modules ] && [ "$free" -lt 800000 ]; then
    echo "$(pwd) has $((free / 1024)) MiB free, and the npm packages take 600 MiB: free space, or clone to another disk"
    return 1
  fi
  # A socket in state 0A (LISTEN) of proc_net(5); 1F8D is 8077, the host port of examples/hello.yaml.
  if cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -qE '^ *[0-9]+: [0-9A-F]+:1F8D [0-9A-F]+:[0-9A-F]+ 0A '; then
    echo "a process listens on port 8077, which examples/hello.yaml publishes: stop it (ss -ltnp 'sport = 8077' shows it)"
    return 1
  fi
}

echo "davit: a pod from its manifest to its address"
echo
step "Check the host" check_host
step "Install what is missing, prepare the host" sh scripts/setup.sh
step "Build" sh scripts/build.sh
rm -f "$log" "$STEP_LOG"
# exec: Ctrl-C and the exit code are davit's from here.
exec bin/davit demo "$@" examples/hello.yaml
