#!/bin/sh
# mmdebstrap --essential-hook: what must be there before the bulk of the packages is unpacked.
set -eu
root=$1

install -d "$root/etc/dpkg/dpkg.cfg.d" "$root/etc/apt/apt.conf.d" "$root/etc/initramfs-tools/conf.d" \
    "$root/etc/initramfs-tools/hooks" "$root/etc/cloud/cloud.cfg.d" "$root/etc/kernel"

# A lab guest is thrown away, not repaired: no fsync per file, no manuals.
cat > "$root/etc/dpkg/dpkg.cfg.d/lab" <<'END'
force-unsafe-io
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/lintian/*
path-exclude=/usr/share/locale/*
END

cat > "$root/etc/apt/apt.conf.d/90lab" <<'END'
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
END

# Only what a virtio disk with ext4 needs: the initramfs is unpacked at every boot.
cat > "$root/etc/initramfs-tools/conf.d/lab" <<'END'
MODULES=list
COMPRESS=lz4
FSTYPE=ext4
RESUME=none
END
cat > "$root/etc/initramfs-tools/hooks/lab" <<'END'
#!/bin/sh
[ "${1-}" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules virtio_pci virtio_blk ext4
END
chmod 755 "$root/etc/initramfs-tools/hooks/lab"
