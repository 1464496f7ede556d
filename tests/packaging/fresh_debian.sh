#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# For tests that install the packages into a fresh Debian: sourced with BUILD-DIR and the script's
# name, by a script that has set -euo pipefail. It is started again in name spaces of its own; then
# $root is a Debian with the first version installed, and ends with the script. Exits with 77 when
# this host cannot.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
build=$(realpath "$1")
cache=$build/packaging-cache
suite=bookworm
# Where this host has its own packages from.
mirror=${AIRSTORE_DEBIAN_MIRROR:-$(apt-cache policy base-files 2>/dev/null |
  sed -n 's/^ *[0-9]* \(https\{0,1\}:[^ ]*\) .*/\1/p' | head -n 1)}
first=0.1.0
second=0.1.1
root=/nonexistent

skip() { echo "SKIPPED: $1"; exit 77; }
fail() {
  echo "FAILED: $1" >&2
  for file in "$root"/run/*.log*; do
    [ ! -s "$file" ] || { echo "--- $file" >&2; tail -n 30 "$file" >&2; }
  done
  exit 1
}
step() { echo "[$((SECONDS - started)) s] $1"; }

if [ "${2:-}" != inside ]; then
  [ -n "${AIRSTORE_PACKAGING_TEST:-}" ] ||
    skip "takes a minute and a package registry: tools/test packaging"
  [ "$(id -u)" -eq 0 ] || skip "not root"
  for program in debootstrap dpkg-buildpackage dh unshare python3; do
    command -v "$program" >/dev/null || skip "$program is missing: tools/packages package"
  done
  [ -c /dev/fuse ] || skip "there is no /dev/fuse"
  unshare --mount --pid --fork true 2>/dev/null || skip "no mount and pid name spaces"
  # All processes that are started end with the first one.
  exec unshare --mount --propagation private --pid --fork --kill-child --mount-proc "$0" "$1" inside
fi
started=$SECONDS

mkdir -p "$cache/archives/partial"
exec {lock}>"$cache/lock"
flock "$lock"
if [ ! -s "$cache/$suite.tar" ]; then
  step "debootstrap (once)"
  rm -rf "$cache/$suite"
  # systemd is on every host; here it is not started.
  debootstrap --variant=minbase --include=systemd "$suite" "$cache/$suite" "$mirror" >"$cache/debootstrap.log" 2>&1 ||
    skip "debootstrap: $(tail -n 1 "$cache/debootstrap.log")"
  if [ -d "$cache/$suite/etc/apt" ]; then
    chroot "$cache/$suite" apt-get -qq update >>"$cache/debootstrap.log" 2>&1 || true
  fi
  tar -C "$cache/$suite" --one-file-system -cf "$cache/$suite.tar.new" .
  mv "$cache/$suite.tar.new" "$cache/$suite.tar"
  rm -rf --one-file-system "$cache/$suite"
fi

debs=$build/packaging-debs
architecture=$(dpkg --print-architecture)
if [ ! -e "$debs/made" ] || [ -n "$(find "$build/bin" "$repo/packaging" "$repo/tests/packaging" \
  -newer "$debs/made" -type f -print -quit)" ]; then
  step "packages $first and $second"
  rm -rf "$debs"
  mkdir "$debs"
  touch "$debs/begun"
  "$repo/packaging/build" deb --from "$build" --quick --version "$first" --out "$debs" >/dev/null
  # The same programs; all that an upgrade does is done.
  for package in airstore airstore-gateway; do
    rm -rf "$debs/tree"
    dpkg-deb -R "$debs/${package}_${first}_$architecture.deb" "$debs/tree"
    sed -i "s/^Version: .*/Version: $second/" "$debs/tree/DEBIAN/control"
    dpkg-deb -Zgzip -z1 -b "$debs/tree" "$debs/${package}_${second}_$architecture.deb" >/dev/null
  done
  rm -rf "$debs/tree"
  mv "$debs/begun" "$debs/made"
fi
flock -u "$lock"

root=$(mktemp -d "$build/packaging-root.XXXXXX")
# In this name space only; outside nothing is mounted there.
clean() {
  awk -v at="$root/" 'index($2, at) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount -l
  rm -rf --one-file-system "$root"
}
trap clean EXIT

step "a fresh root"
tar -C "$root" -xf "$cache/$suite.tar"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount --bind /dev "$root/dev"
cp /etc/resolv.conf "$root/etc/resolv.conf"
mkdir -p "$root/debs" "$root/var/cache/apt/archives" "$root/mnt2"
mount --bind "$debs" "$root/debs"
mount --bind "$cache/archives" "$root/var/cache/apt/archives"
in_root() { timeout 120 chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
  DEBIAN_FRONTEND=noninteractive ${AIRSTORE_FLUSH_SECONDS:+AIRSTORE_FLUSH_SECONDS=$AIRSTORE_FLUSH_SECONDS} \
  "$@"; }
apt() { in_root apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 \
  -o Dpkg::Options::=--force-unsafe-io -o APT::Keep-Downloaded-Packages=true "$@"; }
install_version() {
  apt install "/debs/airstore_$1_$architecture.deb" "/debs/airstore-gateway_$1_$architecture.deb"
}
step "install"
install_version "$first" >"$root/run/apt.log" 2>&1 || {
  apt update >>"$root/run/apt.log" 2>&1 || skip "no package registry: $(tail -n 1 "$root/run/apt.log")"
  install_version "$first" >>"$root/run/apt.log" 2>&1 || fail "the packages cannot be installed"
}
[ "$(stat -c %a "$root/etc/airstore/tokens")" = 700 ] || fail "/etc/airstore/tokens is not private"
in_root getent passwd airstore-gateway >/dev/null || fail "there is no user airstore-gateway"
in_root airctl --version >/dev/null || fail "airctl does not run"
for file in sbin/mount.airstore sbin/umount.fuse.airstore usr/libexec/airstore/airstore-fuse; do
  [ -x "$root/$file" ] || fail "/$file is not there"
done

# What an administrator changes must be kept; short times let a test end soon.
gateway=unix:/run/airstore-gateway/gateway.sock
configure() {
  printf 'gateway = "%s"\nio_timeout = "%s"\n' "$gateway" "${io_timeout:-3s}" \
    >>"$root/etc/airstore/airstored.toml"
  if ! grep -q listen.*sock "$root/etc/airstore/airstore-gateway.conf"; then
    echo "OPTIONS=\"--listen $gateway\"" >>"$root/etc/airstore/airstore-gateway.conf"
  fi
}
configure
admin=/var/lib/airstore-gateway/admin-token

wait_for() {  # SECONDS COMMAND...
  local limit=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$limit" ] || return 1
    sleep 0.05
  done
}

# Each file has its number in it; the list is of those that fsync has returned for.
cat >"$root/usr/local/bin/writer" <<'END'
#!/bin/sh
set -eu
n=0
while [ ! -e /run/stop ]; do
  n=$((n + 1))
  echo "content of $n" >"/mnt/$n.new"
  sync "/mnt/$n.new"
  mv "/mnt/$n.new" "/mnt/$n"
  echo "$n" >>/run/written
  echo "$n" >&9
done 9>>/mnt/log
END
chmod 755 "$root/usr/local/bin/writer"
