#!/bin/sh
# Readies a device for an app update, unattended: back up, clear stale cache, check the databases.
set -u

usage() {
  cat <<'END'
Usage: scripts/pre-update-cleanup.sh [-n] [-b SHOPMEND] [-l LOG] [-s DIR] [--] [WHERE...]

Before an app is updated: copies its stores into the vault, clears stale cache, and checks every database and cache.
It asks nothing, and is safe to run again at any time, also after an interruption.

  -n           dry run: show what would be cleared, and check; back up and clear nothing
  -b SHOPMEND  the program; else $SHOPMEND, else a shopmend beside this script or in its checkout, else the one in PATH
  -l LOG       the log, appended to; default $XDG_STATE_HOME/shopmend/pre-update-cleanup.log
               ($XDG_STATE_HOME is ~/.local/state when unset); a log over 1 MB is kept once as LOG.1
  -s DIR       shopmend's state folder (--state-dir)
  -h           this text
  WHERE        which apps and where, as for shopmend scan: --app ID, --image DIR --platform P, --profiles DIR, ...

Ends with the worst exit code of its steps, as the README's table has them: 0 all is well; 1 findings are left, for
example a damaged database that a person should let shopmend repair before the update; 11 the app is running. It clears
nothing when the backup failed. 127: shopmend was not found.
END
}

program=${SHOPMEND:-}
log=
state=
dry_run=0
while [ $# -gt 0 ]; do
  case $1 in
    -h) usage; exit 0 ;;
    -n) dry_run=1 ;;
    -b | -l | -s)
      [ $# -gt 1 ] || { usage >&2; exit 64; }
      case $1 in
        -b) program=$2 ;;
        -l) log=$2 ;;
        *) state=$2 ;;
      esac
      shift
      ;;
    --) shift; break ;;
    # What follows is for the program.
    --*) break ;;
    -*) usage >&2; exit 64 ;;
    *) break ;;
  esac
  shift
done

if [ -z "$log" ]; then
  # A relative value is invalid by the XDG specification and counts as unset.
  case ${XDG_STATE_HOME:-} in
    /*) log=$XDG_STATE_HOME/shopmend/pre-update-cleanup.log ;;
    *)
      if [ -z "${HOME:-}" ]; then
        echo "pre-update-cleanup: HOME is not set; name the log with -l" >&2
        exit 64
      fi
      log=$HOME/.local/state/shopmend/pre-update-cleanup.log
      ;;
  esac
fi

umask 077
case $log in
  */*)
    folder=${log%/*}
    mkdir -p -- "${folder:-/}" || exit 5
    ;;
esac
if [ -f "$log" ] && [ "$(wc -c < "$log")" -gt 1000000 ]; then
  mv -f -- "$log" "$log.1" || exit 5
fi
# In a shell of its own: one that cannot redirect for ":" ends, with a code of its own.
if ! (: >> "$log"); then
  echo "pre-update-cleanup: cannot write the log $log" >&2
  exit 5
fi

say() {
  printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >> "$log"
  printf '%s\n' "$*"
}

if [ -z "$program" ]; then
  here=$(dirname -- "$0")
  for candidate in "$here/shopmend" "$here/../target/release/shopmend"; do
    if [ -f "$candidate" ] && [ -x "$candidate" ]; then
      program=$candidate
      break
    fi
  done
  [ -n "$program" ] || program=shopmend
fi
if ! command -v "$program" > /dev/null 2>&1; then
  say "shopmend was not found ($program); name it with -b"
  exit 127
fi

# How bad an exit code is; the same order as in shopmend itself, and worse than all for a code that is not its own.
rank() {
  case $1 in
    0) echo 0 ;; 2) echo 1 ;; 1) echo 2 ;; 3) echo 3 ;; 11) echo 4 ;; 12) echo 5 ;; 10) echo 6 ;; 13) echo 7 ;;
    64) echo 8 ;; 4) echo 9 ;; 130) echo 10 ;; 5) echo 11 ;; *) echo 12 ;;
  esac
}

meaning() {
  case $1 in
    0) echo "all is well" ;;
    1) echo "findings are left" ;;
    2) echo "nothing wrong was found, but something was not looked at" ;;
    3) echo "something is left or was skipped" ;;
    4) echo "a repair failed and was rolled back" ;;
    5) echo "failed; the log says what to do" ;;
    10) echo "another run holds the lock" ;;
    11) echo "the app is running" ;;
    12) echo "device absent or unauthorised" ;;
    13) echo "profile or configuration invalid" ;;
    64) echo "wrong command line" ;;
    130) echo "interrupted" ;;
    *) echo "ended unexpectedly" ;;
  esac
}

worst=0
step() { # NAME COMMAND ARGUMENTS...
  name=$1
  shift
  printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$name: $*" >> "$log"
  # A program that a signal ends must not take this script's report with it.
  "$@" >> "$log" 2>&1 < /dev/null
  code=$?
  say "$name: $(meaning "$code") ($code)"
  [ "$(rank "$code")" -le "$(rank "$worst")" ] || worst=$code
}

finish() {
  say "done: $(meaning "$worst") ($worst); log: $log"
  exit "$worst"
}
trap 'worst=130; finish' HUP INT TERM

# --state-dir, when given, goes before the rest.
run() { # NAME SUBCOMMAND ARGUMENTS...
  label=$1
  shift
  if [ -n "$state" ]; then
    step "$label" "$program" --state-dir "$state" "$@"
  else
    step "$label" "$program" "$@"
  fi
}

say "start: $program${*:+ $*}"
if [ "$dry_run" = 1 ]; then
  run "what would be cleared" repair --dry-run --only clear "$@"
  run "check" scan "$@"
  finish
fi

run "backup" backup "$@"
# What a backup skipped is no cache: clearing keeps its own copies, so that it can be undone.
case $worst in
  0 | 1 | 2 | 3) run "clear" repair --yes --only clear "$@" ;;
  *) say "clear: left out, since the backup did not succeed" ;;
esac
run "check" scan "$@"
finish
