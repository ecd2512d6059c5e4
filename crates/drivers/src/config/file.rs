//! The YAML of the file driver: where each pool's directory is, and how much it may hold.
//!
//! A pool is in its own `path`, or in a directory of its name beneath `baseDir`. Must stay true: a
//! pool's name never leads out of `baseDir`, and no two pools share a directory.

use std::path::{Component, Path, PathBuf};

use osds_model::Capacity;

use super::document::{Document, Section};
use super::pool::{PoolConfig, read_pools};
use super::{ConfigError, Loaded, read};

/// The configuration of the file driver.
#[derive(Clone, Debug, PartialEq)]
pub struct FileConfig {
    /// Its pools, in the order of the file.
    pub pools: Vec<FilePoolConfig>,
}

/// One pool of the file driver.
#[derive(Clone, Debug, PartialEq)]
pub struct FilePoolConfig {
    /// What every backend's pools have.
    pub pool: PoolConfig,
    /// The directory that holds its volumes.
    pub path: PathBuf,
    /// The most its volumes may take together; the whole file system when not said.
    pub capacity: Option<Capacity>,
    /// How many times over the space may be promised, as volumes are sparse; 1 promises only what
    /// is there.
    pub over_subscription: u32,
}

impl FileConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or something in it is wrong.
    pub fn load(file: &Path) -> Result<Loaded<Self>, ConfigError> {
        Self::parse(file, &read(file)?)
    }

    /// Reads `text`, which came from `file`. Relative directories are relative to that file's.
    ///
    /// # Errors
    /// Something in it is wrong.
    pub fn parse(file: &Path, text: &str) -> Result<Loaded<Self>, ConfigError> {
        let document = Document::parse(file, text)?;
        let (mut top, mut warnings) = (document.top()?, Vec::new());
        let base = top.text("baseDir")?;
        let pools = read_pools(&mut top, &mut warnings, |pool, section| {
            if pool.storage_type != "block" {
                let remedy = "write storageType: block";
                return Err(section.wrong("storageType", "must be block for this driver", remedy));
            }
            let own = section.text("path")?;
            let path = directory(base.as_deref(), own.as_deref(), pool, section)?;
            Ok((path, capacity(section)?, over_subscription(section)?))
        })?;
        let mut config = Self { pools: Vec::new() };
        for (pool, (path, capacity, over_subscription)) in pools {
            if let Some(other) = config.pools.iter().find(|other| other.path == path) {
                let map = top.section("pool")?.expect("it was read above");
                let (own, name) = (path.display(), &other.pool.name);
                let must = format!("must have a directory of its own: {own} is pool {name}'s");
                return Err(map.wrong(&pool.name, &must, "write another path: for one of them"));
            }
            config.pools.push(FilePoolConfig { pool, path, capacity, over_subscription });
        }
        top.finish(&mut warnings);
        Ok(Loaded { config, warnings })
    }
}

fn directory(
    base: Option<&str>,
    own: Option<&str>,
    pool: &PoolConfig,
    section: &Section<'_>,
) -> Result<PathBuf, ConfigError> {
    let beside = section.file().parent().unwrap_or(Path::new("."));
    match (own, base) {
        (Some(own), _) => Ok(beside.join(own)),
        (None, Some(base)) => {
            // A pool's name becomes one directory's name, and cannot lead anywhere else.
            let name = Path::new(&pool.name);
            let mut parts = name.components();
            if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
                let must = "must say where this pool's directory is, as its name cannot be one";
                return Err(section.wrong("path", must, "write path: and the directory"));
            }
            Ok(beside.join(base).join(name))
        }
        (None, None) => {
            let must = "must say where this pool's directory is, as there is no baseDir";
            let remedy = "write path: and the directory, or baseDir: at the top of the file";
            Err(section.wrong("path", must, remedy))
        }
    }
}

fn capacity(section: &mut Section<'_>) -> Result<Option<Capacity>, ConfigError> {
    let Some(text) = section.text("capacity")? else { return Ok(None) };
    parse_capacity(&text).map(Some).ok_or_else(|| {
        section.wrong(
            "capacity",
            "must be a number with one of the units MiB, GiB, TiB",
            "write for example capacity: 10GiB",
        )
    })
}

/// Cinder's `max_over_subscription_ratio`, in whole numbers.
pub(super) fn over_subscription(section: &mut Section<'_>) -> Result<u32, ConfigError> {
    const KEY: &str = "maxOverSubscriptionRatio";
    let Some(text) = section.text(KEY)? else { return Ok(1) };
    text.parse().ok().filter(|ratio| (1..=1000).contains(ratio)).ok_or_else(|| {
        section.wrong(KEY, "must be a whole number from 1 to 1000", "write for example 20")
    })
}

fn parse_capacity(text: &str) -> Option<Capacity> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    let bytes = number.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    (bytes > 0).then_some(Capacity::from_bytes(bytes))
}
