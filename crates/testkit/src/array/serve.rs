//! The array's port: TLS, as much of HTTP/1.1 as its client needs, and planned troubles.
//!
//! A thread serves a connection. A call is carried out under the state's lock, one after the other;
//! what is planned to go wrong is looked up before and after.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tokio_rustls::rustls::{ServerConnection, StreamOwned};

use super::state::Answer;
use super::{Inner, Trouble};

struct Request {
    method: String,
    path: String,
    token: Option<String>,
    body: Value,
}

impl Inner {
    /// Until the client goes, or is told nothing any more.
    pub(super) fn serve(&self, stream: TcpStream) {
        // An error is a client that went, or does not believe the certificate.
        drop(self.serve_all(stream));
    }

    fn serve_all(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let tls = ServerConnection::new(Arc::clone(&self.tls)).map_err(io::Error::other)?;
        let mut stream = BufReader::new(StreamOwned::new(tls, stream));
        while !self.stopped.load(Ordering::SeqCst) {
            let Some(request) = read(&mut stream)? else { return Ok(()) };
            let Some(answer) = self.answer(&request) else { return Ok(()) };
            let token =
                answer.token.map_or(String::new(), |token| format!("X-Auth-Token: {token}\r\n"));
            let text = format!(
                "HTTP/1.1 {} -\r\nContent-Length: {}\r\n{token}\r\n{}",
                answer.status,
                answer.body.len(),
                answer.body
            );
            let stream = stream.get_mut();
            stream.write_all(text.as_bytes())?;
            stream.flush()?;
        }
        Ok(())
    }

    /// `None` where nothing is answered.
    fn answer(&self, request: &Request) -> Option<Answer> {
        let path = request.path.strip_prefix("/dsware/service/")?;
        let bare = path.split('?').next().unwrap_or(path);
        let (trouble, latency) = {
            let mut plan = self.plan();
            if plan.cut == Some(0) {
                return None;
            }
            let planned = plan.planned.iter_mut();
            let mut planned = planned.filter(|(end, _, left)| *left > 0 && bare.ends_with(&**end));
            let trouble = planned.next().map(|(_, trouble, left)| {
                *left -= 1;
                *trouble
            });
            (trouble, plan.latency)
        };
        if !latency.is_zero() {
            // sleep: the latency that the test asked for.
            std::thread::sleep(latency);
        }
        match trouble {
            Some(Trouble::Status(status)) => {
                return Some(Answer { status, token: None, body: "{}".to_owned() });
            }
            Some(Trouble::Refuse(code)) => return Some(Answer::refuse(code)),
            Some(Trouble::Lost) => return None,
            Some(Trouble::Unanswered | Trouble::Garbled) | None => {}
        }
        let answer =
            self.state().call(&request.method, path, request.token.as_deref(), &request.body);
        let mut plan = self.plan();
        plan.calls.push(bare.to_owned());
        if let Some(left) = &mut plan.cut {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return None;
            }
        }
        match trouble {
            Some(Trouble::Unanswered) => None,
            Some(Trouble::Garbled) => Some(Answer { body: "<html>".to_owned(), ..answer }),
            Some(Trouble::Status(_) | Trouble::Refuse(_) | Trouble::Lost) | None => Some(answer),
        }
    }
}

fn read(
    stream: &mut BufReader<StreamOwned<ServerConnection, TcpStream>>,
) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let (mut length, mut token) = (0, None);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().map_err(io::Error::other)?,
            "x-auth-token" => token = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Some(Request { method, path, token, body }))
}
