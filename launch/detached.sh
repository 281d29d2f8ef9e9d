#!/usr/bin/env bash
# Keeps a run going on this machine when the connection to it is lost:
#
#   launch/detached.sh start --config=...   starts launch/local.sh
#   launch/detached.sh follow               shows its log until it ends
#   launch/detached.sh stop                 SIGTERM: it saves and ends
#
# One run at a time. `follow` ends with the run's status. What is noted lies in
# runs/.detached.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

folder="$root/runs/.detached"
# A save to a slow disk may take a while.
grace_seconds=120

# The run holds the lock; the system lets go of it however the run ends.
is_running() {
  [[ -e "$folder/lock" ]] && ! flock --nonblock "$folder/lock" true
}

start() {
  mkdir -p "$folder"
  exec 9>>"$folder/lock"
  flock --nonblock 9 ||
    die "a run is going on in $root; 'follow' shows it, 'stop' ends it."
  rm -f "$folder/status"
  # A session of its own: the end of this one does not end it.
  setsid "$root/launch/detached.sh" attend "$@" \
    >"$folder/log" 2>&1 </dev/null &
  echo $! >"$folder/pid"
}

attend() {
  local status=0
  trap : TERM # this shell waits for the run, which has heard it, too
  "$root/launch/local.sh" "$@" || status=$?
  echo "$status" >"$folder/status"
}

follow() {
  [[ -e "$folder/log" ]] || die "no run was started in $root."
  if is_running; then
    tail --lines=+1 --follow --pid="$(<"$folder/pid")" "$folder/log"
  else
    cat "$folder/log"
  fi
  [[ -e "$folder/status" ]] ||
    die "the run was ended from outside; the same start goes on."
  exit "$(<"$folder/status")"
}

stop() {
  if ! is_running; then
    echo "No run is going on in $root."
    return
  fi
  kill -TERM -- "-$(<"$folder/pid")"
  flock --timeout "$grace_seconds" "$folder/lock" true ||
    die "the run goes on $grace_seconds s after SIGTERM."
  tail --lines=1 "$folder/log"
}

case "${1:-}" in
  start | attend | follow | stop) "$@" ;;
  *) die "what to do must be one of: start follow stop; got '${1:-}'." ;;
esac
