//! What is kept of copies after they have ended, and the commands that fetch it.
//!
//! The initiator gives each copy a list identifier, its own among its sessions' copies; a nexus
//! keeps the results of the last few that asked for it. A status that was fetched is forgotten, the
//! details of a failure are kept until they are fetched too, and a new copy with the same
//! identifier replaces both. While a copy runs its identifier cannot be used again.

use super::Completion;
use super::dispatch::{Call, reply};
use super::sense::{Sense, Status};
use crate::buffer::Buffer;

/// Most results that one nexus keeps; the oldest goes first.
const MOST_KEPT: usize = 16;

/// The copies of one nexus: those that run, and results of those that have ended.
#[derive(Debug, Default)]
pub(super) struct Copies(Vec<Kept>);

#[derive(Debug)]
struct Kept {
    list_id: u8,
    /// None while it runs.
    ended: Option<Ended>,
    status_fetched: bool,
}

/// How a copy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    /// Its status and sense.
    pub(super) completion: Completion,
    /// Segments carried out whole.
    pub(super) segments: u16,
    /// Bytes written.
    pub(super) bytes: u32,
}

impl Ended {
    /// What the copy's command answers.
    pub(super) fn outcome(self) -> Result<Status, Sense> {
        self.completion.sense.map_or(Ok(self.completion.status), Err)
    }
}

impl Copies {
    /// A copy starts; false if one with this identifier runs.
    pub(super) fn begin(&mut self, list_id: u8) -> bool {
        if self.0.iter().any(|kept| kept.list_id == list_id && kept.ended.is_none()) {
            return false;
        }
        self.0.retain(|kept| kept.list_id != list_id);
        if self.0.len() >= MOST_KEPT
            && let Some(oldest) = self.0.iter().position(|kept| kept.ended.is_some())
        {
            self.0.remove(oldest);
        }
        self.0.push(Kept { list_id, ended: None, status_fetched: false });
        true
    }

    /// The copy has ended; it is forgotten at once unless its result shall be kept.
    pub(super) fn end(&mut self, list_id: u8, ended: Ended, keep: bool) {
        if keep && let Some(kept) = self.0.iter_mut().find(|kept| kept.list_id == list_id) {
            kept.ended = Some(ended);
        } else {
            self.0.retain(|kept| kept.list_id != list_id);
        }
    }

    /// Forgets the results, as a reset does.
    pub(super) fn forget(&mut self) {
        self.0.retain(|kept| kept.ended.is_none());
    }
}

/// RECEIVE COPY STATUS(LID1).
pub(super) fn status(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    const RUNS: u8 = 0;
    const ENDED_WELL: u8 = 1;
    const ENDED_BADLY: u8 = 2;
    let list_id = call.cdb.byte(2);
    let mut copies = call.nexus.copies();
    let kept = copies.0.iter_mut().find(|kept| kept.list_id == list_id && !kept.status_fetched);
    let kept = kept.ok_or(Sense::invalid_cdb(2))?;
    // No data are held, so none were discarded. The count is in bytes.
    let mut out = [0, 0, 0, 8, RUNS, 0, 0, 0, 0, 0, 0, 0];
    if let Some(ended) = kept.ended {
        let well = ended.completion.status == Status::Good;
        out[4] = if well { ENDED_WELL } else { ENDED_BADLY };
        out[5..7].copy_from_slice(&ended.segments.to_be_bytes());
        out[8..12].copy_from_slice(&ended.bytes.to_be_bytes());
        kept.status_fetched = true;
        if well {
            copies.0.retain(|kept| kept.list_id != list_id);
        }
    }
    Ok(reply(data_in, &out, call.cdb.u32(10) as usize))
}

/// RECEIVE COPY FAILURE DETAILS(LID1): what the copy's own status and sense were.
pub(super) fn failure_details(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    const FIXED_PART: usize = 60;
    let (list_id, allocation) = (call.cdb.byte(2), call.cdb.u32(10) as usize);
    let mut copies = call.nexus.copies();
    let failed = copies.0.iter().find(|kept| kept.list_id == list_id);
    let completion = failed.and_then(|kept| kept.ended).map(|ended| ended.completion);
    let Some(Completion { status, sense: Some(sense) }) = completion else {
        return Ok(reply(data_in, &[0; 4], allocation));
    };
    let sense = sense.to_bytes();
    let mut out = vec![0; FIXED_PART];
    out[56] = status as u8;
    out[58..60].copy_from_slice(&(sense.len() as u16).to_be_bytes());
    out.extend_from_slice(&sense);
    let following = out.len() as u32 - 4;
    out[..4].copy_from_slice(&following.to_be_bytes());
    if allocation == 0 || allocation >= out.len() {
        copies.0.retain(|kept| kept.list_id != list_id);
    }
    Ok(reply(data_in, &out, allocation))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: Ended = Ended { completion: Completion::GOOD, segments: 1, bytes: 512 };

    #[test]
    fn an_identifier_is_used_once_at_a_time() {
        let mut copies = Copies::default();
        assert!(copies.begin(1));
        assert!(!copies.begin(1), "it runs");
        assert!(copies.begin(2));
        copies.end(1, DONE, true);
        assert!(copies.begin(1), "the result of the old one gives way");
        copies.end(2, DONE, false);
        assert_eq!(copies.0.len(), 1);
    }

    #[test]
    fn only_so_many_are_kept() {
        let mut copies = Copies::default();
        for list_id in 0..100 {
            assert!(copies.begin(list_id));
            copies.end(list_id, DONE, true);
        }
        assert_eq!(copies.0.len(), MOST_KEPT);
        assert_eq!(copies.0[0].list_id, 84);
        copies.forget();
        assert!(copies.0.is_empty());
    }
}
