//! Does `lb run --dns-listen` answer over real sockets? The worked names of `examples/`.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::lb::Lb;
use lb_tests::manifests::Manifests;
use lb_tests::topology::{Cluster, on};

/// On the node's loopback.
const LISTEN: &str = "127.0.0.1:5300";
/// Loopback answers long before.
const PATIENCE: Duration = Duration::from_secs(2);
/// Type A.
const A: u16 = 1;
/// Header of a message (RFC 1035, section 4.1.1), in bytes.
const HEADER: usize = 12;

/// What came back: the response code, how many answers, and the last four bytes, where the address
/// of an A record is if it is the last one.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: u8,
    count: u16,
    tail: Ipv4Addr,
}

/// A query for an A record, with recursion desired.
fn query(name: &str) -> Vec<u8> {
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(A.to_be_bytes());
    message.extend([0, 1]);
    message
}

fn read(message: &[u8]) -> Result<Answer> {
    ensure!(message.len() > HEADER, "cut off: {message:?}");
    let tail: [u8; 4] = *message.last_chunk().context("cut off")?;
    Ok(Answer {
        code: message[3] & 0x0f,
        count: u16::from_be_bytes([message[6], message[7]]),
        tail: tail.into(),
    })
}

fn ask_by_udp(server: SocketAddr, name: &str) -> Result<Answer> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(&query(name), server)?;
    let mut message = [0; 1_500];
    let length = socket.recv(&mut message).with_context(|| name.to_owned())?;
    read(&message[..length])
}

fn ask_by_tcp(server: SocketAddr, name: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let query = query(name);
    stream.write_all(&u16::try_from(query.len())?.to_be_bytes())?;
    stream.write_all(&query)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    read(&message)
}

#[test]
fn the_worked_names_are_answered_over_udp_and_tcp() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        for example in [
            "backend-service/service.yaml",
            "kubia/service.yaml",
            "external-name/service.yaml",
        ] {
            manifests.copy_example(example)?;
        }
        let mut lb = Lb::new(cluster.here(), &manifests, "tc")?.with("LB_DNS_LISTEN", LISTEN);
        lb.start()?;
        let server: SocketAddr = LISTEN.parse()?;
        cluster.here().place().netns().run(|| {
            let backend = Ipv4Addr::new(10, 96, 151, 12);
            let kubia = Ipv4Addr::new(10, 43, 165, 39);
            for (name, count, address) in [
                ("kubia.default.svc.cluster.local", 1, kubia),
                ("backend-service.example.svc.cluster.local", 1, backend),
                // An ExternalName: the CNAME and where it leads.
                ("backend-service.default.svc.cluster.local", 2, backend),
            ] {
                for answer in [ask_by_udp(server, name)?, ask_by_tcp(server, name)?] {
                    let expected = Answer {
                        code: 0,
                        count,
                        tail: address,
                    };
                    ensure!(answer == expected, "{name}: {answer:?}");
                }
            }
            let nobody = ask_by_udp(server, "nobody.default.svc.cluster.local")?;
            ensure!((nobody.code, nobody.count) == (3, 0), "{nobody:?}");
            Ok(())
        })?;
        lb.uninstall()
    });
}
