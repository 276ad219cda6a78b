# `cloud-init status --wait` returns early once one module has recorded an error, so wait for the file
# that the last stage writes, and read the verdict afterwards. What it prints is the output `versions`.
set -u
main() {
# Nothing is ever written to it: reading from it is a pause that starts no program, for one each second costs an
# emulated guest a twentieth of its time.
exec 9<> <(:)
until [ -e /var/lib/cloud/instance/boot-finished ]; do
    if [ "$SECONDS" -ge 1800 ]; then
        echo "master: cloud-init has not finished within 1800 s." >&2
        tail -n 30 /var/log/cloud-init-output.log >&2
        echo "Raise lvs-dr-lab:boot_timeout if the machine is only slow; else look at the lines above." >&2
        exit 1
    fi
    read -r -t 0.2 -u 9
done
if grep -q '"errors": \[\]' /run/cloud-init/result.json; then
    echo "linux $(uname -r)"
    dpkg-query -W -f '${Package} ${Version}\n' cloud-init systemd keepalived ipvsadm </dev/null 2>/dev/null
    exit 0
fi
echo "master: cloud-init finished with errors:" >&2
cat /run/cloud-init/result.json >&2
tail -n 30 /var/log/cloud-init-output.log >&2
echo "Mend the cause (a package that cannot be installed: lvs-dr-lab:package_proxy, lvs-dr-lab:image)," >&2
echo "then run \`make up\` again; \`pulumi up --target-replace\` of this machine's disk rebuilds it alone." >&2
exit 1
}
main
