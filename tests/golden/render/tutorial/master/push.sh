# Stage, check, switch, reload. What is in force stays until the new configuration has passed.
set -eu
main() {
keep() {
    for file; do install -D -m 0600 "$file" "/var/lib/lvs-dr-lab/rendered$file"; done
}
umask 027
conf=/etc/keepalived/keepalived.conf

cat > /etc/hosts.new <<'LVS_DR_LAB_END_OF_FILE'
127.0.0.1 localhost
127.0.1.1 master
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
chmod 0644 /etc/hosts.new
mv -f /etc/hosts.new /etc/hosts

mkdir -p /etc/keepalived
cat > "$conf.new" <<'LVS_DR_LAB_END_OF_FILE'
# master: rendered by lvs-dr-lab. `lab check` tells when it was edited by hand.
global_defs {
    router_id master
    notification_email {
        cgomez.stack@gmail.com
    }
    notification_email_from master@laboratorio.com
    smtp_server mysmtp.laboratorio.com
    smtp_connect_timeout 30
    # Without it only real servers that come and go are mailed, not a moving VIP.
    smtp_alert_vrrp true
}

vrrp_instance externa {
    state MASTER
    interface eth0
    virtual_router_id 21
    priority 150
    advert_int 1
    authentication {
        auth_type PASS
        auth_pass Venezuel
    }
    virtual_ipaddress {
        192.168.1.20/24
    }
}

virtual_server 192.168.1.20 80 {
    delay_loop 10
    protocol TCP
    lb_algo rr
    lb_kind DR
    persistence_timeout 7200

    real_server 192.168.1.50 80 {
        weight 1
        TCP_CHECK {
            connect_timeout 5
            connect_port 80
        }
    }

    real_server 192.168.1.51 80 {
        weight 1
        TCP_CHECK {
            connect_timeout 5
            connect_port 80
        }
    }

    real_server 192.168.1.52 80 {
        weight 1
        TCP_CHECK {
            connect_timeout 5
            connect_port 80
        }
    }
}
LVS_DR_LAB_END_OF_FILE
# `keepalived -t` exits 0 for an empty file and for some warnings that change the meaning, so anything
# it says is a refusal.
[ -s "$conf.new" ] || { echo "master: the new keepalived.conf is empty" >&2; exit 1; }
status=0
said=$(keepalived -t -f "$conf.new" 2>&1 </dev/null) || status=$?
said=$(printf '%s\n' "$said" | grep -v -x -e '' -e 'Configuration file .* validated' || true)
if [ "$status" -ne 0 ] || [ -n "$said" ]; then
    mv -f "$conf.new" "$conf.refused"
    echo "master: keepalived refuses its new configuration (status $status); the one in force goes on." >&2
    printf '%s\n' "$said" >&2
    echo "The refused file is $conf.refused on master." >&2
    exit 1
fi
chmod 0640 "$conf.new"
mv -f "$conf.new" "$conf"
systemctl reload-or-restart keepalived </dev/null

# keepalived stays up without IPVS if the kernel has none; then the table stays empty.
tries=0
until ipvsadm -Ln 2>/dev/null </dev/null | grep -q -F '192.168.1.20:80 '; do
    tries=$((tries + 1))
    if [ "$tries" -ge 60 ]; then
        echo "master: no virtual server 192.168.1.20:80 in the IPVS table after 60 s." >&2
        systemctl --no-pager -l status keepalived >&2 </dev/null || true
        exit 1
    fi
    sleep 1
done
# What `lab check` compares with.
keep /etc/hosts "$conf"
# A drill may cut the power at any moment.
sync
}
main
