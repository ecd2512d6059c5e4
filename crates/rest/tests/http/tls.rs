//! https: who trusts the certificate is served, who does not or speaks plainly is not, and a
//! handshake that is never finished costs a place for a bounded time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use osds_rest::{Limits, Tls};
use osds_rest_api::VersionView;
use osds_rest_api::client::{Client, ClientError, Settings};
use tempfile::TempDir;

use crate::scene::{Scene, Setup};

/// A certificate for loopback, and its key, as files.
fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("api.pem"), folder.join("api-key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (certificate, key)
}

fn versions(endpoint: String, ca_file: Option<PathBuf>) -> Result<(), ClientError> {
    let settings = Settings {
        endpoint,
        tenant: "t".to_owned(),
        login: None,
        ca_file,
        timeout: Duration::from_secs(20),
        user_agent: "test".to_owned(),
    };
    let client = Client::new(settings)?;
    let request = client.request_at(osds_rest_api::client::Method::GET, "/v1beta");
    request.send()?.read::<VersionView<'_>>().map(drop)
}

#[test]
fn https_is_for_those_who_trust_the_certificate() {
    let folder = TempDir::new().unwrap();
    let (certificate, key) = certificate(folder.path());
    let tls = Some(Tls::load(&certificate, &key).unwrap());
    let limits = Limits { head_read: Duration::from_millis(300), ..Limits::default() };
    let scene = Scene::of(Setup { tls, limits, ..Setup::default() });
    let https = format!("https://{}", scene.address);
    versions(https.clone(), Some(certificate)).unwrap();
    assert!(versions(https, None).is_err(), "an unknown certificate");
    let plain = format!("http://{}", scene.address);
    assert!(versions(plain, None).is_err(), "nothing is answered in clear");

    // Nothing, half a handshake, nonsense: each is over in the end.
    for sent in [&b""[..], b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(scene.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(sent).unwrap();
        let mut answer = Vec::new();
        // Reset or closed, with an alert at most.
        let _ = stream.read_to_end(&mut answer);
        assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "{answer:?}");
    }
}

#[test]
fn an_unfinished_handshake_does_not_hold_up_the_end() {
    let folder = TempDir::new().unwrap();
    let (certificate, key) = certificate(folder.path());
    let tls = Some(Tls::load(&certificate, &key).unwrap());
    let limits = Limits { grace: Duration::from_secs(60), ..Limits::default() };
    let limits = Limits { head_read: Duration::from_secs(60), ..limits };
    let mut scene = Scene::of(Setup { tls, limits, ..Setup::default() });
    let mut silent = TcpStream::connect(scene.address).unwrap();
    silent.write_all(b"\x16\x03\x01").unwrap();
    // Those are accepted in turn: once this one is served, the silent one is inside.
    versions(format!("https://{}", scene.address), Some(certificate)).unwrap();
    let since = Instant::now();
    scene.stop();
    scene.stopped();
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
}

#[test]
fn mistakes_with_files_are_named() {
    let folder = TempDir::new().unwrap();
    let (certificate, key) = certificate(folder.path());
    let said = |certificate: &Path, key: &Path| {
        Tls::load(certificate, key).err().expect("refused").to_string()
    };
    let nowhere = folder.path().join("nowhere.pem");
    assert!(said(&nowhere, &key).contains("nowhere.pem"));
    assert!(said(&key, &key).contains("no certificate in it"));
    assert!(said(&certificate, &certificate).contains("key"));
    let other = TempDir::new().unwrap();
    let (_, other_key) = self::certificate(other.path());
    assert!(said(&certificate, &other_key).contains("do not go together"));
}
