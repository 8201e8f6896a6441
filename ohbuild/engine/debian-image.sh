#!/bin/sh
# Makes a fresh Debian root fit for containers, with the same files as in the image on Docker Hub
# (https://github.com/debuerreotype/debuerreotype, scripts/debuerreotype-minimizing-config).
# usage: debian-image.sh ROOT stale|fresh
#   stale: the machine's own apt takes release files past their date, so apt in the image has to as well
set -eu
root=$1

# (usr/sbin/policy-rc.d is added to the tar afterwards: mmdebstrap has one of its own, and deletes it at its end)
# mmdebstrap calls it sources.list.d/0000sources.list
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

# what the bootstrap left behind and no two runs have alike
rm -rf "$root"/var/log/*.log "$root"/var/log/apt/* "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old \
    "$root"/var/cache/ldconfig/aux-cache "$root"/var/cache/apt/*.bin "$root"/etc/*- "$root"/tmp/* "$root"/run/lock/*
rm -f "$root/etc/machine-id" "$root/etc/hostname" "$root/etc/resolv.conf"
