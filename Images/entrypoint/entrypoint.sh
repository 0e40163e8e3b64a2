#!/bin/sh
# A typical entrypoint: prints a banner, writes a file, sets variables that depend on others, and runs the command.
echo "== ENTRYPOINT =="
echo "run by $(id -u)" >>/entrypoint.log
if [ -n "$TLS" ]; then export SERVICE=tcp://service:2376; else export SERVICE=tcp://service:2375; fi
case $ENTRYPOINT_MODE in
  fail) echo "the entrypoint's own reason" >&2; exit 3;;
  hang) exec sleep 600;;
  forget) exit 0;;
  attack)
    # What root could do to the host's launcher (CVE-2019-5736), and what it may do at all.
    grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status
    for file in /proc/self/fd/* /proc/$PPID/exe; do
      [ -f "$file" ] && [ "$(head -c 4 "$file" 2>/dev/null | tail -c 3)" = ELF ] || continue
      # Once the program has ended; a running one is busy.
      { exec 9<"$file"; sleep 2; : >>/proc/self/fd/9 && echo "wrote to $file"; } >>/attack.log 2>&1 &
    done;;
  cd) cd /var;;
  daemon) setsid sleep 700 </dev/null >/dev/null 2>&1 &;;
esac
exec "$@"
