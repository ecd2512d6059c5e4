//! Who is let in: one ACL for each initiator of a host.
//!
//! An ACL lets nobody in before the last write to it: the group asks for proof, and what it is comes
//! last, when the LUN is mapped. So an initiator that tries again and again never finds half an ACL,
//! whose missing LUN it would take for a broken disk. LUN 1 is the volume; a LUN 0 would answer with
//! zeros where none is mapped.
//!
//! Deleting the ACL is the only revocation that waits for the writes that are under way; taking the
//! LUN away, or protecting it, does not.

use std::collections::BTreeMap;

use osds_model::host::Protocol;
use osds_model::{
    AttachMode, Authentication, Credentials, FaultKind, Grant, HostId, Initiator, Secret, VolumeId,
};

use super::names::{NOBODY, Tag};
use super::{Inner, LUN};
use crate::{DriverError, HostFacts};

/// An ACL as the kernel has it.
struct Acl {
    initiator: String,
    tag: Option<Tag>,
    /// `None` where the volume is not what is mapped, or not only it.
    mode: Option<AttachMode>,
    /// `None` where nobody could log in.
    proof: Option<Option<Authentication<Secret>>>,
}

/// A host as its ACLs have it.
pub(super) struct LetIn {
    pub(super) facts: HostFacts,
    /// What it proves; of no meaning where it is not let in as granted.
    pub(super) proof: Option<Authentication<Secret>>,
    /// Every name, whether it is let in as granted or not.
    pub(super) names: Vec<String>,
}

impl Inner {
    /// Makes the ACL of one initiator, which has none.
    pub(super) fn make_acl(
        &self,
        volume: VolumeId,
        initiator: &str,
        tag: Tag,
        grant: &Grant<Secret>,
    ) -> Result<(), DriverError> {
        let group = self.names.group(volume);
        let acl = format!("{group}/acls/{initiator}");
        self.tree.make(&acl)?;
        self.tree.write(format!("{acl}/tag"), &tag.to_string())?;
        let lun = format!("{acl}/lun_{LUN}");
        self.tree.make(&lun)?;
        // The group sees to it that this maps it write-protected.
        self.tree.link(format!("{lun}/mapped"), format!("{group}/lun/lun_0"))?;
        let protect = match grant.mode {
            AttachMode::ReadOnly => "1",
            AttachMode::ReadWrite => "0",
        };
        self.tree.ensure(format!("{lun}/write_protect"), protect)?;
        let Some(Authentication { initiator, target }) = &grant.authentication else {
            let believed = format!("{acl}/attrib/authentication");
            if self.tree.has(&believed) {
                return self.tree.write(believed, "0");
            }
            let doing = format!("letting {initiator} in without CHAP");
            return Err(DriverError::new(FaultKind::NotSupported, doing).because(
                "this kernel asks proof of all hosts of a volume or of none (Linux 6.1 does not): \
                 set chap under [iscsi] in osds.toml, detach and attach again",
            ));
        };
        if let Some(target) = target {
            self.tree.write(format!("{acl}/auth/userid_mutual"), &target.name)?;
            self.tree.write(format!("{acl}/auth/password_mutual"), target.secret.reveal())?;
        }
        self.tree.write(format!("{acl}/auth/userid"), &initiator.name)?;
        self.tree.write(format!("{acl}/auth/password"), initiator.secret.reveal())
    }

    /// Deletes these ACLs; every one is tried. Who is gone is said of the reservations that are kept.
    pub(super) fn delete_acls(
        &self,
        volume: VolumeId,
        which: impl Fn(Option<Tag>) -> bool,
    ) -> Result<(), DriverError> {
        let acls = format!("{}/acls", self.names.group(volume));
        let mut outcome = Ok(());
        for name in self.tree.list(&acls)? {
            let acl = format!("{acls}/{name}");
            let tag = self.tree.read(format!("{acl}/tag"))?.unwrap_or_default();
            if which(Tag::parse(&tag)) {
                let deleted = self.delete_acl(&acl);
                outcome = outcome.and(deleted.and_then(|()| self.kept.drop_one(volume, &name)));
            }
        }
        outcome
    }

    fn delete_acl(&self, acl: &str) -> Result<(), DriverError> {
        let luns = self.tree.list(acl)?;
        for lun in luns.iter().filter(|name| name.starts_with("lun_")) {
            let lun = format!("{acl}/{lun}");
            for link in self.tree.links(&lun)? {
                self.tree.unlink(format!("{lun}/{link}"))?;
            }
            self.tree.remove(&lun)?;
        }
        // Returns when no command of its sessions is under way any more.
        self.tree.remove(acl)
    }

    /// Every host with an ACL. ACLs that are nobody's are of [`NOBODY`], who is put out.
    pub(super) fn hosts(&self, volume: VolumeId) -> Result<BTreeMap<HostId, LetIn>, DriverError> {
        let acls = format!("{}/acls", self.names.group(volume));
        let mut by_host: BTreeMap<HostId, Vec<Acl>> = BTreeMap::new();
        for name in self.tree.list(&acls)? {
            let acl = self.read_acl(volume, &name)?;
            by_host.entry(acl.tag.map_or(NOBODY, |tag| tag.host)).or_default().push(acl);
        }
        let is_sound = self.is_sound(volume)?;
        let let_in = |(host, acls)| (host, self.let_in(volume, acls, is_sound));
        Ok(by_host.into_iter().map(let_in).collect())
    }

    fn let_in(&self, volume: VolumeId, mut acls: Vec<Acl>, is_sound: bool) -> LetIn {
        acls.sort_by_key(|acl| acl.tag.map(|tag| tag.number));
        let (mode, proof) = acls.first().map_or((None, None), |acl| (acl.mode, acl.proof.clone()));
        let count = acls.len();
        let is_as_granted = |(at, acl): (usize, &Acl)| {
            acl.tag.is_some_and(|tag| tag.number == at + 1 && tag.of == count)
                && acl.mode.is_some()
                && acl.mode == mode
                && acl.proof.is_some()
                && acl.proof == proof
        };
        let is_whole = is_sound && acls.iter().enumerate().all(is_as_granted);
        let names: Vec<String> = acls.into_iter().map(|acl| acl.initiator).collect();
        let iscsi =
            |name: &String| Initiator { port_name: name.clone(), protocol: Protocol::Iscsi };
        let proof = proof.flatten();
        let grant = Grant {
            mode: mode.unwrap_or(AttachMode::ReadOnly),
            // By no name that was granted: it is put out and let in anew.
            initiators: if is_whole { names.iter().map(iscsi).collect() } else { Vec::new() },
            authentication: proof.as_ref().map(Authentication::names),
        };
        LetIn { facts: HostFacts { grant, connection: self.connection(volume) }, proof, names }
    }

    fn read_acl(&self, volume: VolumeId, name: &str) -> Result<Acl, DriverError> {
        let group = self.names.group(volume);
        let acl = format!("{group}/acls/{name}");
        let read = |attribute: &str| {
            Ok::<_, DriverError>(self.tree.read(format!("{acl}/{attribute}"))?.unwrap_or_default())
        };
        let luns = self.tree.list(&acl)?;
        let luns: Vec<_> = luns.iter().filter(|name| name.starts_with("lun_")).collect();
        let lun = format!("lun_{LUN}");
        let links = self.tree.links(format!("{acl}/{lun}"))?;
        let mapped = links.first().and_then(|link| self.tree.follow(format!("{acl}/{lun}/{link}")));
        let of_volume = self.tree.follow(format!("{group}/lun/lun_0"));
        let is_mapped = mapped.is_some() && mapped == of_volume;
        let mode = match &*read(&format!("{lun}/write_protect"))? {
            "0" => Some(AttachMode::ReadWrite),
            "1" => Some(AttachMode::ReadOnly),
            _ => None,
        };
        let mode = mode.filter(|_| is_mapped && luns == [&lun] && links.len() == 1);
        let of = |name: String, secret: String| {
            let is_there = !name.is_empty() && !secret.is_empty();
            is_there.then(|| Credentials { name, secret: Secret::new(secret) })
        };
        let initiator = of(read("auth/userid")?, read("auth/password")?);
        let target = of(read("auth/userid_mutual")?, read("auth/password_mutual")?);
        let proof = match (&*read("attrib/authentication")?, initiator) {
            ("0", _) => Some(None),
            (_, None) => None,
            (_, Some(initiator)) => Some(Some(Authentication { initiator, target })),
        };
        Ok(Acl { initiator: name.to_owned(), tag: Tag::parse(&read("tag")?), mode, proof })
    }

    /// Refuses credentials that the kernel would not take for what they are.
    pub(super) fn check_proof(grant: &Grant<Secret>) -> Result<(), DriverError> {
        let Some(Authentication { initiator, target }) = &grant.authentication else {
            return Ok(());
        };
        for Credentials { name, secret } in [Some(initiator), target.as_ref()].into_iter().flatten()
        {
            for text in [&**name, secret.reveal()] {
                // It forgets what begins with this word, and keeps 255 bytes.
                let is_text = !text.is_empty() && text.len() < 256 && !text.starts_with("NULL");
                if !is_text || text.contains(['\n', '\0']) {
                    let doing = "letting a host in by CHAP";
                    return Err(DriverError::new(FaultKind::NotSupported, doing).because(
                        "the kernel takes no name or secret that is empty, is longer than 255 \
                         bytes, has lines, or begins with NULL; detach and attach again",
                    ));
                }
            }
        }
        Ok(())
    }
}
