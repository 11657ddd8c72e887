//! Tables of addresses and of what the guard says to them.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::network::NetworkError;
use super::*;

fn networks(text: &str) -> Vec<Network> {
    text.split_whitespace().map(|network| network.parse().unwrap()).collect()
}

fn guard(allow: &str, deny: &str) -> Guard {
    Guard::new(&networks(allow), &networks(deny)).unwrap()
}

fn socket(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 80)
}

/// The network that denies the address; `-` when none does.
fn said(guard: &Guard, address: &str) -> String {
    match guard.admit(socket(address)) {
        Ok(allowed) => {
            assert_eq!(allowed.address(), socket(address));
            "-".to_owned()
        }
        Err(denied) => denied.rule.network.to_string(),
    }
}

/// Address, and the default that denies it; `-` for what is allowed.
const DEFAULTS: &str = "
    0.0.0.0                         0.0.0.0/8
    0.0.0.1                         0.0.0.0/8
    0.255.255.255                   0.0.0.0/8
    1.0.0.0                         -
    ::                              ::/128
    169.254.0.0                     169.254.0.0/16
    169.254.1.1                     169.254.0.0/16
    169.254.169.253                 169.254.0.0/16
    169.254.255.255                 169.254.0.0/16
    169.253.255.255                 -
    169.255.0.0                     -
    169.254.169.254                 169.254.169.254/32
    169.254.170.2                   169.254.170.2/32
    169.254.170.23                  169.254.170.23/32
    169.254.42.42                   169.254.42.42/32
    169.254.0.23                    169.254.0.23/32
    100.100.100.200                 100.100.100.200/32
    100.100.100.201                 -
    100.96.0.96                     100.96.0.96/32
    168.63.129.16                   168.63.129.16/32
    168.63.129.17                   -
    192.0.0.192                     192.0.0.192/32
    192.0.0.193                     -
    224.0.0.0                       224.0.0.0/4
    239.255.255.250                 224.0.0.0/4
    240.0.0.1                       -
    255.255.255.254                 -
    255.255.255.255                 255.255.255.255/32
    fe80::1                         fe80::/10
    febf:ffff::1                    fe80::/10
    fec0::1                         -
    fe7f::1                         -
    fe80::a9fe:a9fe                 fe80::a9fe:a9fe/128
    ff02::1                         ff00::/8
    ff05::2                         ff00::/8
    fd00:ec2::1                     fd00:ec2::/32
    fd00:ec2::253                   fd00:ec2::/32
    fd00:ec2::254                   fd00:ec2::254/128
    fd00:ec2::23                    fd00:ec2::23/128
    fd00:ec3::254                   -
    fd20:ce::254                    fd20:ce::254/128
    fd20:ce::253                    -
    fd00:c1::a9fe:a9fe              fd00:c1::a9fe:a9fe/128
    fd00:42::42                     fd00:42::42/128
    fd00:100::100:200               fd00:100::100:200/128
    fd00:a9fe:a9fe::1               fd00:a9fe:a9fe::1/128
    127.0.0.1                       -
    127.255.255.254                 -
    ::1                             -
    10.0.0.1                        -
    172.16.0.1                      -
    192.168.1.1                     -
    100.64.0.1                      -
    fd12:3456::1                    -
    192.0.2.1                       -
    8.8.8.8                         -
    2001:4860:4860::8888            -
    ::ffff:169.254.169.254          169.254.169.254/32
    ::ffff:a9fe:a9fe                169.254.169.254/32
    ::ffff:0.0.0.0                  0.0.0.0/8
    ::ffff:127.0.0.1                -
    ::ffff:100.100.100.200          100.100.100.200/32
    ::ffff:255.255.255.255          255.255.255.255/32
    ::169.254.169.254               169.254.169.254/32
    ::2                             0.0.0.0/8
    ::8.8.8.8                       -
    ::ffff:0:169.254.169.254        169.254.169.254/32
    ::ffff:0:8.8.8.8                -
    64:ff9b::169.254.169.254        169.254.169.254/32
    64:ff9b::a83f:8110              168.63.129.16/32
    64:ff9b::8.8.8.8                -
    64:ff9b:1::169.254.169.254      169.254.169.254/32
    64:ff9b:1:5::169.254.169.254    169.254.169.254/32
    64:ff9b:1:a9fe:a9:fe00::        169.254.169.254/32
    64:ff9b:1:a9:fe:a9fe::          169.254.169.254/32
    64:ff9b:1:0:a9:fea9:fe00:0      169.254.169.254/32
    64:ff9b:1::8.8.8.8              -
    64:ff9b:2::169.254.169.254      -
    2002:a9fe:a9fe::1               169.254.169.254/32
    2002:a9fe:a9fe:1:2:3:4:5        169.254.169.254/32
    2002:808:808::1                 -
    2001:0:a9fe:a9fe::1             169.254.169.254/32
    2001:0:808:808:0:0:5601:5601    169.254.169.254/32
    2001:0:808:808:0:0:f7f7:f7f7    -
    2001:1::a9fe:a9fe               -
    2001:db8::5efe:a9fe:a9fe        169.254.169.254/32
    2001:db8::200:5efe:a9fe:a9fe    169.254.169.254/32
    2001:db8::5efe:808:808          -
    2001:db8::300:5efe:a9fe:a9fe    -
";

#[test]
fn what_no_check_can_mean_is_denied_by_default_and_what_people_look_at_is_not() {
    let guard = Guard::default();
    let rows: Vec<_> = DEFAULTS.lines().filter(|line| !line.trim().is_empty()).collect();
    for row in &rows {
        let (address, wanted) = row.trim().split_once(' ').unwrap();
        assert_eq!(said(&guard, address), wanted.trim(), "{address}");
    }
    for (network, _) in defaults::DENIED {
        let shown = network.to_string();
        assert_eq!(shown.parse(), Ok(*network), "bits behind the prefix");
        let proven = rows.iter().any(|row| row.split_whitespace().nth(1) == Some(&shown));
        assert!(proven, "no row is denied by {shown}");
    }
}

#[test]
fn the_longest_prefix_decides_then_a_flag_then_a_denial() {
    // (allow, deny, address, denied by)
    for (allow, deny, address, wanted) in [
        ("", "10.0.0.0/8", "10.1.2.3", "10.0.0.0/8"),
        ("10.1.0.0/16", "10.0.0.0/8", "10.1.2.3", "-"),
        ("10.1.0.0/16", "10.0.0.0/8 10.1.2.3", "10.1.2.3", "10.1.2.3/32"),
        ("10.0.0.0/8", "10.0.0.0/8", "10.1.2.3", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3", "10.1.2.3", "10.1.2.3/32"),
        // Only what is named.
        ("10.0.0.0/8", "0.0.0.0/0 ::/0", "10.1.2.3", "-"),
        ("10.0.0.0/8", "0.0.0.0/0 ::/0", "11.1.2.3", "0.0.0.0/0"),
        ("10.0.0.0/8", "0.0.0.0/0 ::/0", "2001:db8::1", "::/0"),
        ("10.0.0.0/8", "0.0.0.0/0 ::/0", "::ffff:10.1.2.3", "-"),
        // A default gives way to the very network and to a part of it, never to a wider one.
        ("169.254.0.0/16", "", "169.254.1.1", "-"),
        ("169.254.1.0/24", "", "169.254.1.1", "-"),
        ("169.254.1.1", "", "169.254.1.1", "-"),
        ("169.0.0.0/8 0.0.0.0/0", "", "169.254.1.1", "169.254.0.0/16"),
        ("169.254.0.0/16", "", "169.254.169.254", "169.254.169.254/32"),
        ("169.254.169.254", "", "169.254.169.254", "-"),
        ("169.254.169.254", "", "169.254.169.253", "169.254.0.0/16"),
        ("fd00:ec2::/32", "", "fd00:ec2::254", "fd00:ec2::254/128"),
        ("fd00:ec2::/32", "", "fd00:ec2::253", "-"),
        ("0.0.0.0/8", "", "0.0.0.0", "-"),
        ("::/0 0.0.0.0/0", "", "fe80::1", "fe80::/10"),
        // Of an address in an address both must be allowed.
        ("64:ff9b::/96", "", "64:ff9b::a9fe:a9fe", "169.254.169.254/32"),
        ("169.254.169.254", "", "64:ff9b::a9fe:a9fe", "-"),
        ("169.254.169.254", "64:ff9b::/96", "64:ff9b::a9fe:a9fe", "64:ff9b::/96"),
        ("", "127.0.0.0/8", "::ffff:127.0.0.1", "127.0.0.0/8"),
        ("", "127.0.0.0/8", "::1", "-"),
        ("", "127.0.0.0/8", "::127.0.0.1", "127.0.0.0/8"),
        ("", "127.0.0.0/8", "2002:7f00:1::", "127.0.0.0/8"),
    ] {
        let said = said(&guard(allow, deny), address);
        assert_eq!(said, wanted, "{address} with {allow} and not {deny}");
    }
}

#[test]
fn the_machines_own_name_servers_are_judged_by_the_flags_alone() {
    for (allow, deny, address, denied) in [
        ("", "", "169.254.169.254", false),
        ("", "", "168.63.129.16", false),
        ("", "", "127.0.0.53", false),
        ("", "127.0.0.0/8", "127.0.0.53", true),
        ("127.0.0.53", "127.0.0.0/8", "127.0.0.53", false),
        ("", "169.254.0.0/16", "169.254.169.254", true),
        ("", "10.0.0.0/8", "::ffff:10.0.0.2", true),
    ] {
        let guard = guard(allow, deny);
        let said = guard.admit_name_server(socket(address)).is_err();
        assert_eq!(said, denied, "{address} with {allow} and not {deny}");
    }
}

#[test]
fn a_denial_names_the_address_the_rule_and_the_way_out() {
    let sentence = |allow, deny, address| {
        guard(allow, deny).admit(socket(address)).expect_err(address).to_string()
    };
    for (allow, deny, address, wanted) in [
        (
            "",
            "",
            "169.254.1.9",
            "169.254.1.9 is in 169.254.0.0/16 (link-local), denied by default; \
             --allow-network 169.254.1.9/32 on this probe allows it",
        ),
        (
            "",
            "",
            "::ffff:169.254.169.254",
            "::ffff:169.254.169.254, which is 169.254.169.254, is in 169.254.169.254/32 (cloud \
             metadata), denied by default; --allow-network 169.254.169.254/32 on this probe \
             allows it",
        ),
        (
            "",
            "10.0.0.0/8",
            "64:ff9b::a01:203",
            "64:ff9b::a01:203, which leads to 10.1.2.3 (NAT64), is in 10.0.0.0/8, denied by \
             --deny-network of this probe; --allow-network 10.1.2.3/32 on this probe allows it",
        ),
        (
            "10.1.2.3",
            "10.1.2.3",
            "10.1.2.3",
            "10.1.2.3 is in 10.1.2.3/32, denied by --deny-network of this probe; it is allowed \
             once that flag is gone",
        ),
    ] {
        assert_eq!(sentence(allow, deny, address), wanted);
    }
}

#[test]
fn networks_are_read_strictly() {
    for (text, shown) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("FD00:0EC2::/32", "fd00:ec2::/32"),
        ("::1", "::1/128"),
        ("2001:db8::/127", "2001:db8::/127"),
    ] {
        assert_eq!(text.parse::<Network>().unwrap().to_string(), shown);
    }
    let refused = |text: &str| text.parse::<Network>().unwrap_err();
    for text in
        ["", "/", "/8", "10/8", "10.0.0/8", "shop.example", "010.0.0.0/8", "[::1]", "fe80::1%2"]
    {
        assert_eq!(refused(text), NetworkError::Form(text.to_owned()));
    }
    for text in [
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/+8",
        "10.0.0.0/08",
        "10.0.0.0/8/8",
        "10.0.0.0/x",
        "10.0.0.0/-1",
        "::/129",
        "::/256",
        "::/1000",
    ] {
        assert!(matches!(refused(text), NetworkError::Length { .. }), "{text}");
    }
    let host = refused("10.0.0.1/8").to_string();
    assert_eq!(host, "`10.0.0.1/8` has bits set behind its prefix, write 10.0.0.0/8");
    assert!(matches!(refused("fd00::1/64"), NetworkError::HostBits { .. }));
    for text in ["::ffff:10.0.0.0/104", "::ffff:10.0.0.1", "::ffff:0:0/96"] {
        assert_eq!(refused(text), NetworkError::Mapped(text.to_owned()));
    }
}

#[test]
fn there_are_not_more_networks_than_are_compared() {
    let one = networks("10.0.0.0/8");
    let many = vec![one[0]; GUARD_NETWORKS_MAX];
    assert!(Guard::new(&many, &[]).is_ok());
    let error = Guard::new(&many, &one).unwrap_err();
    assert!(error.to_string().contains("1025 networks, at most 1024"), "{error}");
    assert!(error.to_string().starts_with("--allow-network and --deny-network name"), "{error}");
    let contacts = Guard::owned_by(Owner::Coordinator, &many, &one).unwrap_err();
    assert!(contacts.to_string().starts_with("--contact-allow-network and"), "{contacts}");
}

#[test]
fn a_coordinator_names_its_own_flags() {
    let denied: Network = "10.0.0.0/8".parse().unwrap();
    let guard = Guard::owned_by(Owner::Coordinator, &[], &[denied]).unwrap();
    assert_eq!(
        guard.admit(socket("10.1.2.3")).unwrap_err().to_string(),
        "10.1.2.3 is in 10.0.0.0/8, denied by --contact-deny-network of this coordinator; \
         --contact-allow-network 10.1.2.3/32 on this coordinator allows it"
    );
}

/// The first address of the network, bit by bit.
fn masked(bits: u128, length: u8) -> Ipv6Addr {
    (0..length).map(|place| bits & (1 << (127 - place))).sum::<u128>().into()
}

proptest! {
    #[test]
    fn a_network_holds_what_begins_with_its_bits(bits: u128, other: u128, length in 0_u8..=128) {
        let (address, other) = (Ipv6Addr::from(bits), Ipv6Addr::from(other));
        let first: Network = format!("{}/{length}", masked(bits, length)).parse().unwrap();
        let common = (bits ^ u128::from(other)).leading_zeros();
        prop_assert_eq!(first.contains(other.into()), common >= u32::from(length));
        prop_assert!(first.contains(address.into()));
        prop_assert!(!first.contains(Ipv4Addr::from_bits(bits as u32).into()));
    }

    /// Whatever wraps a denied IPv4 address, it stays denied.
    #[test]
    fn a_denied_address_is_denied_in_every_wrapping(low: u16, noise: [u16; 8]) {
        let guard = guard("", "203.0.0.0/16");
        let [a, b] = [0xcb00, low];
        let n = noise;
        for wrapped in [
            [0, 0, 0, 0, 0, 0xffff, a, b],
            [0, 0, 0, 0, 0, 0, a, b],
            [0, 0, 0, 0, 0xffff, 0, a, b],
            [0x64, 0xff9b, 0, 0, 0, 0, a, b],
            [0x64, 0xff9b, 1, n[3], n[4], n[5], a, b],
            [0x2002, a, b, n[3], n[4], n[5], n[6], n[7]],
            [0x2001, 0, a, b, n[4], n[5], n[6], n[7]],
            [0x2001, 0, n[2], n[3], n[4], n[5], !a, !b],
            [n[0], n[1], n[2], n[3], 0, 0x5efe, a, b],
            [n[0], n[1], n[2], n[3], 0x200, 0x5efe, a, b],
        ] {
            let address = SocketAddr::new(IpAddr::from(wrapped), 80);
            prop_assert!(guard.admit(address).is_err(), "{address}");
        }
    }
}
