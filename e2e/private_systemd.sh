#!/usr/bin/env bash
# Boots a systemd that runs one unit and nothing else: private_systemd.sh UNIT PORT PYTHON LOG DATA
# DATA, if it is there, is copied to where the units keep backups. Needs root. It has namespaces of its
# own, and a copy of the root directory that is thrown away; it shares only the network and the clock.
set -euo pipefail

unit=$1 port=$2 python=$3 log=$4 data=$5
if [[ ${6:-} != inside ]]; then
  # A control group of its own, so that all it makes can be removed.
  group=$(mount -t cgroup2 | awk '{ print $3; exit }')/portfolio-backup-test-$$
  mkdir "$group"
  # shellcheck disable=SC2317  # called by the trap
  remove_group() {
    echo "$BASHPID" >"${group%/*}/cgroup.procs"
    until find "$group" -depth -type d -exec rmdir {} + 2>/dev/null; do sleep 0.1; done
  }
  trap remove_group EXIT
  echo "$BASHPID" >"$group/cgroup.procs"
  unshare --pid --fork --kill-child --mount --cgroup --uts --ipc -- "$0" "$@" inside &
  child=$!
  trap 'kill -KILL $child 2>/dev/null || true' TERM INT
  until ! kill -0 $child 2>/dev/null; do wait $child || true; done
  exit
fi

prefix=$("$python" -c 'import sys; print(sys.base_prefix)')
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
sources=$(cd "$(dirname "$0")/.." && pwd)

mount --make-rprivate /
scratch=/mnt
mount -t tmpfs none $scratch
mkdir $scratch/{upper,work,root}
mount -t overlay -o lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work none $scratch/root
cd $scratch/root
mount -t proc none proc
mount -t sysfs -o ro none sys
mount --rbind /dev dev
mount --bind "$log" dev/console
for directory in run tmp var etc/systemd/system; do
  mount -t tmpfs -o mode=755 none $directory
done
chmod 1777 tmp
mkdir -p var/{lib,tmp,cache,log} opt/{python,packages,sources} etc/portfolio-backup usr/local/bin
mount --bind "$prefix" opt/python
mount --bind "$packages" opt/packages
mount --bind "$sources" opt/sources
mount -t tmpfs none sys/fs
mkdir sys/fs/cgroup
mount -t cgroup2 none sys/fs/cgroup

echo "portfolio-backup:x:999:999::/nonexistent:/usr/sbin/nologin" >>etc/passwd
echo "portfolio-backup:x:999:" >>etc/group
if [[ -d $data ]]; then
  cp -r "$data" var/lib/portfolio-backup
  chown -R 999:999 var/lib/portfolio-backup
fi
echo "PORT=$port" >etc/portfolio-backup/server.env
cat >usr/local/bin/portfolio-backup <<S
#!/bin/sh
export LD_LIBRARY_PATH=/opt/python/lib PYTHONHOME=/opt/python PYTHONPATH=/opt/sources:/opt/packages PYTHONDONTWRITEBYTECODE=1
exec /opt/python/bin/python$version -m backup_server "\$@"
S
chmod 755 usr/local/bin/portfolio-backup

cp "$unit" etc/systemd/system/
name=$(basename "$unit")
mkdir "etc/systemd/system/$name.d"
printf '[Unit]\nDefaultDependencies=no\n[Service]\nStandardOutput=append:/dev/console\nStandardError=inherit\n' \
  >"etc/systemd/system/$name.d/test.conf"
printf '[Unit]\nDefaultDependencies=no\nWants=%s\n' "$name" >etc/systemd/system/only.target
mkdir old
pivot_root . old
umount -l old
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=only.target --log-level=info --log-target=console --show-status=no
