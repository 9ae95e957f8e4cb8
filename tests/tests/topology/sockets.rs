//! Whom do sockets believe to talk to, and for how long? The frontend that they dialled, until they
//! are closed, whatever others do.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytemuck::Zeroable;
use lb_common::connected;
use lb_common::layout::{Connected, SocketFlow, SocketKey};
use lb_common::limits::{CONNECTED, CONNECTED_SETS, CONNECTED_WAYS};
use lb_common::{Family as AddressFamily, Ip4, Ip6};
use lb_tests::app::App;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Health, Manifests, Service};
use lb_tests::sockets::disconnect;
use lb_tests::topology::{Cluster, Family, Pair, Place, on};
use lb_tests::wait;
use lb_userspace::bpf::Map;
use socket2::{Domain, Socket, Type};

/// Nobody waits longer.
const PATIENCE: Duration = Duration::from_secs(5);

fn kubia() -> Pair {
    Pair::new("10.43.165.39", "fd00:10:43::a539")
}

fn other() -> Pair {
    Pair::new("10.43.165.40", "fd00:10:43::a540")
}

/// Both Services have the same pods.
fn manifests() -> Result<Manifests> {
    let manifests = Manifests::new()?;
    let service = |name, at: Pair| {
        let service = Service::new(name, "kubia").at(&at.both()).port(80, 8080);
        service.object()
    };
    let services = [service("kubia", kubia()), service("other", other())];
    manifests.write("kubia.yaml", &services)?;
    Ok(manifests)
}

/// Both Services with one pod, and a node whose sockets are served.
fn with_pod(test: impl FnOnce(&Lb, &Place, &App<'_>) -> Result<()>) {
    on(Cluster::routed_veth, |cluster| {
        let manifests = manifests()?;
        let app = App::new(&manifests, "kubia", 8080);
        let pod = app.pod(cluster.here(), "kubia-0")?;
        let lb = Lb::started(cluster.here(), &manifests, "tc,socket")?;
        test(&lb, &pod, &app)?;
        lb.uninstall()
    });
}

/// A connected UDP socket hears that its backend stopped serving.
fn hears(socket: Socket) -> Result<()> {
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(PATIENCE))?;
    let heard = socket.recv(&mut [0; 512]).map_err(|error| error.kind());
    ensure!(heard == Err(ErrorKind::ConnectionAborted), "{heard:?}");
    Ok(())
}

fn open(place: &Place, kind: Type, to: SocketAddr) -> Result<Socket> {
    place.socket(Domain::for_address(to), kind, None)
}

fn connected(place: &Place, kind: Type, to: SocketAddr) -> Result<Socket> {
    let socket = open(place, kind, to)?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    Ok(socket)
}

/// Whom the socket believes to be connected to.
fn name(socket: &Socket) -> Result<SocketAddr> {
    let name = socket.peer_addr()?.as_socket();
    name.context("connected to no address")
}

/// How many sockets are noted.
fn noted<A: AddressFamily>(pins: &Path, map: &str) -> Result<usize> {
    let map = Map::<u32, Connected<A>>::open(&pins.join(map))?;
    let mut noted = 0;
    for batch in map.batches() {
        let elements = batch?;
        let tags = elements.iter().flat_map(|(_, element)| element.tags);
        let tags = tags.flatten();
        noted += tags.filter(|tag| *tag != 0).count();
    }
    Ok(noted)
}

/// More sockets come and go than can be noted: names stay, and whoever is connected still hears when its
/// backend stops serving.
#[test]
fn an_open_socket_keeps_its_name_however_many_come_after_it() {
    const MORE: usize = CONNECTED as usize * CONNECTED_SETS * CONNECTED_WAYS + 5_000;
    with_pod(|lb, _, app| {
        let node = lb.node();
        let mut kept = Vec::new();
        for family in Family::ALL {
            let to = kubia().port(family, 80);
            for kind in [Type::STREAM, Type::DGRAM] {
                kept.push((connected(node, kind, to)?, to));
            }
            // In a socket for IPv6.
            if let SocketAddr::V4(v4) = to {
                let mapped = SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port());
                kept.push((connected(node, Type::STREAM, mapped)?, mapped));
            }
        }
        for family in Family::ALL {
            for _ in 0..MORE {
                drop(connected(node, Type::DGRAM, kubia().port(family, 80))?);
            }
        }
        for (socket, to) in &kept {
            ensure!(name(socket)? == *to, "{to}: {}", name(socket)?);
        }
        let pins = lb.pin_dir();
        // The last one may go in the process that opened it, a moment later.
        wait::until("only they are noted", PATIENCE, || {
            let noted = (
                noted::<Ip4>(&pins, "connected4")?,
                noted::<Ip6>(&pins, "connected6")?,
            );
            Ok(noted == (3, 2))
        })?;
        app.set_health("kubia-0", Health::NotReady)?;
        for (socket, to) in kept {
            if socket.r#type()? == Type::DGRAM {
                hears(socket).with_context(|| to.to_string())?;
            }
        }
        wait::until("nobody is noted", PATIENCE, || {
            let noted = noted::<Ip4>(&pins, "connected4")? + noted::<Ip6>(&pins, "connected6")?;
            Ok(noted == 0)
        })?;
        Ok(())
    });
}

/// What a socket was connected to before does not name who answers it later, though both Services have the same
/// pod.
#[test]
fn a_socket_that_is_connected_no_more_is_answered_by_whom_it_asks() {
    with_pod(|lb, _, _| {
        for family in Family::ALL {
            let (one, two) = (kubia().port(family, 80), other().port(family, 80));
            let socket = connected(lb.node(), Type::DGRAM, one)?;
            disconnect(&socket)?;
            let socket = UdpSocket::from(socket);
            socket.set_read_timeout(Some(PATIENCE))?;
            for asked in [two, one, two] {
                socket.send_to(b"/host_name", asked)?;
                let (_, from) = socket.recv_from(&mut [0; 512])?;
                ensure!(from == asked, "{from} answers for {asked}");
            }
        }
        Ok(())
    });
}

/// Before there was map `connected4|6`, connections were noted as datagrams are: such a socket keeps its name,
/// and hears.
#[test]
fn what_an_older_version_noted_of_a_connection_is_known() {
    with_pod(|lb, pod, app| {
        let to = kubia().port(Family::V4, 80);
        let socket = connected(lb.node(), Type::DGRAM, to)?;
        let cookie = socket.cookie()?;
        let backend = SocketAddr::new(pod.address(Family::V4), 8080);
        let address = Ip4::from_ip(backend.ip()).context("IPv4")?;
        let connections = Map::<u32, Connected<Ip4>>::open(&lb.pin_dir().join("connected4"))?;
        let element = connections.get(&connected::index(cookie))?;
        let dialled = element
            .as_ref()
            .and_then(|sets| sets.get(cookie, &address, 8080));
        let dialled = *dialled.context("not noted")?;
        connections.update(&connected::index(cookie), &Zeroable::zeroed())?;
        ensure!(name(&socket)? == backend, "forgotten");
        let sockets = Map::<SocketKey<Ip4>, SocketFlow<Ip4>>::open(&lb.pin_dir().join("sockets4"))?;
        let noted = SocketFlow {
            frontend: dialled.frontend,
            port: dialled.frontend_port,
            service_port: dialled.service_port,
            ..SocketFlow::default()
        };
        sockets.update(&SocketKey::new(cookie, address, 8080), &noted)?;
        ensure!(name(&socket)? == to, "{}", name(&socket)?);
        app.set_health("kubia-0", Health::NotReady)?;
        hears(socket)
    });
}

/// Sockets of which one set knows half at a time dial one Service after the other on all CPUs: a note that
/// two wrote at once is nobody's, and the name then the pod's; never another socket's.
#[test]
fn sockets_that_are_noted_in_one_place_are_never_taken_for_each_other() {
    const SOCKETS: usize = 2 * CONNECTED_WAYS;
    const TIMES: usize = 200_000;
    with_pod(|lb, pod, _| {
        for family in Family::ALL {
            let (one, two) = (kubia().port(family, 80), other().port(family, 80));
            let backend = SocketAddr::new(pod.address(family), 8080);
            let mut sockets = vec![open(lb.node(), Type::DGRAM, one)?];
            let place = |socket: &Socket| -> Result<_> {
                let cookie = socket.cookie()?;
                Ok((connected::index(cookie), connected::set(cookie)))
            };
            let first = place(&sockets[0])?;
            while sockets.len() < SOCKETS {
                let socket = open(lb.node(), Type::DGRAM, one)?;
                if place(&socket)? == first {
                    sockets.push(socket);
                }
            }
            let hammer = |sockets: &[Socket], to: SocketAddr| -> Result<usize> {
                let mut known = 0;
                for i in 0..TIMES {
                    let socket = &sockets[i % sockets.len()];
                    socket.connect(&to.into())?;
                    let name = name(socket)?;
                    ensure!(name == to || name == backend, "dialled {to}, got {name}");
                    known += usize::from(name == to);
                }
                Ok(known)
            };
            let (first, second) = sockets.split_at(SOCKETS / 2);
            std::thread::scope(|scope| {
                let beside = scope.spawn(|| hammer(first, one));
                let here = hammer(second, two)?;
                let there = beside.join().expect("does not panic")?;
                // The others' are noted later than its own, but hardly all of them before it is asked.
                ensure!(
                    here > TIMES / 2 && there > TIMES / 2,
                    "{here}, {there} known"
                );
                anyhow::Ok(())
            })?;
        }
        Ok(())
    });
}
