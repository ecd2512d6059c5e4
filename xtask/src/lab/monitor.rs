//! QEMU's monitor (QMP): two commands, over a connection of their own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Gives one command without arguments, and waits until it is done.
pub fn command(socket: &Path, name: &str) -> Result<()> {
    let mut stream = UnixStream::connect(socket).context("the guest's monitor does not answer")?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    // The greeting comes first, and no command is taken before this one.
    for execute in ["qmp_capabilities", name] {
        writeln!(stream, r#"{{"execute":"{execute}"}}"#)?;
        loop {
            let line = lines.next().context("the guest's monitor hung up")??;
            if line.contains(r#""return""#) {
                break;
            }
            if line.contains(r#""error""#) {
                bail!("the guest's monitor refused {execute}: {line}");
            }
        }
    }
    Ok(())
}
