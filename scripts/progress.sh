# Sourced by start.sh and setup.sh: runs a command with its output kept aside, and shows that it is running.

# Whether standard output is a terminal on which a line can be rewritten.
is_live() { [ -t 1 ] && [ "${TERM:-dumb}" != dumb ]; }

# Removes the line that rewrites itself, where there is one.
clear_line() { if is_live; then printf '\r\033[2K'; fi; }

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# seconds_since MS
seconds_since() { echo $((($(now_ms) - $1) / 1000)); }

# last_line FILE...: the last line of the last of the files that has one, for a person.
last_line() {
  for each; do [ ! -s "$each" ] || tail -n 1 "$each"; done | tail -n 1 | tr -d '[:cntrl:]' | cut -c 1-100
}

# A sleep that ends with its shell.
pause_for() {
  sleep "$1" >/dev/null 2>&1 &
  pause=$!
  wait "$pause"
}

# Prints time and last line of a command that runs: on a terminal each second, else each 30 s.
tell_progress() {
  title=$1
  shift
  columns=$(stty size 2>/dev/null </dev/tty | cut -d ' ' -f 2) || columns=
  [ "${columns:-0}" -gt 20 ] || columns=80
  begun=$(now_ms)
  trap 'kill "$pause" 2>/dev/null; exit 0' TERM
  while :; do
    if is_live; then
      text=$(printf '  \342\200\246 %s  %s s  %s' "$title" "$(seconds_since "$begun")" "$(last_line "$@")")
      printf '\r\033[2K%s' "$(printf '%s' "$text" | cut -c 1-"$columns")"
      pause_for 1
    else
      pause_for 30
      printf '  %s: %s s so far; %s\n' "$title" "$(seconds_since "$begun")" "$(last_line "$@")"
    fi
  done
}

# watched TITLE LOG COMMAND...: runs a command with its output in LOG and tells its progress, unless
# no_progress is set. Where STEP_LOG names a file, the last line of that one is told. The exit code is the
# command's. A caller ends the command with end_watched when a signal arrives: a shell's background
# command ignores SIGINT.
watched() {
  watched_title=$1
  watched_log=$2
  shift 2
  "$@" >"$watched_log" 2>&1 </dev/null &
  watched_job=$!
  if [ -z "${no_progress-}" ]; then
    tell_progress "$watched_title" "$watched_log" ${STEP_LOG:+"$STEP_LOG"} &
    watched_teller=$!
  fi
  watched_code=0
  wait "$watched_job" || watched_code=$?
  end_teller
  watched_job=
  return "$watched_code"
}

end_teller() {
  [ -n "${watched_teller-}" ] || return 0
  kill "$watched_teller" 2>/dev/null || true
  wait "$watched_teller" 2>/dev/null || true
  watched_teller=
  clear_line
}

# Ends the command that runs, if one does, and waits for it.
end_watched() {
  end_teller
  [ -n "${watched_job-}" ] || return 0
  kill "$watched_job" 2>/dev/null || true
  wait "$watched_job" 2>/dev/null || true
  watched_job=
}
