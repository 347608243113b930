//! A BitTorrent tracker in memory (BEP 3, compact IPv4 peers of BEP 23): the bench is the only network that there is.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use crate::{
    error::{Context, Result},
    limits,
    report::say,
};

/// First argument that makes the bench run as tracker.
pub(crate) const TRACKER: &str = "__tracker";
/// Printed once it listens.
pub(crate) const READY: &str = "tracker listening";

const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_PEERS: usize = 50;

/// Info hash -> peers, in the order in which they came, with whether they are seeds.
#[derive(Default)]
struct Swarms(HashMap<Vec<u8>, Vec<(SocketAddrV4, bool)>>);

/// Serves until killed.
pub(crate) fn serve() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, limits::TRACKER_PORT))
        .context("listening as tracker")?;
    say(READY)?;
    let swarms = Arc::new(Mutex::new(Swarms::default()));
    for stream in listener.incoming().flatten() {
        let swarms = Arc::clone(&swarms);
        thread::spawn(move || {
            // A client that hangs up early is its own affair.
            let _ = answer(stream, &swarms);
        });
    }
    Ok(())
}

fn answer(stream: TcpStream, swarms: &Mutex<Swarms>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    let from = stream.peer_addr()?.ip();
    let mut reader = BufReader::new(&stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let body = match (path.split_once('?'), from) {
        (Some(("/announce", query)), IpAddr::V4(from)) => {
            let mut swarms = swarms
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            swarms.announce(query, from)
        }
        _ => None,
    };
    let body = body.unwrap_or_else(|| b"d14:failure reason11:bad requeste".to_vec());
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    (&stream).write_all(&[head.as_bytes(), &body].concat())
}

impl Swarms {
    fn announce(&mut self, query: &str, from: Ipv4Addr) -> Option<Vec<u8>> {
        let fields: HashMap<&str, &str> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let me = SocketAddrV4::new(from, fields.get("port")?.parse().ok()?);
        let seed = *fields.get("left")? == "0";
        let peers = self
            .0
            .entry(percent_decode(fields.get("info_hash")?))
            .or_default();
        peers.retain(|(peer, _)| *peer != me);
        let compact: Vec<u8> = peers
            .iter()
            .rev()
            .take(MAX_PEERS)
            .flat_map(|(peer, _)| [&peer.ip().octets()[..], &peer.port().to_be_bytes()].concat())
            .collect();
        if fields.get("event") != Some(&"stopped") {
            peers.push((me, seed));
        }
        let seeds = peers.iter().filter(|(_, seed)| *seed).count();
        let mut out = format!(
            "d8:completei{seeds}e10:incompletei{}e8:intervali1800e12:min intervali5e5:peers{}:",
            peers.len() - seeds,
            compact.len()
        )
        .into_bytes();
        out.extend(compact);
        out.push(b'e');
        Some(out)
    }
}

fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut out, mut i) = (Vec::new(), 0);
    while i < bytes.len() {
        let escaped = bytes
            .get(i + 1..i + 3)
            .filter(|_| bytes[i] == b'%')
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        out.push(escaped.unwrap_or(bytes[i]));
        i += if escaped.is_some() { 3 } else { 1 };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_learns_of_the_others_and_not_of_itself() {
        let mut swarms = Swarms::default();
        let query = |port: u16, left: u32| {
            format!("info_hash=%00a%ff&port={port}&left={left}&event=started")
        };
        let first = swarms
            .announce(&query(80, 0), Ipv4Addr::new(10, 78, 0, 1))
            .unwrap();
        assert!(first.ends_with(b"5:peers0:e"));
        for _ in 0..2 {
            let second = swarms
                .announce(&query(81, 9), Ipv4Addr::new(10, 78, 0, 2))
                .unwrap();
            assert!(second.ends_with(b"5:peers6:\x0a\x4e\x00\x01\x00\x50e"));
        }
        let third = swarms
            .announce(&query(80, 0), Ipv4Addr::new(10, 78, 0, 1))
            .unwrap();
        assert!(third.starts_with(b"d8:completei1e10:incompletei1e"));
        assert!(swarms.announce("port=1", Ipv4Addr::LOCALHOST).is_none());
    }

    #[test]
    fn percent_decoding_keeps_what_is_not_an_escape() {
        assert_eq!(percent_decode("a%41%zz%4"), b"aA%zz%4");
    }
}
