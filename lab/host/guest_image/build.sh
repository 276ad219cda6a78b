#!/bin/sh
# Build the guest image: build.sh STAGING SOURCES_LIST OUTPUT
#
# Runs as root or as the root of a user namespace. It needs no loop device and no mount of the image:
# syslinux goes into a small FAT partition, the root file system is written by mkfs.ext4 -d.
set -eu
staging=$1 sources=$2 output=$3
here=$(cd "$(dirname "$0")" && pwd)
rootfs=$staging/rootfs
disk=$staging/disk.raw
# Here and not by the caller: in a user namespace the files belong to numbers only its root may delete.
trap 'rm -rf "$rootfs" "$disk"' EXIT
trap 'exit 130' HUP INT TERM
umask 022
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
export SOURCE_DATE_EPOCH=1700000000 E2FSPROGS_FAKE_TIME=1700000000 MTOOLS_SKIP_CHECK=1

mmdebstrap --mode=root --variant=minbase --format=directory --include="$LAB_BASE" $LAB_APT_OPTIONS \
    --essential-hook="$here/prepare.sh" --customize-hook="$here/customize.sh" \
    bookworm "$rootfs" "$sources"

echo 'deb [trusted=yes] file:/srv/apt ./' > "$rootfs/etc/apt/sources.list"
rm -rf "$rootfs"/etc/apt/sources.list.d/* "$rootfs"/var/lib/apt/lists/* "$rootfs"/var/log/*.log "$rootfs"/dev/* \
    "$rootfs"/etc/resolv.conf
# Empty, not "uninitialized": a generated identity without the costly rites of a first boot.
: > "$rootfs/etc/machine-id"
echo localhost > "$rootfs/etc/hostname"

# Layout in MiB: 1 boot record, 63 FAT with kernel and initramfs, the rest ext4. The last partition is
# entered far too large: Linux cuts it at the end of the disk (block/partitions/core.c), so it is as large
# as any disk made from this image and nothing needs to rewrite the table at the first boot.
truncate -s 2000G "$disk"
sfdisk --quiet "$disk" <<'END'
label: dos
label-id: 0x4c564452
start=2048, size=129024, type=e, bootable
start=131072, type=83
END
truncate -s 3G "$disk"
dd if="$LAB_MBR" of="$disk" bs=440 count=1 conv=notrunc status=none
fat=$disk@@1M
mkfs.vfat -F 16 -i 4c564452 --offset 2048 "$disk" 64512 > /dev/null
mcopy -i "$fat" "$rootfs"/boot/vmlinuz-* ::vmlinuz
mcopy -i "$fat" "$rootfs"/boot/initrd.img-* ::initrd.img
cat > "$staging/syslinux.cfg" <<'END'
DEFAULT linux
PROMPT 0
TIMEOUT 0
LABEL linux
  KERNEL vmlinuz
  INITRD initrd.img
  APPEND root=/dev/vda2 rootfstype=ext4 ro console=ttyS0 quiet net.ifnames=0 mitigations=off fsck.mode=skip no_timer_check apparmor=0 audit=0 random.trust_cpu=on selinux=0 panic=3 sysctl.kernel.hung_task_timeout_secs=40 sysctl.kernel.hung_task_panic=1
END
mcopy -i "$fat" "$staging/syslinux.cfg" ::syslinux.cfg
syslinux --offset 1048576 --install "$disk"
mkfs.ext4 -q -O '^metadata_csum' -m 0 -L cloudimg-rootfs -U 4c564452-6c61-4b00-8000-000000000001 \
    -E "offset=67108864,hash_seed=4c564452-6c61-4b00-8000-000000000002,lazy_itable_init=0,root_owner=0:0" \
    -d "$rootfs" "$disk" 3079168k
qemu-img convert -f raw -O qcow2 "$disk" "$output"
chown "$LAB_OWNER" "$output"
