use proptest::prelude::*;

use super::*;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7));
const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const ROUTER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1));

fn request(target: IpAddr) -> Request {
    Request { target, identifier: Some(0xbeef), token: 0x0123_4567_89ab_cdef, payload_bytes: 24 }
}

fn summed(mut message: Vec<u8>) -> Vec<u8> {
    message[2..4].fill(0);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// The answer of a host to a packet.
fn answer(packet: &[u8], target: IpAddr) -> Vec<u8> {
    let mut message = packet.to_vec();
    message[0] = if target.is_ipv4() { 0 } else { 129 };
    if target.is_ipv4() { summed(message) } else { message }
}

/// An IPv4 packet with this protocol.
fn ipv4_packet(to: Ipv4Addr, protocol: u8, options: usize, content: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; IPV4_BYTES + options];
    packet[0] = 0x40 | u8::try_from((IPV4_BYTES + options) / 4).unwrap();
    packet[9] = protocol;
    packet[16..20].copy_from_slice(&to.octets());
    packet.extend(content);
    packet
}

fn ipv6_packet(to: Ipv6Addr, next: u8, content: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; IPV6_BYTES];
    packet[0] = 0x60;
    packet[6] = next;
    packet[24..40].copy_from_slice(&to.octets());
    packet.extend(content);
    packet
}

/// What a router says of a packet of which it quotes this.
fn complaint(kind: u8, code: u8, rest: [u8; 4], quoted: &[u8], v4: bool) -> Vec<u8> {
    let message = [&[kind, code, 0, 0], &rest[..], quoted].concat();
    if v4 { summed(message) } else { message }
}

fn quoted(request: &Request, sequence: u16) -> Vec<u8> {
    let packet = request.packet(sequence);
    match request.target {
        IpAddr::V4(to) => ipv4_packet(to, 1, 0, &packet[..8]),
        IpAddr::V6(to) => ipv6_packet(to, 58, &packet),
    }
}

#[test]
fn a_request_is_written_as_the_standard_has_it() {
    let packet = request(V4).packet(0x0102);
    assert_eq!(packet[..2], [8, 0]);
    assert_eq!(packet[4..16], [0xbe, 0xef, 1, 2, 1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
    assert_eq!(packet.len(), 32);
    assert_eq!(checksum(&packet), 0);
    let packet = request(V6).packet(1);
    assert_eq!((packet[0], &packet[2..4], packet.len()), (128, &[0, 0][..], 32));
    // A worked example of RFC 1071, 3: the sum is ddf2.
    assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    assert_eq!(checksum(&[0xff]), !0xff00);
    // The system gives the identifier.
    let unnamed = Request { identifier: None, ..request(V4) };
    assert_eq!(unnamed.packet(1)[4..6], [0, 0]);
    // Never shorter than its token.
    assert_eq!(Request { payload_bytes: 0, ..request(V4) }.packet(1).len(), 16);
}

#[test]
fn only_our_own_answers_count() {
    for target in [V4, V6] {
        let ours = request(target);
        let good = answer(&ours.packet(5), target);
        let read = |request: &Request, source, message: &[u8]| {
            request.read(source, Form::Message, message)
        };
        assert_eq!(read(&ours, target, &good), Some(Heard::Answer { sequence: 5 }), "{target}");
        // Whoever truncates what it answers has answered.
        let short = good[..16].to_vec();
        let short = if target.is_ipv4() { summed(short) } else { short };
        assert_eq!(read(&ours, target, &short), Some(Heard::Answer { sequence: 5 }));
        let other = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut message = good.clone();
            change(&mut message);
            if target.is_ipv4() { summed(message) } else { message }
        };
        for (what, message) in [
            ("another identifier", other(&|m| m[4] ^= 1)),
            ("another token", other(&|m| m[8] ^= 1)),
            ("half a token", other(&|m| m.truncate(12))),
            ("a code", other(&|m| m[1] = 1)),
            ("our own request", ours.packet(5)),
            ("a timestamp", other(&|m| m[0] = 14)),
        ] {
            assert_eq!(read(&ours, target, &message), None, "{target}: {what}");
        }
        let elsewhere = if target.is_ipv4() { ROUTER } else { ROUTER6 };
        assert_eq!(read(&ours, elsewhere, &good), None, "{target}: from somebody else");
        // The system has looked at the identifier already.
        let unnamed = Request { identifier: None, ..ours };
        assert_eq!(read(&unnamed, target, &good), Some(Heard::Answer { sequence: 5 }));
        for length in 0..16 {
            assert_eq!(read(&ours, target, &good[..length]), None, "{target}: {length} bytes");
        }
    }
    let ours = request(V4);
    let mut broken = answer(&ours.packet(5), V4);
    broken[2] ^= 0x55;
    assert_eq!(ours.read(V4, Form::Message, &broken), None, "a wrong checksum");
}

#[test]
fn raw_sockets_bring_the_header_with_or_without_options() {
    let ours = request(V4);
    let IpAddr::V4(here) = ROUTER else { unreachable!("above") };
    let good = answer(&ours.packet(9), V4);
    let read = |packet: &[u8]| ours.read(V4, Form::WithHeader, packet);
    for options in [0, 4, 40] {
        let packet = ipv4_packet(here, 1, options, &good);
        assert_eq!(read(&packet), Some(Heard::Answer { sequence: 9 }), "{options}");
    }
    assert_eq!(read(&ipv4_packet(here, 17, 0, &good)), None, "not ICMP");
    let mut packet = ipv4_packet(here, 1, 0, &good);
    packet[0] = 0x44;
    assert_eq!(read(&packet), None, "a header of 16 bytes");
    packet[0] = 0x65;
    assert_eq!(read(&packet), None, "version 6");
    packet[0] = 0x45;
    packet[7] = 1;
    assert_eq!(read(&packet), None, "a later fragment");
}

#[test]
fn each_complaint_has_its_meaning() {
    use Complaint as C;
    let mtu = [0, 0, 5, 0xdc];
    for (target, kind, code, rest, wanted) in [
        (V4, 3, 0, [0; 4], C::Unreachable("network unreachable")),
        (V4, 3, 1, [0; 4], C::Unreachable("host unreachable")),
        (V4, 3, 2, [0; 4], C::Unreachable("protocol unreachable")),
        (V4, 3, 3, [0; 4], C::Unreachable("port unreachable")),
        (V4, 3, 4, mtu, C::TooLarge(Some(1_500))),
        (V4, 3, 4, [0; 4], C::TooLarge(None)),
        (V4, 3, 7, [0; 4], C::Unreachable("host unknown")),
        (V4, 3, 9, [0; 4], C::Prohibited),
        (V4, 3, 10, [0; 4], C::Prohibited),
        (V4, 3, 13, [0; 4], C::Prohibited),
        (V4, 3, 77, [0; 4], C::Unreachable("unreachable")),
        (V4, 11, 0, [0; 4], C::TimeExceeded("time to live exceeded")),
        (V4, 11, 1, [0; 4], C::TimeExceeded("fragments did not come together in time")),
        (V4, 12, 0, [0; 4], C::Unreachable("a router could not read the packet")),
        (V6, 1, 0, [0; 4], C::Unreachable("no route")),
        (V6, 1, 1, [0; 4], C::Prohibited),
        (V6, 1, 3, [0; 4], C::Unreachable("address unreachable")),
        (V6, 1, 4, [0; 4], C::Unreachable("port unreachable")),
        (V6, 1, 5, [0; 4], C::Prohibited),
        (V6, 2, 0, mtu, C::TooLarge(Some(1_500))),
        (V6, 3, 0, [0; 4], C::TimeExceeded("hop limit exceeded")),
        (V6, 4, 1, [0; 4], C::Unreachable("a router could not read the packet")),
    ] {
        let ours = request(target);
        let v4 = target.is_ipv4();
        let from = if v4 { ROUTER } else { ROUTER6 };
        let message = complaint(kind, code, rest, &quoted(&ours, 3), v4);
        let heard = Heard::Complaint { sequence: 3, complaint: wanted };
        assert_eq!(ours.read(from, Form::Message, &message), Some(heard), "{kind}/{code}");
    }
    // What is no complaint: a redirect, a quench, an advertisement.
    for kind in [4, 5, 9, 10] {
        let ours = request(V4);
        let message = complaint(kind, 0, [0; 4], &quoted(&ours, 3), true);
        assert_eq!(ours.read(ROUTER, Form::Message, &message), None, "{kind}");
    }
}

#[test]
fn complaints_about_others_are_not_ours() {
    let ours = request(V4);
    let (IpAddr::V4(to), IpAddr::V4(other)) = (V4, ROUTER) else { unreachable!("above") };
    let echo = &ours.packet(3)[..8];
    let mut another = echo.to_vec();
    another[5] ^= 1;
    let mut reply = echo.to_vec();
    reply[0] = 0;
    let read =
        |quoted: Vec<u8>| ours.read(ROUTER, Form::Message, &complaint(3, 1, [0; 4], &quoted, true));
    assert!(read(ipv4_packet(to, 1, 8, echo)).is_some(), "with options");
    for (what, quoted) in [
        ("another target", ipv4_packet(other, 1, 0, echo)),
        ("another protocol", ipv4_packet(to, 17, 0, echo)),
        ("another program's echo", ipv4_packet(to, 1, 0, &another)),
        ("an answer", ipv4_packet(to, 1, 0, &reply)),
        ("too little", ipv4_packet(to, 1, 0, &echo[..7])),
        ("nothing", vec![]),
    ] {
        assert_eq!(read(quoted), None, "{what}");
    }
    let ours = request(V6);
    let IpAddr::V6(to) = V6 else { unreachable!("above") };
    let echo = ours.packet(3);
    let read = |quoted: Vec<u8>| {
        ours.read(ROUTER6, Form::Message, &complaint(1, 3, [0; 4], &quoted, false))
    };
    let fragment = |next: u8, offset: u16| {
        let [high, low] = (offset << 3).to_be_bytes();
        let head = [next, 0, high, low, 0, 0, 0, 1];
        ipv6_packet(to, IPV6_FRAGMENT, &[&head[..], &echo].concat())
    };
    assert!(read(fragment(58, 0)).is_some(), "the first fragment");
    for (what, quoted) in [
        ("a later fragment", fragment(58, 2)),
        ("a fragment of udp", fragment(17, 0)),
        ("udp", ipv6_packet(to, 17, &echo)),
        ("half a header", ipv6_packet(to, 58, &[])[..30].to_vec()),
    ] {
        assert_eq!(read(quoted), None, "{what}");
    }
}

proptest! {
    #[test]
    fn whatever_arrives_is_read_without_a_panic_and_is_not_ours(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        v4: bool,
        header: bool,
    ) {
        let (target, form) = (if v4 { V4 } else { V6 }, [Form::Message, Form::WithHeader]);
        // Sixty-four bits are not guessed.
        prop_assert_eq!(request(target).read(target, form[usize::from(header)], &bytes), None);
    }

    #[test]
    fn what_is_damaged_on_its_way_is_ours_or_nobodys(
        at in 0_usize..200, flip in 1_u8.., sequence: u16, v4: bool, complained: bool,
    ) {
        let target = if v4 { V4 } else { V6 };
        let ours = request(target);
        let mut message = match complained {
            true => complaint(if v4 { 3 } else { 1 }, 1, [0; 4], &quoted(&ours, sequence), v4),
            false => answer(&ours.packet(sequence), target),
        };
        let at = at % message.len();
        message[at] ^= flip;
        let heard = ours.read(target, Form::Message, &message);
        // IPv4 has a checksum of its own here; that of IPv6 was the system's.
        prop_assert!(!v4 || heard.is_none(), "{heard:?}");
    }

    #[test]
    fn an_answer_names_its_echo(sequence: u16, identifier: u16, token: u64, payload in 8_usize..600) {
        for target in [V4, V6] {
            let identifier = Some(identifier);
            let ours = Request { target, identifier, token, payload_bytes: payload };
            let message = answer(&ours.packet(sequence), target);
            let heard = ours.read(target, Form::Message, &message);
            prop_assert_eq!(heard, Some(Heard::Answer { sequence }));
        }
    }
}
