//! What nothing of ours can beat: the bare file, and a bare socket that carries the same bytes.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::cell::{Cell, Figures, Medium, on_threads};
use crate::rivals::{self, MEDIUM};

/// A header of iSCSI.
const HEADER: usize = 48;
const BUFFER: usize = 512 << 10;

/// The same I/O with pread and pwrite, one thread for each session.
pub fn file(path: &Path, cell: &Cell, time: Duration) -> Figures {
    rivals::prepare(path, cell);
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the medium");
    let work = |n: usize, begin: &dyn Fn() -> Instant| {
        let mut offset = cell.offsets(n, MEDIUM);
        let mut buffer = vec![0x5a; cell.bytes];
        let mut done = 0;
        let stop = begin();
        while Instant::now() < stop {
            let moved = if cell.write {
                file.write_all_at(&buffer, offset())
            } else {
                file.read_exact_at(&mut buffer, offset())
            };
            moved.expect("the file can be used");
            if cell.medium == Medium::Durable {
                file.sync_data().expect("the medium");
            }
            done += 1;
        }
        (done, Vec::new())
    };
    on_threads(cell.sessions, time, work, || Duration::ZERO)
}

/// A child that answers so many bytes to so many bytes and does nothing else.
pub struct Socket {
    child: Child,
    address: SocketAddr,
}

impl Socket {
    pub fn start() -> Self {
        let (child, line) = rivals::start(rivals::again().arg("answer"));
        Self { child, address: line.parse().expect("the child prints its address") }
    }

    /// One round: as many requests under way as the cell's depth.
    pub fn measure(&self, cell: &Cell, time: Duration) -> Figures {
        let data = |here: bool| HEADER + if here { cell.bytes } else { 0 };
        let (out, back) = (data(cell.write), data(!cell.write));
        let work = |_: usize, begin: &dyn Fn() -> Instant| {
            let mut stream = TcpStream::connect(self.address).expect("the child listens");
            stream.set_nodelay(true).expect("a socket option");
            let sizes = [out as u64, back as u64].map(u64::to_be_bytes).concat();
            stream.write_all(&sizes).expect("the child reads");
            let depth = cell.depth.min(BUFFER.max(out) / out);
            let requests = vec![0x5a; out * depth];
            let mut buffer = vec![0; BUFFER.max(back)];
            let stop = begin();
            let (mut sent, mut received, mut done) = (0, 0, 0);
            loop {
                let free = if Instant::now() < stop { cell.depth - (sent - done) } else { 0 };
                for step in std::iter::repeat_n(depth, free / depth).chain([free % depth]) {
                    stream.write_all(&requests[..step * out]).expect("the child reads");
                }
                sent += free;
                if sent == done {
                    return (done as u64, Vec::new());
                }
                received += stream.read(&mut buffer).expect("the child answers");
                done = received / back;
            }
        };
        on_threads(cell.sessions, time, work, || Duration::ZERO)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Only our own child, by its handle; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child's side, until it is killed.
pub fn answer() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("{}", listener.local_addr().expect("its address"));
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || answer_one(stream));
    }
}

fn answer_one(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut size = [0; 8];
    stream.read_exact(&mut size)?;
    let request = usize::try_from(u64::from_be_bytes(size)).unwrap_or(usize::MAX);
    stream.read_exact(&mut size)?;
    let reply = usize::try_from(u64::from_be_bytes(size)).unwrap_or(usize::MAX);
    let step = (BUFFER / reply).max(1);
    let replies = vec![0x5a; reply * step];
    let mut buffer = vec![0; BUFFER];
    let (mut received, mut answered) = (0, 0);
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => received += n,
        }
        while answered < received / request {
            let now = step.min(received / request - answered);
            stream.write_all(&replies[..now * reply])?;
            answered += now;
        }
    }
}
