# On a client: corosync and dlm_controld, two nodes, without fencing, as GFS2 wants its locks.
set -e
mkdir -p /etc/corosync /etc/dlm /var/log/corosync /var/lib/corosync /run/corosync /mnt/g
{
    printf 'totem {\n version: 2\n cluster_name: lab\n transport: udpu\n}\nnodelist {\n'
    number=1
    for node in a:10.9.0.2 b:10.9.0.3; do
        printf ' node {\n  ring0_addr: %s\n  nodeid: %s\n  name: %s\n }\n' "${node#*:}" $number "${node%%:*}"
        number=$((number + 1))
    done
    printf '}\nquorum {\n provider: corosync_votequorum\n two_node: 1\n wait_for_all: 0\n}\n'
    printf 'logging {\n to_stderr: no\n to_logfile: yes\n logfile: /var/log/corosync/c.log\n}\n'
} >/etc/corosync/corosync.conf
echo enable_fencing=0 >/etc/dlm/dlm.conf
modprobe -a dlm gfs2
corosync
for try in $(seq 300); do
    corosync-quorumtool -s 2>/dev/null | grep -q 'Nodes: *2' && break
    sleep 0.1
done
corosync-quorumtool -s | grep -q 'Quorate: *Yes' || { tail -20 /var/log/corosync/c.log; exit 1; }
dlm_controld
for try in $(seq 100); do
    dlm_tool status 2>/dev/null | grep -q 'cluster nodeid' && exit 0
    sleep 0.1
done
dlm_tool status
exit 1
