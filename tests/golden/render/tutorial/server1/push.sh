# The ARP settings first, then the VIP: the other order answers ARP for the VIP for a moment.
set -eu
main() {
keep() {
    for file; do install -D -m 0600 "$file" "/var/lib/lvs-dr-lab/rendered$file"; done
}
umask 022

cat > /etc/hosts.new <<'LVS_DR_LAB_END_OF_FILE'
127.0.0.1 localhost
127.0.1.1 server1
::1 localhost ip6-localhost ip6-loopback
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters

# The segment.
192.168.1.20 vip
192.168.1.21 master
192.168.1.22 backup
192.168.1.50 server1
192.168.1.51 server2
192.168.1.52 server3
192.168.1.100 client mysmtp.laboratorio.com
LVS_DR_LAB_END_OF_FILE
mv -f /etc/hosts.new /etc/hosts

cat > /etc/sysctl.d/60-lvs-dr.conf <<'LVS_DR_LAB_END_OF_FILE'
# A real server holds the VIP but must not answer ARP for it, nor announce it: only the director does.
# The kernel takes the larger of `all` and the interface, so `all` is the place (ip-sysctl.rst).
# systemd-sysctl reads this before systemd-networkd adds the VIP: never the other way round.
net.ipv4.conf.all.arp_ignore = 1
net.ipv4.conf.all.arp_announce = 2
LVS_DR_LAB_END_OF_FILE
sysctl -q -p /etc/sysctl.d/60-lvs-dr.conf </dev/null
for name in arp_ignore=1 arp_announce=2; do
    value=$(cat "/proc/sys/net/ipv4/conf/all/${name%=*}")
    [ "$value" = "${name#*=}" ] || { echo "server1: ${name%=*} is $value, not ${name#*=}" >&2; exit 1; }
done

mkdir -p /etc/systemd/network
cat > /etc/systemd/network/05-lvs-dr.network.new <<'LVS_DR_LAB_END_OF_FILE'
# The VIP on the loopback interface, so that this server accepts what the director forwards.
# /32: any wider and the whole segment would be local to this machine.
[Match]
Name=lo

[Network]
Address=192.168.1.20/32
LVS_DR_LAB_END_OF_FILE
mv -f /etc/systemd/network/05-lvs-dr.network.new /etc/systemd/network/05-lvs-dr.network
networkctl reload </dev/null
for old in $(ip -4 -o addr show dev lo </dev/null | awk '$4 !~ /^127\./ && $4 != "192.168.1.20/32" { print $4 }'); do
    ip addr del "$old" dev lo
done
ip addr replace 192.168.1.20/32 dev lo

printf '%s\n' server1 > /var/www/html/index.html.new
mv -f /var/www/html/index.html.new /var/www/html/index.html
site=/etc/apache2/conf-enabled/lvs-dr.conf
cat > "$site.new" <<'LVS_DR_LAB_END_OF_FILE'
# Rendered by lvs-dr-lab.
ServerName server1
LVS_DR_LAB_END_OF_FILE
if cmp -s "$site.new" "$site"; then
    rm -f "$site.new"
else
    mv -f "$site.new" "$site"
    systemctl reload-or-restart apache2 </dev/null
fi
# What `lab check` compares with.
keep /etc/hosts /etc/sysctl.d/60-lvs-dr.conf /etc/systemd/network/05-lvs-dr.network "$site"
# A drill may cut the power at any moment.
sync
}
main
