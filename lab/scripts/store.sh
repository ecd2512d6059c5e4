# On the storage host: osds with pools on the guest's own disk, one for each target, API and targets on
# the lab's network. After a reset of the guest the disk is as it was, and nothing is made anew.
set -e
# Where the daemons listen: no connection of the guest's own takes one of these.
echo 50040-50060 >/proc/sys/net/ipv4/ip_local_reserved_ports
ip -6 addr replace fd09::1/64 dev $(ls /sys/class/net | grep ^e) nodad
mount /dev/vdb /pool 2>/dev/null || { mkfs.ext4 -q -F /dev/vdb; mount /dev/vdb /pool; }
# Where the kernel keeps reservations, on a real machine a disk as well.
mkdir -p /pool/target /var/target
mount --bind /pool/target /var/target
vgs lab >/dev/null 2>&1 || {
    vgcreate -q lab /dev/vdd
    lvcreate -q --type thin-pool -l 80%FREE -n thin lab
}
vgchange -q -aay lab
cat >/pool/osds.toml <<TOML
data_dir = "/pool/osds"
[api]
listen = "10.9.0.1:50040"
[[backend]]
name = "file"
driver = "file"
config = "pools.yaml"
[backend.iscsi]
listen = ["10.9.0.1:3260"]
[[backend]]
name = "kernel"
driver = "file"
config = "kernel.yaml"
target = "lio"
[backend.iscsi]
listen = ["10.9.0.1:3261", "[fd09::1]:3261"]
advertise = ["10.9.0.1:3261"]
[[backend]]
name = "lvm"
driver = "lvm"
config = "lvm.yaml"
target = "lio"
[backend.iscsi]
listen = ["10.9.0.1:3261", "[fd09::1]:3261"]
advertise = ["10.9.0.1:3261"]
TOML
cat >/pool/lvm.yaml <<YAML
pool:
  lab:
    storageType: block
    availabilityZone: lvm
    multiAttach: true
    volumeGroup: lab
    thinPool: thin
    maxOverSubscriptionRatio: 4
    extras:
      dataStorage: {provisioningPolicy: Thin}
      ioConnectivity: {accessProtocol: iscsi}
YAML
# NAME of the folders, zone, and zone of a second pool on a disk whose writes can be held up (slow.sh).
pools() {
    echo "pool:"
    for pool in "pool $2" "slow $3"; do
        cat <<YAML
  $1-${pool% *}:
    path: /${pool% *}/$1
    storageType: block
    availabilityZone: ${pool#* }
    multiAttach: true
    extras:
      dataStorage: {provisioningPolicy: Thin}
      ioConnectivity: {accessProtocol: iscsi}
YAML
    done
}
pools volumes default slow >/pool/pools.yaml
pools kernel lio slow-lio >/pool/kernel.yaml
