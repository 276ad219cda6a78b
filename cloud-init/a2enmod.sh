#!/bin/sh
# Stands in for a2enmod(8) while apache2 is being installed. The package's set-up calls it, as a2enmod,
# a2enconf and a2ensite, two dozen times; each is a start of perl, which costs an emulated guest a second.
# The same links and the same notes of who enabled what come of it.
set -eu
conf=${APACHE_CONFDIR:-/etc/apache2}
state=${APACHE_STATE_DIRECTORY:-/var/lib/apache2}

case ${0##*/} in
a2enmod) folder=mods suffix=.load kind=module ;;
a2enconf) folder=conf suffix=.conf kind=conf ;;
a2ensite) folder=sites suffix=.conf kind=site ;;
*) echo "${0##*/}: not while apache2 is being installed" >&2 && exit 1 ;;
esac

by=admin
while [ "${1#-}" != "${1-}" ]; do
    case $1 in *m*) by=maint ;; esac
    shift
done

enable() {
    [ -e "$conf/$folder-available/$1$suffix" ] || { echo "there is no $kind $1" >&2 && return 1; }
    [ ! -e "$conf/$folder-enabled/$1$suffix" ] || return 0
    if [ "$kind" = module ]; then
        # `# Depends: one two` stands before the first line that is no comment.
        needed=
        while read -r mark key words; do
            [ "${mark#"#"}" != "$mark" ] || break
            [ "$key" != Depends: ] || needed=$words
        done < "$conf/mods-available/$1.load"
        for other in $needed; do enable "$other" || return 1; done
        [ ! -e "$conf/mods-available/$1.conf" ] || ln -sf "../mods-available/$1.conf" "$conf/mods-enabled/$1.conf"
    fi
    ln -sf "../$folder-available/$1$suffix" "$conf/$folder-enabled/$1$suffix"
    [ -d "$state/$kind/enabled_by_$by" ] || mkdir -p "$state/$kind/enabled_by_$by"
    : > "$state/$kind/enabled_by_$by/$1"
}

for name; do enable "${name%"$suffix"}"; done
