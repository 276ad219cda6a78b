# The client is made by cloud-init alone; this gives it the names of the others.
set -eu
main() {
keep() {
    for file; do install -D -m 0600 "$file" "/var/lib/lvs-dr-lab/rendered$file"; done
}
umask 022
cat > /etc/hosts.new <<'LVS_DR_LAB_END_OF_FILE'
127.0.0.1 localhost
127.0.1.1 client
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
# What `lab check` compares with.
keep /etc/hosts
# A drill may cut the power at any moment.
sync
}
main
