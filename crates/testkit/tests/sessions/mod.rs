//! The hosts of the target suite over iSCSI: each keeps the session it has.
//!
//! As a real initiator does, one logs in when it has no session, and once more when the one it had
//! was ended. So "out" means that even a new login is refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use osds_model::Connection;
use osds_testkit::initiator::{Error, Options, Session};

use crate::target::Refused;

/// The sessions of all initiators, by initiator and target.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<HashMap<(String, String), Session>>>);

/// An initiator on its way to LUN 1 of a target.
pub struct Way<'w> {
    /// The initiator's name.
    pub name: &'w str,
    /// Where it goes.
    pub to: &'w Connection,
    /// How it logs in.
    pub options: Options,
}

impl Sessions {
    pub async fn write(&self, way: Way<'_>, at: u64, bytes: &[u8]) -> Result<(), Refused> {
        let bytes = bytes.to_vec();
        self.with(way, move |session| session.write(at / 512, &bytes)).await
    }

    pub async fn read(&self, way: Way<'_>, at: u64, bytes: &mut [u8]) -> Result<(), Refused> {
        let blocks = u32::try_from(bytes.len() / 512).unwrap();
        let read = self.with(way, move |session| session.read(at / 512, blocks));
        bytes.copy_from_slice(&read.await?);
        Ok(())
    }

    async fn with<T: Send + 'static>(
        &self,
        way: Way<'_>,
        work: impl Fn(&mut Session) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Refused> {
        let Connection::Iscsi { iqn, portals, lun } = way.to.clone() else {
            panic!("{:?}", way.to)
        };
        assert_eq!(lun, 1, "the initiator speaks to LUN 1 only");
        let (name, options, sessions) = (way.name.to_owned(), way.options, Arc::clone(&self.0));
        let done = tokio::task::spawn_blocking(move || {
            let key = (name.clone(), iqn.clone());
            let mut kept = sessions.lock().unwrap().remove(&key);
            let mut outcome = kept.as_mut().map_or(Err(Refused::Out), |s| work(s).map_err(refused));
            if matches!(outcome, Err(Refused::Out)) {
                let portal = portals[0].parse().unwrap();
                let mut fresh =
                    Session::login_with(portal, &name, &iqn, &options).map_err(refused)?;
                outcome = work(&mut fresh).map_err(refused);
                kept = Some(fresh);
            }
            sessions.lock().unwrap().extend(kept.map(|session| (key, session)));
            outcome
        });
        done.await.unwrap()
    }
}

pub fn refused(error: Error) -> Refused {
    match error {
        Error::LoginRefused { class: 2, .. } | Error::ConnectionLost(_) => Refused::Out,
        Error::CheckCondition { .. } => Refused::Command,
        other @ (Error::LoginRefused { .. }
        | Error::Impostor
        | Error::Status(_)
        | Error::Rejected(_)
        | Error::Protocol(_)) => panic!("neither done nor refused: {other}"),
    }
}
