//! Serves one file as one iSCSI target, for trying out initiators and conformance suites.
//!
//! ```text
//! cargo run --release -p osds-iscsi --example serve -- \
//!     --file /tmp/disk --size 64M --rw iqn.x:a --ro iqn.x:b [--listen 127.0.0.1:3260] [--iqn iqn.x:disk]
//! ```
//! Prints the URL of the unit and serves until it is killed, or until standard input ends when
//! `--until-eof` is given.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Read;
use std::sync::Arc;

use osds_iscsi::scsi::{Access, FileBackend, Identity, LogicalUnit};
use osds_iscsi::{Limits, Target};

fn bytes(text: &str) -> Result<u64, Box<dyn Error>> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        Some(_) | None => (text, 0),
    };
    Ok(digits.parse::<u64>()? << shift)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut listen = "127.0.0.1:0".to_owned();
    let mut iqn = "iqn.2026-01.org.example:disk".to_owned();
    let (mut file, mut size, mut until_eof) = (None, 64 << 20, false);
    let mut grants = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(option) = args.next() {
        if option == "--until-eof" {
            until_eof = true;
            continue;
        }
        let value = args.next().ok_or_else(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--listen" => listen = value,
            "--iqn" => iqn = value,
            "--file" => file = Some(value),
            "--size" => size = bytes(&value)?,
            "--rw" => grants.push((value, Access::ReadWrite)),
            "--ro" => grants.push((value, Access::ReadOnly)),
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    let file = file.ok_or("--file is required")?;
    let medium =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&file)?;
    if medium.metadata()?.len() < size {
        medium.set_len(size)?;
    }
    let identity = Identity {
        naa: *b"\x60\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
        serial: "0001020304050607".into(),
        vendor: "EXAMPLE".into(),
        product: "SERVE".into(),
        revision: "1".into(),
    };
    let unit = Arc::new(LogicalUnit::new(Box::new(FileBackend::new(medium)), identity)?);
    let target = Target::start(&[listen.parse()?], Limits::default())?;
    target.export(&iqn, unit)?;
    for (initiator, access) in grants {
        target.grant(&iqn, &initiator, access, None)?;
    }
    for portal in target.portals() {
        println!("iscsi://{portal}/{iqn}/1");
    }
    if until_eof {
        std::io::stdin().read_to_end(&mut Vec::new())?;
        target.shutdown()?;
        return Ok(());
    }
    loop {
        std::thread::park();
    }
}
