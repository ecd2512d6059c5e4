//! Which calls of a fake go wrong, and how.
//!
//! `After` is the case that finds bugs: the effect happened and the caller is told it did not (or,
//! with a gate and a cancelled task, is told nothing).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use osds_model::FaultKind;
use tokio::sync::Semaphore;

use crate::DriverError;

/// A call of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// `StorageDriver::pools`; it cannot fail as a whole, only wait.
    Pools,
    /// `StorageDriver::find`.
    Find,
    /// `StorageDriver::create`.
    Create,
    /// `StorageDriver::extend`.
    Extend,
    /// `StorageDriver::delete`.
    Delete,
    /// `StorageDriver::create_copy`.
    CreateCopy,
    /// `StorageDriver::snapshot`.
    Snapshot,
    /// `StorageDriver::delete_snapshot`.
    DeleteSnapshot,
    /// `StorageDriver::snapshots`.
    Snapshots,
    /// `StorageDriver::open`.
    Open,
    /// `StorageDriver::list`.
    List,
    /// `TargetDriver::export`.
    Export,
    /// `TargetDriver::limit`.
    Limit,
    /// `TargetDriver::grant`.
    Grant,
    /// `TargetDriver::revoke`.
    Revoke,
    /// `TargetDriver::unexport`.
    Unexport,
    /// `TargetDriver::resized`.
    Resized,
    /// `TargetDriver::quiesce`.
    Quiesce,
    /// `TargetDriver::exports` and `export_of`.
    Exports,
    /// `TargetDriver::usage`.
    Usage,
}

/// On which side of its effect a call is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing happened yet.
    Before,
    /// It happened; only the answer is missing.
    After,
}

/// Which calls go wrong. Clones are handles on one plan.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    calls: BTreeMap<Op, u64>,
    faults: Vec<Fault>,
    gates: Vec<Closed>,
    delays: BTreeMap<Op, Duration>,
}

#[derive(Debug)]
struct Fault {
    op: Op,
    when: When,
    kind: FaultKind,
    which: Which,
}

#[derive(Debug)]
enum Which {
    Call(u64),
    All,
}

#[derive(Debug)]
struct Closed {
    op: Op,
    when: When,
    entered: Arc<Semaphore>,
    go: Arc<Semaphore>,
}

/// A closed gate in one call. Opens for good when it is dropped.
#[derive(Debug)]
pub struct Gate {
    entered: Arc<Semaphore>,
    go: Arc<Semaphore>,
}

impl Gate {
    /// Waits until a call stands before the gate.
    pub async fn arrived(&self) {
        if let Ok(permit) = self.entered.acquire().await {
            permit.forget();
        }
    }

    /// Lets the call go on.
    pub fn open(self) {}
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.go.close();
    }
}

impl FaultPlan {
    /// The `nth` call of `op` from now on (1 is the next) fails with `kind`.
    pub fn fail(&self, op: Op, nth: u64, when: When, kind: FaultKind) {
        let mut plan = self.plan();
        let call = plan.calls.get(&op).copied().unwrap_or(0) + nth;
        plan.faults.push(Fault { op, when, kind, which: Which::Call(call) });
    }

    /// Every call of `op` fails with `kind` until [`FaultPlan::heal`].
    pub fn fail_all(&self, op: Op, when: When, kind: FaultKind) {
        self.plan().faults.push(Fault { op, when, kind, which: Which::All });
    }

    /// Every call of `op` takes this much longer, before its effect.
    pub fn delay(&self, op: Op, time: Duration) {
        self.plan().delays.insert(op, time);
    }

    /// The next call of `op` stands still until the gate is opened.
    #[must_use]
    pub fn pause(&self, op: Op, when: When) -> Gate {
        let (entered, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        self.plan().gates.push(Closed { op, when, entered: entered.clone(), go: go.clone() });
        Gate { entered, go }
    }

    /// Forgets all faults and delays and opens the gates that nobody reached yet.
    pub fn heal(&self) {
        let mut plan = self.plan();
        plan.faults.clear();
        plan.delays.clear();
        plan.gates.clear();
    }

    /// How many calls of `op` there were.
    #[must_use]
    pub fn calls(&self, op: Op) -> u64 {
        self.plan().calls.get(&op).copied().unwrap_or(0)
    }

    /// Runs one call as planned.
    pub(super) async fn call<T>(
        &self,
        op: Op,
        effect: impl FnOnce() -> Result<T, DriverError> + Send,
    ) -> Result<T, DriverError> {
        let (number, delay) = {
            let mut plan = self.plan();
            let calls = plan.calls.entry(op).or_default();
            *calls += 1;
            (*calls, plan.delays.get(&op).copied())
        };
        if let Some(time) = delay {
            tokio::time::sleep(time).await;
        }
        self.stand_still(op, When::Before).await;
        self.verdict(op, number, When::Before)?;
        let done = effect();
        self.stand_still(op, When::After).await;
        self.verdict(op, number, When::After)?;
        done
    }

    async fn stand_still(&self, op: Op, when: When) {
        let gate = {
            let mut plan = self.plan();
            let found = plan.gates.iter().position(|gate| (gate.op, gate.when) == (op, when));
            found.map(|at| plan.gates.remove(at))
        };
        if let Some(gate) = gate {
            gate.entered.add_permits(1);
            // The gate opens by closing the semaphore: both ends of the wait mean "go on".
            drop(gate.go.acquire().await);
        }
    }

    fn verdict(&self, op: Op, number: u64, when: When) -> Result<(), DriverError> {
        let plan = self.plan();
        let hit = plan.faults.iter().find(|fault| {
            (fault.op, fault.when) == (op, when)
                && match fault.which {
                    Which::Call(call) => call == number,
                    Which::All => true,
                }
        });
        match hit {
            None => Ok(()),
            Some(fault) => {
                let side = match when {
                    When::Before => "before",
                    When::After => "after",
                };
                let doing = format!("planned failure {side} call {number} of {op:?}");
                Err(DriverError::new(fault.kind, doing))
            }
        }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().expect("no fault plan panics while it is held")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn call(plan: &FaultPlan, effects: &Mutex<u32>) -> Result<(), FaultKind> {
        let effect = || {
            *effects.lock().unwrap() += 1;
            Ok(())
        };
        plan.call(Op::Create, effect).await.map_err(|error| error.kind)
    }

    #[tokio::test]
    async fn the_nth_call_fails_on_the_side_that_was_planned() {
        let (plan, effects) = (FaultPlan::default(), Mutex::new(0));
        plan.fail(Op::Create, 2, When::Before, FaultKind::NoSpace);
        plan.fail(Op::Create, 3, When::After, FaultKind::Temporary);
        assert_eq!(call(&plan, &effects).await, Ok(()));
        assert_eq!(call(&plan, &effects).await, Err(FaultKind::NoSpace));
        assert_eq!(*effects.lock().unwrap(), 1);
        assert_eq!(call(&plan, &effects).await, Err(FaultKind::Temporary));
        assert_eq!(*effects.lock().unwrap(), 2);
        plan.fail_all(Op::Create, When::Before, FaultKind::Broken);
        assert_eq!(call(&plan, &effects).await, Err(FaultKind::Broken));
        plan.heal();
        assert_eq!(call(&plan, &effects).await, Ok(()));
        assert_eq!(plan.calls(Op::Create), 5);
    }

    #[tokio::test]
    async fn a_paused_call_waits_at_the_gate() {
        let (plan, effects) = (FaultPlan::default(), Arc::new(Mutex::new(0)));
        let gate = plan.pause(Op::Create, When::After);
        let task = tokio::spawn({
            let (plan, effects) = (plan.clone(), effects.clone());
            async move { call(&plan, &effects).await }
        });
        gate.arrived().await;
        assert_eq!(*effects.lock().unwrap(), 1);
        assert!(!task.is_finished());
        gate.open();
        assert_eq!(task.await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_call_takes_longer() {
        let (plan, effects) = (FaultPlan::default(), Mutex::new(0));
        plan.delay(Op::Create, Duration::from_secs(9));
        let before = tokio::time::Instant::now();
        assert_eq!(call(&plan, &effects).await, Ok(()));
        assert!(before.elapsed() >= Duration::from_secs(9));
    }
}
