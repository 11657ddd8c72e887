//! What the system says of the machine under a probe, read from its texts.

/// TCP sockets in use, those that only wait for stray packets among them: each holds its port. The texts
/// are those of `/proc/net/sockstat` and `/proc/net/sockstat6`.
pub fn tcp_sockets(v4: &str, v6: &str) -> u64 {
    let of = |text: &str, line: &str, names: &[&str]| -> u64 {
        let Some(rest) = text.lines().find_map(|it| it.strip_prefix(line)) else { return 0 };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let pairs = words.chunks_exact(2).filter(|pair| names.contains(&pair[0]));
        pairs.filter_map(|pair| pair[1].parse::<u64>().ok()).fold(0, u64::saturating_add)
    };
    // Those that wait are counted in one of the two only.
    of(v4, "TCP:", &["inuse", "tw"]).saturating_add(of(v6, "TCP6:", &["inuse"]))
}

/// How many ports there are for outgoing connections, by `ip_local_port_range`; 0 when it does not say.
pub fn port_range(text: &str) -> u64 {
    let mut ends = text.split_whitespace().map(str::parse::<u64>);
    match (ends.next(), ends.next()) {
        (Some(Ok(first)), Some(Ok(last))) if first <= last => last - first + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_the_system_are_read_and_others_say_nothing() {
        let v4 =
            "sockets: used 288\nTCP: inuse 19 orphan 1 tw 7 alloc 31 mem 4\nUDP: inuse 2 mem 1\n";
        let v6 = "TCP6: inuse 5\nUDP6: inuse 1\n";
        for (v4, v6, sockets) in [
            (v4, v6, 31),
            (v4, "", 26),
            ("", v6, 5),
            ("", "", 0),
            ("TCP: inuse x tw 3", "TCP6:", 3),
            ("TCP: inuse 18446744073709551615 tw 3", "TCP6: inuse 9", u64::MAX),
            ("TCP: inuse", "", 0),
        ] {
            assert_eq!(tcp_sockets(v4, v6), sockets, "{v4:?} {v6:?}");
        }
        for (text, ports) in
            [("32768\t60999\n", 28_232), ("1 1", 1), ("9 1", 0), ("", 0), ("a b", 0), ("5", 0)]
        {
            assert_eq!(port_range(text), ports, "{text:?}");
        }
    }
}
