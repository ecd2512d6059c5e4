# On the storage host: osds with a pool on the guest's own disk, API and target on the lab's network.
set -e
mkfs.ext4 -q -F /dev/vdb
mount /dev/vdb /pool
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
TOML
cat >/pool/pools.yaml <<YAML
baseDir: /pool/volumes
pool:
  shared:
    storageType: block
    availabilityZone: default
    multiAttach: true
    extras:
      dataStorage: {provisioningPolicy: Thin}
      ioConnectivity: {accessProtocol: iscsi}
YAML
