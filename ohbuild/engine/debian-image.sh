#!/bin/sh
# Adapts a fresh Debian root file system to containers, with the same files as the image on Docker Hub
# (https://github.com/debuerreotype/debuerreotype, scripts/debuerreotype-minimizing-config).
# usage: debian-image.sh ROOT stale|fresh
#   stale: this machine's apt accepts expired release files, so the image's apt must accept them too
set -eu
root=$1

# usr/sbin/policy-rc.d is added to the tar archive later, because mmdebstrap deletes it at the end.

# mmdebstrap names it sources.list.d/0000sources.list
cat "$root"/etc/apt/sources.list.d/*.list >"$root/etc/apt/sources.list"
rm "$root"/etc/apt/sources.list.d/*.list
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/docker-apt-speedup"
apt=$root/etc/apt/apt.conf.d
rm -f "$apt/99mmdebstrap"
cat >"$apt/docker-clean" <<'EOF'
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };
APT::Update::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
EOF
echo 'Acquire::Languages "none";' >"$apt/docker-no-languages"
echo 'Acquire::GzipIndexes "true";' >"$apt/docker-gzip-indexes"
echo 'Apt::AutoRemove::SuggestsImportant "false";' >"$apt/docker-autoremove-suggests"
if [ "$2" = stale ]; then
    echo 'Acquire::Check-Valid-Until "false";' >"$apt/ohbuild-check-valid-until"
fi

# leftovers of the bootstrap that differ from run to run
rm -rf "$root"/var/log/*.log "$root"/var/log/apt/* "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old \
    "$root"/var/cache/ldconfig/aux-cache "$root"/var/cache/apt/*.bin "$root"/etc/*- "$root"/tmp/* "$root"/run/lock/*
rm -f "$root/etc/machine-id" "$root/etc/hostname" "$root/etc/resolv.conf"
