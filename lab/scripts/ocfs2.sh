# On a client: OCFS2's own cluster stack, two nodes.
set -e
modprobe -a ocfs2_stackglue ocfs2_nodemanager ocfs2_dlm ocfs2_stack_o2cb ocfs2 ocfs2_dlmfs
mkdir -p /etc/ocfs2 /dlm /mnt/shared
mount -t ocfs2_dlmfs none /dlm
echo o2cb >/sys/fs/ocfs2/cluster_stack
{
    printf 'cluster:\n\tname = lab\n\theartbeat_mode = local\n\tnode_count = 2\n\n'
    number=0
    for node in a:10.9.0.2 b:10.9.0.3; do
        printf 'node:\n\tcluster = lab\n\tnumber = %s\n\tip_port = 7777\n' $number
        printf '\tip_address = %s\n\tname = %s\n\n' "${node#*:}" "${node%%:*}"
        number=$((number + 1))
    done
} >/etc/ocfs2/cluster.conf
o2cb register-cluster lab
