# The client is made by cloud-init alone; this gives it the names of the others.
set -eu
main() {
keep() {
    for file; do install -D -m 0600 "$file" "/var/lib/lvs-dr-lab/rendered$file"; done
}
umask 022
cat > /etc/hosts.new <<'LVS_DR_LAB_END_OF_FILE'
127.0.0.1 localhost
127.0.1.1 c
::1 localhost ip6-localhost ip6-loopback
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters

# The segment.
10.20.7.1 vip
10.20.1.1 a
10.20.2.1 b
10.20.3.1 c mail.example.org
LVS_DR_LAB_END_OF_FILE
mv -f /etc/hosts.new /etc/hosts
# What `lab check` compares with.
keep /etc/hosts
# A drill may cut the power at any moment.
sync
}
main
