//! IPv4 addresses inside IPv6 ones: a translator or a tunnel on the way turns a packet to the one
//! into a packet to the other.
//!
//! Mapped addresses (::ffff:0:0/96) are not here: the kernel sends those over IPv4 itself, so they
//! are IPv4 addresses. Nor are translators with a prefix of a site's own, which no address shows.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Every IPv4 address that a packet to this one may end at, and by which mechanism.
pub(super) fn ipv4(address: Ipv6Addr) -> Vec<(Ipv4Addr, &'static str)> {
    let (s, o) = (address.segments(), address.octets());
    let at = |places: [usize; 4]| Ipv4Addr::from(places.map(|place| o[place]));
    let last = at([12, 13, 14, 15]);
    let mut found = Vec::new();
    match s {
        // The unspecified address and loopback are themselves.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => {}
        // RFC 4291, 2.5.5.1; deprecated.
        [0, 0, 0, 0, 0, 0, ..] => found.push((last, "IPv4-compatible")),
        // RFC 2765, 2.1; deprecated.
        [0, 0, 0, 0, 0xffff, 0, ..] => found.push((last, "IPv4-translated")),
        // RFC 6052, 2.1.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => found.push((last, "NAT64")),
        // RFC 8215: a site chooses the length of its prefix in here, and RFC 6052, 2.2 says for
        // each length where the address stands. Read by the other lengths it is mostly zeros.
        [0x64, 0xff9b, 1, ..] => {
            let places = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]];
            let read = places.map(at).into_iter().filter(|four| four.octets()[0] != 0);
            found.extend(read.map(|four| (four, "NAT64")));
        }
        // RFC 3056.
        [0x2002, ..] => found.push((at([2, 3, 4, 5]), "6to4")),
        // RFC 4380, 4: the server, and the client with its bits turned round.
        [0x2001, 0, ..] => {
            found.push((at([4, 5, 6, 7]), "Teredo"));
            found.push((Ipv4Addr::from_bits(!last.to_bits()), "Teredo"));
        }
        _ => {}
    }
    // RFC 5214, 6.1, behind any prefix; the bit 0x200 says that the address is unique worldwide.
    if matches!((s[4], s[5]), (0 | 0x200, 0x5efe)) {
        found.push((last, "ISATAP"));
    }
    found
}
