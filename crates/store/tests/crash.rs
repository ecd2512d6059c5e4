//! Kill -9 in a loop: nothing acknowledged is lost, and no transaction is there by half.
//!
//! The test runs itself as a child process. The child writes from several tasks and says on its
//! standard output what was acknowledged; the parent kills it after a random number of these,
//! opens the file and counts. `OSDS_CRASH_ROUNDS=1000` runs longer. Two sabotaged children prove
//! that the parent would notice. (What a power cut does is simulated in src/embedded/power_cut.rs:
//! after kill -9 the kernel still has what was written.)

mod make;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use async_trait::async_trait;
use osds_model::id::{PoolId, ProfileId, VolumeId};
use osds_model::{Capacity, Pool, Profile, Volume};
use osds_store::{
    Claim, ClaimKind, EmbeddedStore, Revision, Store, StoreError, Txn, View, Watch, decide,
};

const FILE: &str = "OSDS_CRASH_FILE";
const SABOTAGE: &str = "OSDS_CRASH_SABOTAGE";
const ROUNDS: &str = "OSDS_CRASH_ROUNDS";
const WRITERS: u128 = 4;
/// How many volumes a writer keeps: each transaction also removes the one that many back.
const KEPT: u64 = 5;

fn id(writer: u128, step: u64) -> u128 {
    (writer << 64) | u128::from(step)
}

fn name(writer: u128, step: u64) -> String {
    format!("writer-{writer}-step-{step}")
}

/// How many steps of a writer are in the store.
fn steps(view: &View, writer: u128) -> u64 {
    view.get::<Pool>(PoolId::from_u128(writer)).map_or(0, |pool| pool.allocated.bytes())
}

/// One step: five records, of four kinds, in one transaction.
fn step(view: &View, writer: u128) -> (Txn, u64) {
    let step = steps(view, writer) + 1;
    let profile = ProfileId::from_u128(id(writer, step));
    let txn = rest_of_step(view, writer, step)
        .create(make::profile(profile.0.as_u128(), &name(writer, step)))
        .create(Claim::profile_name(&name(writer, step), profile));
    (txn, step)
}

fn rest_of_step(view: &View, writer: u128, step: u64) -> Txn {
    let mut txn = Txn::new().create(make::volume(id(writer, step)));
    txn = match view.get::<Pool>(PoolId::from_u128(writer)) {
        Some(old) => {
            let new = Pool { allocated: Capacity::from_bytes(step), ..Pool::clone(old) };
            txn.replace(old, new)
        }
        None => txn.create(make::pool(writer, step)),
    };
    let past = step.checked_sub(KEPT).map(|past| VolumeId::from_u128(id(writer, past)));
    match past.and_then(|past| view.get::<Volume>(past)) {
        Some(past) => txn.remove(past),
        None => txn,
    }
}

/// Whether the steps of a writer are there, each whole, up to what was acknowledged and at most
/// one more.
fn check(view: &View, writer: u128, acknowledged: u64) -> Result<(), String> {
    let done = steps(view, writer);
    if done < acknowledged || done > acknowledged + 1 {
        return Err(format!("writer {writer}: {acknowledged} acknowledged, {done} there"));
    }
    for step in 1..=done + 1 {
        let profile = view.get::<Profile>(ProfileId::from_u128(id(writer, step))).is_some();
        let claim = view.claim_owner(ClaimKind::ProfileName, &name(writer, step)).is_some();
        let volume = view.get::<Volume>(VolumeId::from_u128(id(writer, step))).is_some();
        let there = step <= done;
        if (profile, claim, volume) != (there, there, there && step + KEPT > done) {
            return Err(format!("writer {writer}, {done} steps: step {step} is there by half"));
        }
    }
    Ok(())
}

/// Not a test of its own: what the child does. It ends by being killed.
#[test]
fn child() {
    let Ok(file) = std::env::var(FILE) else { return };
    let sabotage = std::env::var(SABOTAGE).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(file).unwrap());
        let early = sabotage == "answers early";
        let store = if early { Arc::new(Early(Arc::clone(&store))) } else { store };
        let halves = sabotage == "writes in halves";
        let writers: Vec<_> = (1..=WRITERS)
            .map(|writer| tokio::spawn(write(Arc::clone(&store), writer, halves)))
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

async fn write(store: Arc<dyn Store>, writer: u128, halves: bool) {
    loop {
        if halves {
            let first = |view: &View| {
                let step = steps(view, writer) + 1;
                Ok::<_, ()>((rest_of_step(view, writer, step), step))
            };
            let step = decide(&*store, first).await.unwrap();
            let profile = ProfileId::from_u128(id(writer, step));
            let second = Txn::new()
                .create(make::profile(profile.0.as_u128(), &name(writer, step)))
                .create(Claim::profile_name(&name(writer, step), profile));
            store.commit(second).await.unwrap();
            say(writer, step);
        } else {
            let step = decide(&*store, |view| Ok::<_, ()>(step(view, writer))).await.unwrap();
            say(writer, step);
        }
    }
}

fn say(writer: u128, step: u64) {
    // One short write to a pipe: the parent sees the line whole or not at all.
    let line = format!("\nacknowledged {writer} {step}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}

/// A store that answers when a commit is on its way and not when it has arrived.
struct Early(Arc<dyn Store>);

#[async_trait]
impl Store for Early {
    fn view(&self) -> Arc<View> {
        self.0.latest()
    }
    fn latest(&self) -> Arc<View> {
        self.0.latest()
    }
    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        let store = Arc::clone(&self.0);
        let mut commit = Box::pin(async move { store.commit(txn).await });
        let begun = std::future::poll_fn(|context| {
            std::task::Poll::Ready(commit.as_mut().poll(context).is_ready())
        });
        if !begun.await {
            tokio::spawn(commit);
        }
        Ok(self.0.latest().revision())
    }
    fn watch(&self) -> Watch {
        self.0.watch()
    }
}

/// Runs the child until it has acknowledged `patience` steps, kills it, and looks.
fn round(file: &Path, sabotage: &str, patience: u64) -> Result<(), String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(FILE, file)
        .env(SABOTAGE, sabotage)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = [None; WRITERS as usize + 1];
    let mut heard = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some(rest) = line.strip_prefix("acknowledged ") else { continue };
        let (writer, step) = rest.split_once(' ').unwrap();
        acknowledged[writer.parse::<usize>().unwrap()] = Some(step.parse::<u64>().unwrap());
        heard += 1;
        if heard == patience {
            child.kill().unwrap();
        }
    }
    let _ = child.kill();
    child.wait().unwrap();
    assert!(heard >= patience, "the child ended by itself");
    let store = EmbeddedStore::open(file).map_err(|error| error.to_string())?;
    for writer in 1..=WRITERS {
        let at_least = acknowledged[writer as usize];
        let view = store.view();
        check(&view, writer, at_least.unwrap_or_else(|| steps(&view, writer)))?;
    }
    Ok(())
}

/// A fixed walk over 1 to 60, different in each round.
fn patience(round: u64) -> u64 {
    1 + round.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(20) % 60
}

#[test]
fn nothing_acknowledged_is_lost() {
    let rounds = std::env::var(ROUNDS).map_or(20, |rounds| rounds.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    for number in 0..rounds {
        // A file lives through many crashes, but not for ever: it grows with every step.
        let file = directory.path().join(format!("store-{}.redb", number / 20));
        round(&file, "", patience(number)).unwrap_or_else(|e| panic!("round {number}: {e}"));
    }
}

fn is_noticed(sabotage: &str) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store.redb");
    (0..50).find_map(|number| round(&file, sabotage, patience(number)).err())
}

#[test]
fn a_store_that_answers_early_is_noticed() {
    let noticed = is_noticed("answers early").expect("noticed");
    assert!(noticed.contains("acknowledged"), "{noticed}");
}

#[test]
fn a_store_that_writes_in_halves_is_noticed() {
    let noticed = is_noticed("writes in halves").expect("noticed");
    assert!(noticed.contains("by half"), "{noticed}");
}
