# lib.sh - functions that all scripts share. Sourced, never executed.
# shellcheck shell=bash

export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"    # su and cron leave these out; Slurm's daemons live there
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
me=$(basename "$0")

say() { printf '%s: %s\n' "$me" "$*" >&2; }

# die MESSAGE [REMEDY]: print the error and the remedy, and exit.
die() {
  say "$1"
  [ $# -lt 2 ] || printf '  hint: %s\n' "$2" >&2
  exit 1
}

need_root() { [ "$(id -u)" = 0 ] || die "$1 needs root" "${2:-run it as root, or try Scripts/quickstart --local, which needs none}"; }

# need COMMAND PACKAGE: exit unless the command exists.
need() { command -v "$1" >/dev/null || die "$1 is missing" "apt-get install $2"; }

# newer TARGET SOURCE...: true when TARGET is missing or older than one of the sources.
newer() {
  local target=$1 source; shift
  [ -e "$target" ] || return 0
  for source in "$@"; do [ "$source" -nt "$target" ] && return 0; done
  return 1
}

missing_packages() {
  local p
  for p in "$@"; do
    [ "$(dpkg-query -Wf '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || echo "$p"
  done
}

# apt_install PACKAGE...: install missing packages. Needs root only if one is missing.
apt_install() {
  local missing apt guard='' status=0
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || die "these Debian packages are missing: ${missing[*]}" "as root: apt-get install --no-install-recommends ${missing[*]}"
  command -v apt-get >/dev/null || die "no apt-get: these scripts are written for Debian 12" "install the equivalents of: ${missing[*]}"
  say "installing ${#missing[@]} packages: ${missing[*]}"
  # Packages with a daemon start it. The lab and Scripts/registry start private daemons, which a system service on the
  # same port would block.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    guard=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' >$guard
    chmod 755 $guard
  fi
  apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 --no-install-recommends)
  # Update the package lists only if the existing ones do not suffice.
  "${apt[@]}" install "${missing[@]}" </dev/null >"${TMPDIR:-/tmp}/berth-apt.$$" 2>&1 || {
    "${apt[@]}" update </dev/null >>"${TMPDIR:-/tmp}/berth-apt.$$" 2>&1 || true  # third-party lists may fail
    "${apt[@]}" install "${missing[@]}" </dev/null >>"${TMPDIR:-/tmp}/berth-apt.$$" 2>&1 || status=$?
  }
  [ -z "$guard" ] || rm -f "$guard"
  [ $status = 0 ] || { tail -n 20 "${TMPDIR:-/tmp}/berth-apt.$$" >&2; rm -f "${TMPDIR:-/tmp}/berth-apt.$$"; die "apt-get install failed ($status)" "check that a Debian mirror is reachable"; }
  rm -f "${TMPDIR:-/tmp}/berth-apt.$$"
}

# Compare start times, because PIDs are reused.
start_time() { awk '{sub(/.*\) /, ""); print $20}' "/proc/$1/stat" 2>/dev/null || true; }
record_pid() { echo "$1 $(start_time "$1")" >"$2"; }
recorded_pid() { # FILE: prints the pid if that process still runs
  local pid started
  [ -s "$1" ] && read -r pid started <"$1" && [ -n "${started:-}" ] && [ "$(start_time "$pid")" = "$started" ] && echo "$pid"
}
