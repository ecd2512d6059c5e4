//! A tiny HTTP client: one connection, one request after the other, nothing hidden.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn content_type(&self) -> &str {
        self.header("content-type").unwrap_or_default()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// A member of the object.
    pub fn text(&self, key: &str) -> String {
        match &self.json()[key] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    pub fn id(&self) -> String {
        self.text("id")
    }

    /// The message of an error, after a look at its form.
    pub fn message(&self) -> String {
        let json = self.json();
        assert_eq!(json["code"], self.status, "{self:?}");
        // Beside them, the word for programs and who is in the way.
        let known = ["code", "message", "reason", "holders"];
        assert!(json.as_object().unwrap().keys().all(|k| known.contains(&k.as_str())), "{self:?}");
        json["message"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Its body with every id and every time made the same.
    pub fn masked(&self) -> String {
        mask(&self.body)
    }
}

pub fn mask(text: &str) -> String {
    let bytes = text.as_bytes();
    let fits = |at: usize, pattern: &str| {
        bytes.get(at..at + pattern.len()).is_some_and(|part| {
            part.iter().zip(pattern.bytes()).all(|(byte, wanted)| match wanted {
                b'x' => byte.is_ascii_hexdigit(),
                b'9' => byte.is_ascii_digit(),
                other => *byte == other,
            })
        })
    };
    let (mut masked, mut at) = (String::new(), 0);
    while at < bytes.len() {
        let (uuid, time) = ("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", "9999-99-99T99:99:99");
        if fits(at, uuid) {
            masked.push_str("ID");
            at += uuid.len();
        } else if fits(at, time) {
            masked.push_str("NOW");
            at += time.len();
        } else {
            masked.push(char::from(bytes[at]));
            at += 1;
        }
    }
    masked
}

/// One connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub fn send(&mut self, text: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.get_mut().write_all(text.as_ref())
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        self.stream.get_mut()
    }

    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: osds\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        if let Some(body) = body {
            write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        self.send(bytes).unwrap();
        self.read(method == "HEAD").unwrap()
    }

    /// Reads one answer; its body is empty for `HEAD`, whatever its length says.
    pub fn read(&mut self, head_only: bool) -> std::io::Result<Answer> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("{line}")).parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, headers, body: String::new() };
        let length = answer.header("content-length").map_or(0, |n| n.parse().unwrap());
        let mut body = vec![0; if head_only { 0 } else { length }];
        self.stream.read_exact(&mut body)?;
        answer.body = String::from_utf8(body).unwrap();
        Ok(answer)
    }

    /// Whether the server has closed the connection, or does so soon.
    pub fn is_closed_within(&mut self, time: Duration) -> bool {
        self.stream.get_ref().set_read_timeout(Some(time)).unwrap();
        match self.stream.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}
