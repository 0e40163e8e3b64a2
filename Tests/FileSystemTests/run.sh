#!/usr/bin/env bash
# run.sh      a store and containers on network file systems; FUSE and mounts that forbid something are in ImagePullTests
#
# Prints TAP.  Needs root, kernel modules and a machine of its own: `Scripts/vm Tests/FileSystemTests/run.sh`.  An ordinary
# user pulls an image of two layers, whose upper one hides a file and a directory's contents of the lower, and writes in it.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/../../Scripts/lib.sh"

work=$(mktemp -d /var/tmp/berth-files.XXXXXX)
chmod 755 "$work"
cd "$work"
number=0 failed=0
result() { # STATUS NAME...
  number=$((number + 1))
  if [ "$1" = 0 ]; then echo "ok $number - ${*:2}"; else echo "not ok $number - ${*:2}"; failed=1; fi
}
skip() { number=$((number + 1)); echo "ok $number - $1 # SKIP $2"; }

make_image() {
  mkdir -p lower/bin lower/etc lower/d upper/etc upper/d
  install -m 755 "$(readlink -f "$(command -v busybox)")" lower/bin/busybox
  echo kept >lower/etc/kept
  echo gone >lower/etc/gone
  echo old >lower/d/old
  echo added >upper/etc/added
  : >upper/etc/.wh.gone
  : >upper/d/.wh..wh..opq
  echo new >upper/d/new
  tar -C lower -cf lower.tar bin etc d
  tar -C upper -cf upper.tar etc d
  echo '{}' >config.json
  "$top/Images/oci-layout.py" assemble image --config config.json --compression none lower.tar upper.tar >/dev/null
  mkdir home
  chown 1500:1500 home
}

berth() { # STORE WORD...: as an ordinary user
  env -i PATH=/usr/bin:/bin HOME="$work/home" BERTH_STORE="$1" setpriv --reuid=1500 --regid=1500 --clear-groups \
    "$top/build/bin/berth" "${@:2}"
}

inside='cd /; busybox ls etc/added etc/kept d; busybox ls etc/gone 2>/dev/null; busybox rm d/new && echo x >d/made && busybox ls d'
expected=$'etc/added\netc/kept\n\nd:\nnew\nmade'

# As a user would: two pulls at once, a start, and another from what was pulled.
try() { # NAME DIRECTORY
  local name=$1 directory=$2/user store=$2/user/store status=0 found ok
  setpriv --reuid=1500 --regid=1500 --clear-groups mkdir "$directory"    # root is nobody on an NFS server
  berth "$store" pull "oci:$work/image" >/dev/null 2>first & local other=$!
  berth "$store" pull "oci:$work/image" >/dev/null 2>second || status=$?
  wait "$other" || status=$?
  ok=1; [ "$status" = 0 ] && [ "$(cat first second | grep -c ' pulled, ')" = 1 ] && ok=0
  result $ok "$name: of two pulls at once one brings the image" || true
  sed 's/^/# /' first second
  for again in "" " again"; do
    found=$(berth "$store" run -q "oci:$work/image" -- busybox sh -c "$inside" 2>error) || status=$?
    ok=1; [ "$status" = 0 ] && [ "$found" = "$expected" ] && ok=0
    result $ok "$name: an image is pulled, joined and written to$again" || true
    [ "$status" = 0 ] && [ "$found" = "$expected" ] || { echo "status $status: $found" | sed 's/^/# /'; sed 's/^/# /' error; }
  done
}

make_image

mkdir export nfs
if modprobe nfsd 2>/dev/null && modprobe nfs 2>/dev/null && command -v rpc.nfsd >/dev/null; then
  mount -t nfsd nfsd /proc/fs/nfsd
  mkdir -p /run/rpc_pipefs /var/lib/nfs/v4recovery
  mount -t rpc_pipefs rpc_pipefs /run/rpc_pipefs
  touch /var/lib/nfs/etab /var/lib/nfs/rmtab
  echo "$work/export localhost(rw,fsid=0,no_subtree_check,insecure,root_squash)" >/etc/exports
  exportfs -ra
  rpc.mountd -N 3
  rpc.nfsd -N 3 2
  for version in 4.2 4.0; do
    mkdir -m 1777 "export/$version"
    mount -t nfs4 -o "vers=$version" localhost:/ nfs
    try "NFS $version" "$work/nfs/$version"
    umount -l nfs
  done
else
  skip "NFS" "needs the modules nfs and nfsd, and the package nfs-kernel-server: Scripts/setup vm"
fi

echo "1..$number"
exit $failed
