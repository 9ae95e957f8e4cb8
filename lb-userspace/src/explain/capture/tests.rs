//! Captures made by hand, in both formats and of all kinds of links.

use etherparse::PacketBuilder;

use super::*;

const CLIENT: [u8; 4] = [10, 42, 0, 9];
const VIP: [u8; 4] = [10, 43, 165, 39];

/// A capture in the old format, little-endian, of such a link.
fn pcap(link: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 0x0004_0000, link] {
        file.extend(u32::to_le_bytes(word));
    }
    for packet in packets {
        let length = u32::try_from(packet.len()).unwrap();
        for word in [1_700_000_000, 0, length, length] {
            file.extend(u32::to_le_bytes(word));
        }
        file.extend(packet);
    }
    file
}

/// A block of the new format, big-endian.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = u32::try_from(body.len() + 12).unwrap().to_be_bytes();
    [&kind.to_be_bytes(), &length[..], &body, &length].concat()
}

/// A capture in the new format of several links, each packet with the number of its own.
fn pcapng(links: &[u16], packets: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let section = [
        &0x1a2b_3c4d_u32.to_be_bytes()[..],
        &[0, 1, 0, 0],
        &[0xff; 8],
    ]
    .concat();
    let mut file = block(0x0a0d_0d0a, &section);
    for link in links {
        let description = [&link.to_be_bytes()[..], &[0; 6]].concat();
        file.extend(block(1, &description));
    }
    for (interface, packet) in packets {
        let length = u32::try_from(packet.len()).unwrap().to_be_bytes();
        let head = [&interface.to_be_bytes()[..], &[0; 8], &length, &length].concat();
        file.extend(block(6, &[&head[..], packet].concat()));
    }
    file
}

/// An IPv4 packet of TCP with these flags, without a link's header.
fn tcp(source: ([u8; 4], u16), destination: ([u8; 4], u16), flags: u8) -> Vec<u8> {
    let mut builder =
        PacketBuilder::ipv4(source.0, destination.0, 64).tcp(source.1, destination.1, 1_000, 100);
    if flags & 0x02 != 0 {
        builder = builder.syn();
    }
    if flags & 0x10 != 0 {
        builder = builder.ack(1);
    }
    let mut packet = Vec::new();
    builder.write(&mut packet, &[]).unwrap();
    packet
}

/// A handshake.
fn handshake() -> [Vec<u8>; 3] {
    let (client, vip) = ((CLIENT, 40_000), (VIP, 80));
    [
        tcp(client, vip, 0x02),
        tcp(vip, client, 0x12),
        tcp(client, vip, 0x10),
    ]
}

fn behind(header: &[u8], packets: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let packets = packets.into_iter();
    packets.map(|packet| [header, &packet].concat()).collect()
}

fn ask(text: &str) -> Question {
    let (source, destination) = text.split_once(' ').unwrap();
    Question::parse(source, destination, None).unwrap()
}

fn left_out(capture: &Capture) -> Vec<(&str, u64)> {
    let reasons = capture.left_out.iter();
    reasons.map(|(why, count)| (why.as_str(), *count)).collect()
}

#[test]
fn a_handshake_is_one_flow_at_every_kind_of_link() {
    let ethernet = [&[2; 12][..], &[8, 0]].concat();
    let vlan = [&[2; 12][..], &[0x81, 0, 0, 7, 8, 0]].concat();
    let sll = [&[0; 14][..], &[8, 0]].concat();
    let sll2 = [&[8, 0][..], &[0; 18]].concat();
    for (link, header) in [
        (1, &ethernet[..]),
        (1, &vlan),
        (101, &[]),
        (12, &[]),
        (228, &[]),
        (113, &sll),
        (276, &sll2),
        (0, &[2, 0, 0, 0]),
    ] {
        let capture = read(&pcap(link, &behind(header, handshake()))[..]).unwrap();
        let expected = CapturedFlow {
            question: ask("10.42.0.9:40000 10.43.165.39:80"),
            is_certain: true,
            packets: 2,
            replies: 1,
        };
        assert_eq!(capture.flows, [expected], "link type {link}: {capture:?}");
        assert_eq!((capture.packets, left_out(&capture)), (3, vec![]));
    }
}

#[test]
fn each_interface_of_the_new_format_has_its_own_link_type() {
    let [syn, ack, _] = handshake();
    let ethernet = [&[2; 12][..], &[8, 0]].concat();
    let packets = [
        (0, [&ethernet[..], &syn].concat()),
        (1, ack.clone()),
        (2, ack),
    ];
    let capture = read(&pcapng(&[1, 101], &packets)[..]).unwrap();
    assert_eq!(capture.flows.len(), 1);
    assert_eq!((capture.flows[0].packets, capture.flows[0].replies), (1, 1));
    assert_eq!(
        left_out(&capture),
        [("of an interface that the file does not describe", 1)]
    );
}

#[test]
fn who_began_is_told_by_the_handshake_or_not_at_all() {
    let [syn, syn_ack, ack] = handshake();
    for (packets, is_certain, client) in [
        (vec![syn_ack.clone(), ack.clone()], true, 40_000),
        (vec![ack, syn_ack.clone()], false, 40_000),
        (vec![tcp((VIP, 80), (CLIENT, 40_000), 0x10), syn], false, 80),
    ] {
        let capture = read(&pcap(101, &packets)[..]).unwrap();
        let [flow] = capture.flows[..] else {
            panic!("{capture:?}")
        };
        assert_eq!(flow.is_certain, is_certain);
        assert_eq!(flow.question.source_port, Some(client));
        assert_eq!(flow.reversed().reversed(), flow);
        assert_eq!((flow.packets, flow.replies), (1, 1));
    }
}

#[test]
fn other_protocols_and_what_is_cut_off() {
    let mut udp6 = Vec::new();
    let [client, vip] = [[0xfd; 16], [0xfe; 16]];
    PacketBuilder::ipv6(client, vip, 64)
        .udp(5_353, 53)
        .write(&mut udp6, b"a question")
        .unwrap();
    let ping = |kind: u8| {
        let mut packet = Vec::new();
        PacketBuilder::ipv4(CLIENT, VIP, 64)
            .icmpv4_raw(kind, 0, [0, 1, 0, 1])
            .write(&mut packet, &[])
            .unwrap();
        packet
    };
    let [syn, ..] = handshake();
    let mut later = syn.clone();
    later[7] = 1;
    let packets = [
        // As much as a small snapshot has of it.
        udp6[..44].to_vec(),
        ping(8),
        ping(3),
        later,
        syn[..22].to_vec(),
        vec![0; 40],
    ];
    let mut file = pcap(101, &packets);
    let capture = read(&file[..]).unwrap();
    let asked: Vec<_> = capture.flows.iter().map(|flow| flow.question).collect();
    let fd = "fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd";
    let fe = "fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe";
    assert_eq!(
        asked,
        [
            ask(&format!("[{fd}]:5353 [{fe}]:53/udp")),
            ask("10.42.0.9 10.43.165.39/icmp"),
        ]
    );
    assert_eq!(
        left_out(&capture),
        [
            ("ICMP that is no ping", 1),
            ("a later fragment, which has no ports", 1),
            ("cut off before its addresses", 1),
            ("cut off before its ports", 1),
        ]
    );
    // As if tcpdump had been killed.
    file.truncate(file.len() - 8);
    let capture = read(&file[..]).unwrap();
    assert_eq!(capture.packets, 5);
    assert!(
        capture
            .left_out
            .contains_key("cut off at the end of the file")
    );
}

#[test]
fn what_is_no_capture_says_so() {
    for file in [&b""[..], b"{}", &[0; 100]] {
        let error = read(file).unwrap_err().to_string();
        assert!(error.contains("tcpdump -w"), "{error}");
    }
    let unknown = pcap(127, &handshake());
    let capture = read(&unknown[..]).unwrap();
    assert_eq!(
        left_out(&capture),
        [("of link type 127, which is not read", 3)]
    );
}
