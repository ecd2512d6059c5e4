# On the storage host: a volume group with a thin pool, and an osds of its own over both. DO=make, start
# (again, after a kill) or gone (all of it).
case $DO in
make)
    set -e
    modprobe -a loop dm-snapshot dm-thin-pool
    truncate -s 16G /pool/lvm.img
    loop=$(losetup --find --show /pool/lvm.img)
    echo "$loop" >/run/lvm.loop
    pvcreate -q "$loop"
    vgcreate -q shelf "$loop"
    lvcreate -q -y --type thin-pool -L 5G --poolmetadatasize 8m -n thin shelf
    mkdir -p /pool/lvm
    cat >/pool/lvm/osds.toml <<TOML
data_dir = "/pool/lvm/osds"
[api]
listen = "10.9.0.1:50041"
[controller]
sweep_every = "5s"
retry_most = "2s"
[[backend]]
name = "lvm"
driver = "lvm"
config = "lvm.yaml"
[backend.iscsi]
listen = ["10.9.0.1:3270"]
TOML
    cat >/pool/lvm/lvm.yaml <<YAML
pool:
  shelf:
    availabilityZone: thick
    multiAttach: true
  thin:
    volumeGroup: shelf
    thinPool: thin
    availabilityZone: thin
    multiAttach: true
YAML
    ;;
start)
    : >/tmp/osds-lvm.out
    setsid /host/osds all --config /pool/lvm/osds.toml >/tmp/osds-lvm.out 2>>/tmp/osds.log </dev/null &
    echo $! >/run/osds-lvm.pid
    for try in $(seq 600); do
        grep -q ^ready /tmp/osds-lvm.out && exit 0
        kill -0 $(cat /run/osds-lvm.pid) || break
        sleep 0.1
    done
    tail -20 /tmp/osds-lvm.out /tmp/osds.log
    exit 1
    ;;
gone)
    kill $(cat /run/osds-lvm.pid)
    for try in $(seq 100); do kill -0 $(cat /run/osds-lvm.pid) 2>/dev/null || break; sleep 0.1; done
    vgremove -q -ff -y shelf
    losetup -d $(cat /run/lvm.loop)
    rm -rf /pool/lvm /pool/lvm.img
    ;;
esac
