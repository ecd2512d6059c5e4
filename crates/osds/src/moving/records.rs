//! `osds import`: the original's records into ours.
//!
//! It runs while the daemon does not: the records are in a file that one process has at a time, and
//! ids, times and tenants come as they are, which no API would allow. One transaction writes all that
//! can come; a plan says what becomes of everything.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use osds_model::{Pool, Secret};
use osds_store::{DecideError, EmbeddedStore, Store as _, Txn, decide};
use zeroize::Zeroizing;

use super::etcd::{self, Access};
use super::kept::{Kept, PREFIX};
use super::plan::{Act, Row, plan};
use crate::config::{Config, StoreKind};

#[derive(Args)]
pub(crate) struct Import {
    /// The original's etcd, such as http://127.0.0.1:2379; of a cluster, any member.
    #[arg(long, value_name = "URL")]
    etcd: String,
    /// Say what would be done, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Bring the volumes of a pool of the original into this one; names or ids. May be repeated.
    #[arg(long, value_name = "OLD=NEW", value_parser = mapping)]
    map_pool: Vec<(String, String)>,
    /// The configuration that osds runs with.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where its records are; overrides data_dir of the configuration.
    #[arg(short, long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// User of etcd, where it asks for one.
    #[arg(long, value_name = "NAME", requires = "etcd_password_file")]
    etcd_user: Option<String>,
    /// A file with that user's password.
    #[arg(long, value_name = "FILE", requires = "etcd_user")]
    etcd_password_file: Option<PathBuf>,
    /// Certificates (PEM) to trust for https.
    #[arg(long, value_name = "FILE")]
    etcd_ca: Option<PathBuf>,
    /// Our certificate (PEM), where etcd asks for one.
    #[arg(long, value_name = "FILE", requires = "etcd_key")]
    etcd_cert: Option<PathBuf>,
    /// The key of that certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "etcd_cert")]
    etcd_key: Option<PathBuf>,
}

fn mapping(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => {
            Ok((old.to_owned(), new.to_owned()))
        }
        Some(_) | None => Err("write OLD=NEW: a pool of the original, and one of ours".to_owned()),
    }
}

impl Import {
    /// Plans, prints the plan, and does it unless it is a dry run.
    pub(crate) fn run(&self) -> Result<()> {
        let store = self.store()?;
        let pairs = etcd::read(&self.access()?, PREFIX)?;
        ensure!(!pairs.is_empty(), "there is nothing below {PREFIX} in {}", self.etcd);
        let kept = Kept::new(&pairs);
        let map: BTreeMap<_, _> = self.map_pool.iter().cloned().collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .context("cannot start the runtime")?;
        let decided = runtime.block_on(decide::<_, std::convert::Infallible>(&store, |view| {
            let (txn, rows) = plan(&kept, &map, view);
            Ok((if self.dry_run { Txn::new() } else { txn }, rows))
        }));
        let rows = match decided {
            Ok(rows) => rows,
            Err(DecideError::Refused(never)) => match never {},
            Err(DecideError::Store(error)) => return Err(error).context("nothing was written"),
        };
        store.close();
        show(&rows, &mut io::stdout().lock())?;
        let count = |act| rows.iter().filter(|row| row.act == act).count();
        let did = if self.dry_run {
            "would be brought over (nothing is written)"
        } else {
            "brought over"
        };
        eprintln!(
            "{} {did}, {} there already, {} left, {} refused",
            count(Act::Import),
            count(Act::There),
            count(Act::Leave),
            count(Act::Refuse)
        );
        if rows.iter().any(|row| row.act == Act::Import && row.what == "volume") {
            eprintln!(
                "Blocks are not copied: put those of each volume into its new pool before osds \
                 starts. Until they are there, the volume is in error, and nothing is made in its \
                 place."
            );
        }
        let refused = count(Act::Refuse);
        ensure!(refused == 0, "{refused} refused; mend what is said above and run this again");
        Ok(())
    }

    fn store(&self) -> Result<EmbeddedStore> {
        let mut config = match &self.config {
            Some(file) => Config::read(file)?,
            None => Config::default(),
        };
        if let Some(data_dir) = &self.data_dir {
            config.data_dir.clone_from(data_dir);
        }
        if config.store.kind == StoreKind::Memory {
            bail!("store.kind is memory: nothing that is brought over would last");
        }
        let path = config.data_dir.join("osds.redb");
        // Pools are known after the first start, and volumes need pools.
        let first =
            "start osds once with this configuration, so that its pools are known, and stop it";
        ensure!(path.exists(), "there are no records at {}: {first}", path.display());
        let store = EmbeddedStore::open(&path)
            .with_context(|| format!("cannot open {}; is osds running?", path.display()))?;
        ensure!(!store.view().is_empty::<Pool>(), "no pools on record: {first}");
        Ok(store)
    }

    fn access(&self) -> Result<Access> {
        let password = match &self.etcd_password_file {
            Some(file) => {
                let text = std::fs::read_to_string(file).map(Zeroizing::new);
                let text = text.with_context(|| format!("cannot read {}", file.display()))?;
                Some(Secret::new(text.trim().to_owned()))
            }
            None => None,
        };
        Ok(Access {
            endpoint: self.etcd.clone(),
            user: self.etcd_user.clone(),
            password,
            ca: self.etcd_ca.clone(),
            identity: self.etcd_cert.clone().zip(self.etcd_key.clone()),
        })
    }
}

/// The plan as a table; what has a long reason stands at the end of its line.
fn show(rows: &[Row], out: &mut impl Write) -> io::Result<()> {
    let head = ["", "what", "id", "name", "to", "why"].map(str::to_owned);
    let cells = |row: &Row| {
        let Row { act, what, name, id, to, why } = row;
        [act.as_str(), what, id, name, to, why].map(str::to_owned)
    };
    let lines: Vec<[String; 6]> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    let widths: Vec<usize> = (0..5)
        .map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or_default())
        .collect();
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            text.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(&line[5]);
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}
