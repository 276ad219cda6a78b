#!/bin/sh
# mmdebstrap --customize-hook: the package repository inside the image and a quick first boot.
# $LAB_PACKAGES lists what cloud-init must be able to install without a network.
set -eu
root=$1

# What cloud-init installs later, with every dependency the base lacks, as a repository of files.
rm -f "$root"/var/cache/apt/archives/*.deb
# shellcheck disable=SC2086
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get install --yes --download-only --no-install-recommends \
    -o Debug::NoLocking=1 $LAB_PACKAGES
install -d "$root/srv/apt"
# Packed again without compression: an emulated guest unpacks them several times as fast.
for package in "$root"/var/cache/apt/archives/*.deb; do
    dpkg-deb --raw-extract "$package" "$root/srv/unpacked"
    dpkg-deb --build -Znone "$root/srv/unpacked" "$root/srv/apt/${package##*/}" > /dev/null
    rm -rf "$root/srv/unpacked" "$package"
done
(cd "$root/srv/apt" && apt-ftparchive packages . > Packages && apt-ftparchive release . > Release.new &&
    mv Release.new Release)

# The one data source is the NoCloud disk: looking for clouds costs seconds. Of the modules only those
# stay that a lab's user data can use, because each is imported at every boot.
cat > "$root/etc/cloud/cloud.cfg.d/90_lab.cfg" <<'END'
datasource_list: [NoCloud, None]
locale: false
apt: {preserve_sources_list: true}
cloud_init_modules: [bootcmd, write-files, resizefs, mounts, set_hostname, update_hostname, update_etc_hosts,
  users-groups, ssh]
cloud_config_modules: [set-passwords, apt-configure, timezone, runcmd]
cloud_final_modules: [package-update-upgrade-install, write-files-deferred, scripts-per-once, scripts-per-boot,
  scripts-per-instance, scripts-user, final-message, power-state-change]
END
# Its own launcher stays beside this one, as dpkg-divert(1) has it.
chroot "$root" dpkg-divert --quiet --local --rename --add /usr/bin/cloud-init
install -m 755 "$(dirname "$0")/cloud_init_launcher.py" "$root/usr/bin/cloud-init"

# cloud-init calls `netplan generate`, whose Python does nothing but start this program.
rm "$root/usr/sbin/netplan"
cat > "$root/usr/sbin/netplan" <<'END'
#!/bin/sh
[ "$*" != generate ] || exec /usr/libexec/netplan/generate
exec /usr/share/netplan/netplan.script "$@"
END
chmod 755 "$root/usr/sbin/netplan"

# Generators run at every `systemctl daemon-reload`, twice and more for each package with a service. That of
# cloud-init decides whether it runs: here it always does. The others find nothing in these guests.
install -d "$root/etc/systemd/system-generators" "$root/etc/systemd/system/multi-user.target.wants"
for generator in cloud-init-generator systemd-bless-boot-generator systemd-cryptsetup-generator \
    systemd-debug-generator systemd-gpt-auto-generator systemd-hibernate-resume-generator \
    systemd-integritysetup-generator systemd-rc-local-generator systemd-run-generator \
    systemd-system-update-generator systemd-sysv-generator systemd-veritysetup-generator; do
    ln -s /dev/null "$root/etc/systemd/system-generators/$generator"
done
ln -s /lib/systemd/system/cloud-init.target "$root/etc/systemd/system/multi-user.target.wants/"

cat > "$root/etc/fstab" <<'END'
/dev/vda2 / ext4 noatime,barrier=0,errors=remount-ro 0 0
END

# Maintenance that competes with the first boot and that a disposable machine never needs.
chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer man-db.timer systemd-pstore.service \
    getty@tty1.service systemd-udev-settle.service cloud-init-hotplugd.socket systemd-sysusers.service \
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount sys-kernel-debug.mount sys-kernel-tracing.mount \
    sys-kernel-config.mount sys-fs-fuse-connections.mount dev-hugepages.mount modprobe@configfs.service \
    modprobe@dm_mod.service modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service \
    modprobe@loop.service
chroot "$root" systemctl --quiet enable systemd-networkd.service systemd-timesyncd.service ssh.service

# One address that answers is enough; without a limit a missing carrier costs two minutes.
install -d "$root/etc/systemd/system/systemd-networkd-wait-online.service.d"
cat > "$root/etc/systemd/system/systemd-networkd-wait-online.service.d/lab.conf" <<'END'
[Service]
ExecStart=
ExecStart=/lib/systemd/systemd-networkd-wait-online --any --timeout=20
END

# Until all is installed nothing waits for the disk (barrier=0 above, dpkg without fsync). From then on the file
# system flushes what it commits: QEMU keeps where things lie on the disk to itself until it is told to flush, and
# without that a guest whose hypervisor is killed finds its disk in pieces.
install -d "$root/etc/systemd/system/cloud-final.service.d"
cat > "$root/etc/systemd/system/cloud-final.service.d/lab.conf" <<'END'
[Service]
ExecStartPost=/bin/sed -i s/,barrier=0// /etc/fstab
ExecStartPost=/bin/mount -o remount,barrier=1 /
ExecStartPost=/bin/sync
# Until here the kernel takes a task that hangs for a reason to start again (see build.sh).
ExecStartPost=-/sbin/sysctl -q -w kernel.hung_task_panic=0
END

# cloud-init writes this very file for `ssh_pwauth: false`, and restarts sshd if that changed anything.
echo "PasswordAuthentication no" > "$root/etc/ssh/sshd_config.d/50-cloud-init.conf"

# They take a sixth of what a login costs an emulated guest, and none gives the lab's root anything.
sed -i -E '/pam_(motd|mail|limits|loginuid|keyinit|selinux)\.so/d' "$root/etc/pam.d/sshd"

# `lab console` needs no password: whoever is there owns the machine anyway.
install -d "$root/etc/systemd/system/serial-getty@ttyS0.service.d"
cat > "$root/etc/systemd/system/serial-getty@ttyS0.service.d/lab.conf" <<'END'
[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --wait-cr --keep-baud 115200 - $TERM
END

# The host keys come from the user data; those of the package would be the same in every copy.
rm -f "$root"/etc/ssh/ssh_host_*

# Byte code that python trusts without looking at the source's time.
chroot "$root" python3 -m compileall -q -f --invalidation-mode unchecked-hash \
    /usr/lib/python3 /usr/lib/python3.11 > /dev/null || true
