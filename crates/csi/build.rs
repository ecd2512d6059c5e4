//! Makes Rust of proto/csi.proto, with no compiler beside cargo's: protox reads it, tonic writes.
//!
//! Must stay true: a message that carries secrets has no `Debug`, so that none is ever printed.

use std::error::Error;

/// Messages with a field `secrets`, and what holds one.
const SECRETIVE: [&str; 17] = [
    "CreateVolumeRequest",
    "DeleteVolumeRequest",
    "ControllerPublishVolumeRequest",
    "ControllerUnpublishVolumeRequest",
    "ValidateVolumeCapabilitiesRequest",
    "ControllerModifyVolumeRequest",
    "CreateSnapshotRequest",
    "DeleteSnapshotRequest",
    "ListSnapshotsRequest",
    "GetSnapshotRequest",
    "ControllerExpandVolumeRequest",
    "NodeStageVolumeRequest",
    "NodePublishVolumeRequest",
    "NodeExpandVolumeRequest",
    "CreateVolumeGroupSnapshotRequest",
    "DeleteVolumeGroupSnapshotRequest",
    "GetVolumeGroupSnapshotRequest",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/csi.proto");
    let interface = protox::compile(["proto/csi.proto"], ["proto"])?;
    // What a node needs to log in is in the answer of a publish, and in what is made of it.
    let hidden = SECRETIVE.iter().chain(&["ControllerPublishVolumeResponse"]);
    let hidden: Vec<_> = hidden.map(|message| format!(".csi.v1.{message}")).collect();
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .skip_debug(hidden)
        .compile_fds(interface)?;
    Ok(())
}
