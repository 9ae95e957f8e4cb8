//! What does a client experience? Connections, questions on open ones, many bytes, many datagrams, each for
//! a second or so. A process of its own, so that it can be in a cgroup; it never tries again.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::server::{AGAIN, MESSAGE, ONCE, SINK};

/// Clients that connect at once.
const DIALLERS: usize = 4;
/// Connections that are open while questions are asked on them in turn.
const OPEN: usize = 16;
/// How often a connection is tried whose beginning is not what is measured.
const TRIES: u32 = 8;
/// A connection or an answer that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(3);
/// With its headers and the checksum of the frame, a datagram of so many bytes makes a frame of 64.
const DATAGRAM: usize = 64 - 14 - 20 - 8 - 4;
/// Datagrams between two looks at the clock.
const BURST: usize = 64;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// Connections that are opened, asked one question, and closed by the server.
    Connections,
    /// Questions on open connections.
    Questions,
    /// Bytes over one connection.
    Bytes,
    /// Datagrams in frames of 64 bytes.
    Datagrams,
}

/// Who asks, whom, and for how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Task {
    /// What to measure
    pub what: What,
    /// Whom to ask: the first, or where there are many connections all of them in turn
    #[arg(long, value_delimiter = ',')]
    pub to: Vec<SocketAddr>,
    /// For so many milliseconds
    #[arg(long)]
    pub milliseconds: u64,
    /// In this cgroup
    #[arg(long)]
    pub cgroup: Option<PathBuf>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Done {
    /// Connections, questions, bytes or datagrams.
    pub count: u64,
    /// Connections that came to nothing.
    pub failed: u64,
    /// How long it took.
    pub seconds: f64,
    /// Of questions: seconds that half of them, 99 % and 99.9 % took at most.
    pub took: [f64; 3],
}

/// Does it and prints what came of it.
///
/// # Errors
/// Nobody answers where one has to.
pub fn run(task: &Task) -> Result<()> {
    if let Some(cgroup) = &task.cgroup {
        join(cgroup)?;
    }
    ensure!(!task.to.is_empty(), "nobody to ask");
    let length = Duration::from_millis(task.milliseconds);
    let done = match task.what {
        What::Connections => connections(&task.to, length),
        What::Questions => questions(&task.to, length)?,
        What::Bytes => bytes(task.to[0], length)?,
        What::Datagrams => datagrams(task.to[0], length)?,
    };
    println!("{}", serde_json::to_string(&done)?);
    Ok(())
}

fn join(cgroup: &Path) -> Result<()> {
    let members = cgroup.join("cgroup.procs");
    fs::write(&members, std::process::id().to_string())
        .with_context(|| members.display().to_string())
}

fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A connection on which something else is measured. Its port may be one of the many that connections had
/// a moment ago, which somebody still remembers and refuses: then it is another one's turn.
fn opened(to: SocketAddr) -> Result<TcpStream> {
    let tries = (1..TRIES).find_map(|_| connect(to).ok());
    tries.map_or_else(|| connect(to), Ok)
}

fn connections(to: &[SocketAddr], length: Duration) -> Done {
    let began = Instant::now();
    let dial = |first: usize| {
        let mut done = Done::default();
        for to in to.iter().cycle().skip(first) {
            match once(*to) {
                Ok(()) => done.count += 1,
                Err(_) => done.failed += 1,
            }
            if began.elapsed() >= length {
                break;
            }
        }
        done
    };
    let all = thread::scope(|scope| {
        let diallers: Vec<_> = (0..DIALLERS)
            .map(|i| scope.spawn(move || dial(i)))
            .collect();
        let done = diallers.into_iter().map(thread::ScopedJoinHandle::join);
        done.map(Result::unwrap_or_default).collect::<Vec<_>>()
    });
    Done {
        count: all.iter().map(|done| done.count).sum(),
        failed: all.iter().map(|done| done.failed).sum(),
        seconds: began.elapsed().as_secs_f64(),
        ..Done::default()
    }
}

/// One connection: a question, its answer, the end.
fn once(to: SocketAddr) -> Result<()> {
    let mut stream = connect(to)?;
    stream.write_all(&[ONCE; MESSAGE])?;
    let mut answer = [0; MESSAGE];
    stream.read_exact(&mut answer)?;
    ensure!(stream.read(&mut answer)? == 0, "more than an answer");
    Ok(())
}

fn questions(to: &[SocketAddr], length: Duration) -> Result<Done> {
    let mut streams = Vec::new();
    for to in to.iter().cycle().take(OPEN) {
        streams.push(opened(*to)?);
    }
    let began = Instant::now();
    let (mut took, mut message) = (Vec::new(), [AGAIN; MESSAGE]);
    'asking: loop {
        for stream in &mut streams {
            let asked = Instant::now();
            stream.write_all(&message)?;
            stream.read_exact(&mut message)?;
            took.push(asked.elapsed().as_secs_f64());
            if began.elapsed() >= length {
                break 'asking;
            }
        }
    }
    took.sort_by(f64::total_cmp);
    let at = |thousandth: usize| took[(took.len() - 1) * thousandth / 1_000];
    Ok(Done {
        count: took.len() as u64,
        seconds: began.elapsed().as_secs_f64(),
        took: [500, 990, 999].map(at),
        ..Done::default()
    })
}

fn bytes(to: SocketAddr, length: Duration) -> Result<Done> {
    let mut stream = opened(to)?;
    let (began, block) = (Instant::now(), vec![SINK; 1 << 17]);
    while began.elapsed() < length {
        stream.write_all(&block)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    Ok(Done {
        count: u64::from_le_bytes(count),
        seconds: began.elapsed().as_secs_f64(),
        ..Done::default()
    })
}

fn datagrams(to: SocketAddr, length: Duration) -> Result<Done> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let (began, datagram) = (Instant::now(), [0; DATAGRAM]);
    let mut done = Done::default();
    while began.elapsed() < length {
        for _ in 0..BURST {
            match socket.send_to(&datagram, to) {
                Ok(_) => done.count += 1,
                Err(_) => done.failed += 1,
            }
        }
    }
    done.seconds = began.elapsed().as_secs_f64();
    Ok(done)
}
