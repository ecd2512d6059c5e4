//! As little HTTP as a load generator needs: one kept-alive connection, one answer at a time.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// One connection, opened when it is first used.
#[derive(Default)]
pub struct Client {
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Client {
    /// Sends a request and takes the answer; with `wait`, one that is given when all is done.
    pub fn request(
        &mut self,
        address: &str,
        method: &str,
        path: &str,
        body: &str,
        wait: bool,
    ) -> Answer {
        let stream = self.stream.get_or_insert_with(|| {
            let stream = TcpStream::connect(address).expect("the daemon listens");
            stream.set_nodelay(true).expect("a socket option");
            stream
        });
        let prefer = if wait { "Prefer: wait=30\r\n" } else { "" };
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: osds\r\nContent-Type: application/json\r\n\
             {prefer}Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("the daemon reads");
        self.buffer.clear();
        let mut part = [0; 64 << 10];
        loop {
            let read = stream.read(&mut part).expect("the daemon answers");
            assert!(read > 0, "the daemon closed the connection");
            self.buffer.extend_from_slice(&part[..read]);
            if let Some(answer) = whole(&self.buffer) {
                return answer;
            }
        }
    }
}

fn whole(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).expect("a head in ASCII");
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    let length = head
        .lines()
        .find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        })
        .unwrap_or(0);
    let body = bytes.get(end + 4..end + 4 + length)?;
    Some(Answer { status, body: String::from_utf8_lossy(body).into_owned() })
}

/// A text field of a flat JSON object, found without parsing all of it.
pub fn field<'a>(json: &'a str, key: &str) -> &'a str {
    let pattern = format!("\"{key}\":\"");
    let start = json.find(&pattern).map_or(json.len(), |at| at + pattern.len());
    let rest = &json[start..];
    &rest[..rest.find('"').unwrap_or(0)]
}
