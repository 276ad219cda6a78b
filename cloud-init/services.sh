#!/bin/sh
# Stands in for deb-systemd-helper, deb-systemd-invoke, invoke-rc.d and systemctl while packages are being installed.
# The set-up of a package with two services calls them a dozen times; most are a start of perl, or have systemd read
# all its units again. Here it is noted what is to be enabled, disabled and started, and `catch-up` has the real tools
# do it once for all. Whatever else is asked is left to them, and so is every unit that is not a new one.
set -eu
# No program is started where the shell can do it: each costs an emulated guest a twentieth of a second.
here=${0%/*}
name=${0##*/}
notes=$here/notes
# Without this directory, which apt's DPkg::Path puts first: from here on a name means the real tool.
PATH=${PATH#"$here:"}

# Neither installed before, nor masked or replaced by hand.
new() {
    [ ! -e "/var/lib/systemd/deb-systemd-helper-enabled/$1.dsh-also" ] &&
        [ ! -e "/etc/systemd/system/$1" ] && [ ! -L "/etc/systemd/system/$1" ]
}

# The units for which an action is noted.
noted() {
    [ ! -e "$notes" ] || sed -n "s/^$1 //p" "$notes" | sort -u
}

# No daemon-reload: systemd reads the file of a new unit when it first hears of the unit.
catch_up() {
    enable=$(noted enable) disable=$(noted disable) start=$(noted start)
    helper=$(command -v deb-systemd-helper)
    # Else the helper refuses: it is meant for the set-up of packages.
    export DPKG_MAINTSCRIPT_PACKAGE=first-boot
    # shellcheck disable=SC2086  each is a list
    {
        [ -z "$enable" ] || PATH=$here:$PATH "$helper" enable $enable
        [ -z "$disable" ] || PATH=$here:$PATH "$helper" disable $disable
        # As in the set-up of a package: it is installed even if its service does not start.
        [ -z "$start" ] || deb-systemd-invoke start $start || true
    }
}

case $name:$#:${1-}:${2-} in
catch-up:*)
    catch_up
    ;;
systemctl:1:daemon-reload:* | systemctl:2:--system:daemon-reload) ;;
deb-systemd-helper:2:enable:* | deb-systemd-helper:2:disable:*)
    new "$2" || exec "$name" "$@"
    echo "$1 $2" >> "$notes"
    ;;
deb-systemd-helper:2:unmask:* | deb-systemd-helper:3:--quiet:was-enabled)
    # Nothing to unmask, and enabled as every new unit is to be.
    for unit; do :; done
    new "$unit" || exec "$name" "$@"
    ;;
deb-systemd-helper:2:debian-installed:*)
    noted enable | grep -q -x -F -e "$2" || exec "$name" "$@"
    ;;
invoke-rc.d:*:--skip-systemd-native:*)
    # Not asked for a service that systemd knows by a unit of its own.
    [ -e "/lib/systemd/system/$2.service" ] || exec "$name" "$@"
    ;;
deb-systemd-invoke:*:start:*)
    shift
    for unit; do echo "start $unit" >> "$notes"; done
    ;;
*)
    exec "$name" "$@"
    ;;
esac
