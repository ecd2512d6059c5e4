//! Who has reserved the unit: a state machine of plain values, by the rules of SPC-4 5.13.
//!
//! Initiator ports register keys; one registrant (or, with two of the six types, all of them) may
//! hold the persistent reservation; beside it there is the old RESERVE(6). [`Reservations`] takes
//! an [`Order`] of a port and either refuses it, unchanged, or changes and says who must be told
//! what. No locks, no bytes and no sessions in here. What must always hold: every port registers
//! one key at most and never zero, the holder is registered, and the generation only grows.

use super::nexus::Attention;
use super::reservation_terms::{
    Change, Class, Held, InitiatorPort, KeptReservations, Order, Refusal, Registrant,
    ReservationType, Sharing,
};

/// Most registrations of one unit.
pub(super) const MAX_REGISTRANTS: usize = 256;

/// See the head of this file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reservations {
    generation: u32,
    registrants: Vec<Registrant>,
    held: Option<Held>,
    /// Holder of RESERVE(6).
    unit_held_by: Option<InitiatorPort>,
    persists: bool,
}

impl Reservations {
    /// The state that was kept, if it is one that can be.
    pub(super) fn restore(kept: KeptReservations) -> Option<Self> {
        let KeptReservations { registrants, held } = kept;
        let persists = !registrants.is_empty();
        let restored = Self { registrants, held, persists, ..Self::default() };
        restored.is_sound().then_some(restored)
    }

    /// Takes the persistent part of a state that was derived from this one. RESERVE(6) may have
    /// ended meanwhile; it cannot have begun, because that is a change like this one.
    pub(super) fn adopt(&mut self, next: Self) {
        *self = Self { unit_held_by: self.unit_held_by.take(), ..next };
    }

    /// Some command could be stopped.
    pub(super) fn is_in_force(&self) -> bool {
        self.held.is_some() || self.unit_held_by.is_some()
    }

    /// What is to be kept: nothing, unless an initiator asked for it.
    pub(super) fn kept(&self) -> KeptReservations {
        if !self.persists {
            return KeptReservations::default();
        }
        KeptReservations { registrants: self.registrants.clone(), held: self.held.clone() }
    }

    /// The invariants.
    pub(super) fn is_sound(&self) -> bool {
        let registered = |port: &InitiatorPort| self.key_of(port).is_some();
        let keys = self.registrants.iter().all(|r| r.key != 0);
        let ports = (0..self.registrants.len())
            .all(|n| self.registrants[..n].iter().all(|r| r.port != self.registrants[n].port));
        let held = self.held.as_ref().is_none_or(|held| match &held.by {
            Some(by) => !held.kind.all_hold() && registered(by),
            None => held.kind.all_hold() && !self.registrants.is_empty(),
        });
        let one_kind = self.unit_held_by.is_none() || self.registrants.is_empty();
        keys && ports && held && one_kind && self.registrants.len() <= MAX_REGISTRANTS
    }

    /// Counts changes of registrations.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Every registration, in the order it was made.
    pub(super) fn registrants(&self) -> &[Registrant] {
        &self.registrants
    }

    /// The reservation.
    pub(super) fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// The last registration asked to be kept through a power loss.
    pub(super) fn persists(&self) -> bool {
        self.persists
    }

    /// RESERVE(6) is in force.
    pub(super) fn unit_is_held(&self) -> bool {
        self.unit_held_by.is_some()
    }

    /// The key of a port.
    pub(super) fn key_of(&self, port: &InitiatorPort) -> Option<u64> {
        self.registrants.iter().find(|r| r.port == *port).map(|r| r.key)
    }

    /// Some port of the initiator has registered or reserved something.
    pub(super) fn knows(&self, initiator: &str) -> bool {
        let mut ports = self.registrants.iter().map(|r| &r.port).chain(&self.unit_held_by);
        ports.any(|port| port.initiator == initiator)
    }

    /// The port is a holder.
    pub(super) fn holds(&self, port: &InitiatorPort) -> bool {
        self.held.as_ref().is_some_and(|held| match &held.by {
            Some(by) => by == port,
            None => self.key_of(port).is_some(),
        })
    }

    /// Whether a command of this class may run.
    pub(super) fn permits(&self, port: &InitiatorPort, class: Class) -> bool {
        if let Some(holder) = &self.unit_held_by {
            return matches!(class, Class::Free | Class::Own) || holder == port;
        }
        let Some(held) = &self.held else { return true };
        match class {
            Class::Free | Class::Asks | Class::Own => true,
            Class::Reads => held.kind.only_writes() || self.is_let_through(port, held),
            Class::Writes => self.is_let_through(port, held),
        }
    }

    fn is_let_through(&self, port: &InitiatorPort, held: &Held) -> bool {
        match held.kind.sharing() {
            Sharing::Holder => held.by.as_ref() == Some(port),
            Sharing::Registrants | Sharing::AllHold => self.key_of(port).is_some(),
        }
    }

    /// Carries an order out, or refuses it and stays as it is.
    pub(super) fn carry_out(
        &mut self,
        by: &InitiatorPort,
        order: &Order,
    ) -> Result<Change, Refusal> {
        if self.unit_held_by.is_some() {
            return Err(Refusal::Conflict);
        }
        match order {
            Order::Register { key, new_key, ignore, all_target_ports, persist, also } => {
                let fits = self.key_of(by).unwrap_or(0) == *key;
                if !*ignore && !fits {
                    return Err(Refusal::Conflict);
                }
                self.register(by, *new_key, *all_target_ports, *persist, also)
            }
            Order::Reserve { key, kind } => {
                self.check_key(by, *key)?;
                self.reserve(by, *kind)
            }
            Order::Release { key, kind } => {
                self.check_key(by, *key)?;
                self.release(by, *kind)
            }
            Order::Clear { key } => {
                self.check_key(by, *key)?;
                let told = self.tell_others(by, Attention::ReservationsPreempted);
                self.registrants.clear();
                self.held = None;
                self.count();
                Ok(Change { told, aborted: vec![] })
            }
            Order::Preempt { key, victim, kind, abort } => {
                self.check_key(by, *key)?;
                self.preempt(by, *victim, *kind, *abort)
            }
            Order::Move { key, new_key, to, unregister, persist } => {
                self.check_key(by, *key)?;
                self.move_to(by, *new_key, to, *unregister, *persist)
            }
        }
    }

    /// Removes every registration of an initiator, as if each of its ports had unregistered.
    pub(super) fn forget(&mut self, initiator: &str) -> Change {
        self.unit_held_by.take_if(|port| port.initiator == initiator);
        if self.remove(|r| r.port.initiator == initiator).is_empty() {
            return Change::default();
        }
        let told = self.release_without_holder();
        self.count();
        Change { told, aborted: vec![] }
    }

    /// RESERVE(6). Where persistent reservations are in use it changes nothing: a port that they
    /// let through hears GOOD (CRH), the others hear of the conflict.
    pub(super) fn hold_unit(&mut self, by: &InitiatorPort) -> Result<(), Refusal> {
        if !self.registrants.is_empty() {
            return self.compatible(by);
        }
        match &self.unit_held_by {
            Some(holder) if holder != by => Err(Refusal::Conflict),
            Some(_) | None => {
                self.unit_held_by = Some(by.clone());
                Ok(())
            }
        }
    }

    /// RELEASE(6): of what another port holds, it is no error and does nothing.
    pub(super) fn let_unit_go(&mut self, by: &InitiatorPort) -> Result<(), Refusal> {
        if !self.registrants.is_empty() {
            return self.compatible(by);
        }
        self.unit_held_by.take_if(|holder| holder == by);
        Ok(())
    }

    /// The end of a session ends its RESERVE(6) and nothing else.
    pub(super) fn end_session(&mut self, port: &InitiatorPort) {
        self.unit_held_by.take_if(|holder| holder == port);
    }

    /// A reset ends RESERVE(6) and nothing else.
    pub(super) fn reset(&mut self) {
        self.unit_held_by = None;
    }

    fn compatible(&self, by: &InitiatorPort) -> Result<(), Refusal> {
        let passes = self.held.as_ref().is_some_and(|held| self.is_let_through(by, held));
        if passes { Ok(()) } else { Err(Refusal::Conflict) }
    }

    fn check_key(&self, by: &InitiatorPort, key: u64) -> Result<(), Refusal> {
        if self.key_of(by) == Some(key) { Ok(()) } else { Err(Refusal::Conflict) }
    }

    fn register(
        &mut self,
        by: &InitiatorPort,
        new_key: u64,
        all_target_ports: bool,
        persist: bool,
        also: &[InitiatorPort],
    ) -> Result<Change, Refusal> {
        let present = self.registrants.iter().position(|r| r.port == *by);
        if !also.is_empty() && present.is_some() {
            return Err(Refusal::WrongPort);
        }
        let mut told = vec![];
        match (present, new_key) {
            (None, 0) => return Ok(Change::default()),
            (Some(at), 0) => {
                self.registrants.remove(at);
                told = self.release_without_holder();
            }
            (Some(at), key) => {
                self.registrants[at].key = key;
                self.registrants[at].all_target_ports = all_target_ports;
            }
            (None, key) => {
                let new = [std::slice::from_ref(by), also].concat();
                let known = |n: usize| self.key_of(&new[n]).is_some() || new[..n].contains(&new[n]);
                if (0..new.len()).any(known) {
                    return Err(Refusal::WrongPort);
                }
                if self.registrants.len() + new.len() > MAX_REGISTRANTS {
                    return Err(Refusal::NoRoom);
                }
                let new = new.into_iter();
                self.registrants.extend(new.map(|port| Registrant { port, key, all_target_ports }));
            }
        }
        self.persists = persist;
        self.count();
        Ok(Change { told, aborted: vec![] })
    }

    fn reserve(&mut self, by: &InitiatorPort, kind: ReservationType) -> Result<Change, Refusal> {
        match &self.held {
            None => self.held = Some(held_by(by, kind)),
            Some(held) if self.holds(by) && held.kind == kind => {}
            Some(_) => return Err(Refusal::Conflict),
        }
        Ok(Change::default())
    }

    fn release(
        &mut self,
        by: &InitiatorPort,
        kind: Option<ReservationType>,
    ) -> Result<Change, Refusal> {
        let Some(held) = self.held.as_ref().filter(|_| self.holds(by)) else {
            return Ok(Change::default());
        };
        if kind != Some(held.kind) {
            return Err(Refusal::WrongRelease);
        }
        let shared = held.kind.sharing() != Sharing::Holder;
        self.held = None;
        let told =
            if shared { self.tell_others(by, Attention::ReservationsReleased) } else { vec![] };
        Ok(Change { told, aborted: vec![] })
    }

    fn preempt(
        &mut self,
        by: &InitiatorPort,
        victim: u64,
        kind: Option<ReservationType>,
        abort: bool,
    ) -> Result<Change, Refusal> {
        let present = self.held.as_ref().map(|held| (held.kind, held.by.as_ref()));
        let takes_over = match present {
            Some((_, None)) => victim == 0,
            Some((_, Some(holder))) if victim != 0 => self.key_of(holder) == Some(victim),
            Some((_, Some(_))) | None if victim == 0 => return Err(Refusal::ZeroKey),
            Some((_, Some(_))) | None => false,
        };
        let was = present.map(|(kind, _)| kind);
        let (removed, mut told) = if takes_over {
            let kind = kind.ok_or(Refusal::NoSuchType)?;
            let removed = self.remove(|r| r.port != *by && (victim == 0 || r.key == victim));
            self.held = Some(held_by(by, kind));
            let changed = was != Some(kind);
            let told = if changed {
                self.tell_others(by, Attention::ReservationsReleased)
            } else {
                vec![]
            };
            (removed, told)
        } else {
            let removed = self.remove(|r| r.key == victim);
            if removed.is_empty() {
                return Err(Refusal::Conflict);
            }
            (removed, self.release_without_holder())
        };
        let others: Vec<_> = removed.into_iter().filter(|port| port != by).collect();
        told.extend(others.iter().map(|port| (port.clone(), Attention::RegistrationsPreempted)));
        self.count();
        Ok(Change { told, aborted: if abort { others } else { vec![] } })
    }

    fn move_to(
        &mut self,
        by: &InitiatorPort,
        new_key: u64,
        to: &InitiatorPort,
        unregister: bool,
        persist: bool,
    ) -> Result<Change, Refusal> {
        let kind = self.held.as_ref().map(|held| held.kind).ok_or(Refusal::NotHolder)?;
        if kind.all_hold() {
            return Err(Refusal::Conflict);
        }
        if !self.holds(by) {
            return Err(Refusal::NotHolder);
        }
        if new_key == 0 {
            return Err(Refusal::ZeroKey);
        }
        if to == by {
            return Err(Refusal::WrongPort);
        }
        match self.registrants.iter().position(|r| r.port == *to) {
            Some(at) => self.registrants[at].key = new_key,
            None if self.registrants.len() >= MAX_REGISTRANTS => return Err(Refusal::NoRoom),
            None => self.registrants.push(Registrant {
                port: to.clone(),
                key: new_key,
                all_target_ports: false,
            }),
        }
        self.held = Some(held_by(to, kind));
        if unregister {
            self.remove(|r| r.port == *by);
        }
        self.persists = persist;
        self.count();
        Ok(Change::default())
    }

    /// Removes registrations and says whose.
    fn remove(&mut self, gone: impl Fn(&Registrant) -> bool) -> Vec<InitiatorPort> {
        self.registrants.extract_if(.., |r| gone(r)).map(|r| r.port).collect()
    }

    /// Ends a reservation whose holder has lost its registration. Those who were let through as
    /// registrants are told; where only the holder was, the standard tells nobody.
    fn release_without_holder(&mut self) -> Vec<(InitiatorPort, Attention)> {
        let orphan = self.held.take_if(|held| match &held.by {
            Some(by) => self.registrants.iter().all(|r| r.port != *by),
            None => self.registrants.is_empty(),
        });
        match orphan.map(|held| held.kind.sharing()) {
            Some(Sharing::Registrants) => self
                .registrants
                .iter()
                .map(|r| (r.port.clone(), Attention::ReservationsReleased))
                .collect(),
            Some(Sharing::Holder | Sharing::AllHold) | None => vec![],
        }
    }

    fn tell_others(
        &self,
        by: &InitiatorPort,
        attention: Attention,
    ) -> Vec<(InitiatorPort, Attention)> {
        let others = self.registrants.iter().filter(|r| r.port != *by);
        others.map(|r| (r.port.clone(), attention)).collect()
    }

    fn count(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }
}

fn held_by(by: &InitiatorPort, kind: ReservationType) -> Held {
    Held { kind, by: (!kind.all_hold()).then(|| by.clone()) }
}
