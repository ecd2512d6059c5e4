//! A server that gives prepared answers, one after the other, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use serde_json::Value;

/// An answer.
pub struct Answer {
    status: u16,
    headers: Vec<&'static str>,
    body: String,
}

impl Answer {
    pub fn new(status: u16, headers: &[&'static str], body: &str) -> Self {
        Self { status, headers: headers.to_vec(), body: body.to_owned() }
    }
}

fn body_of(value: &Value) -> String {
    if value.is_null() { String::new() } else { value.to_string() }
}

/// 200 with this body; `null` stands for none.
pub fn ok(body: &Value) -> Answer {
    Answer::new(200, &[], &body_of(body))
}

/// 202 with this body.
pub fn accepted(body: &Value) -> Answer {
    Answer::new(202, &[], &body_of(body))
}

/// 202 by a server that waited.
pub fn waited(body: &Value) -> Answer {
    Answer::new(202, &["Preference-Applied: wait"], &body_of(body))
}

/// The original's error body.
pub fn refused(code: u16, message: &str) -> Answer {
    Answer::new(code, &[], &serde_json::json!({"code": code, "message": message}).to_string())
}

/// A running server.
pub struct Server {
    address: SocketAddr,
    asked: mpsc::Receiver<String>,
}

impl Server {
    pub fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, asked) = mpsc::channel();
        thread::spawn(move || {
            // One connection for each answer; a request too many is refused by the system.
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                let request = read(&stream);
                let mut text =
                    format!("HTTP/1.1 {} Canned\r\nConnection: close\r\n", answer.status);
                for header in answer.headers {
                    text.push_str(&format!("{header}\r\n"));
                }
                text.push_str(&format!("Content-Length: {}\r\n\r\n", answer.body.len()));
                text.push_str(&answer.body);
                heard.send(request).unwrap();
                (&stream).write_all(text.as_bytes()).unwrap();
            }
        });
        Self { address, asked }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<String> {
        self.asked.try_iter().collect()
    }
}

/// A request, with the headers that matter.
fn read(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    let mut told =
        first.trim_end_matches(" HTTP/1.1").replace("/e93b4c0934da416eb9c8d120c5d04d96/", "/T/");
    let mut length = 0;
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "prefer" => told.push_str(&format!("\nPrefer: {value}")),
            "user-agent" => assert!(value.starts_with("osdsctl/"), "{value}"),
            "content-type" => assert_eq!(value, "application/json"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    if !body.is_empty() {
        told.push_str(&format!("\n{}", String::from_utf8(body).unwrap()));
    }
    told
}
