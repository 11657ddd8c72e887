use super::*;

#[test]
fn builds_are_compared_by_their_last_word_and_by_minor_version() {
    // (probe, oldest coordinator, whether it is outdated)
    let table = [
        ("0.1.0", "parallax-coordinator 0.1.0", false),
        ("0.1.0", "parallax-coordinator 0.2.7", false),
        ("0.1.9", "parallax-coordinator 0.3.0", true),
        ("0.3.0", "parallax-coordinator 0.1.0", false),
        ("0.9.0", "parallax-coordinator 1.0.0", true),
        ("1.0.0", "parallax-coordinator 0.9.0", false),
        ("1", "parallax-coordinator 9.9.9", false),
        // A probe's own words.
        ("0.18446744073709551615.0", "parallax-coordinator 0.2.0", false),
        ("0.18446744073709551616.0", "parallax-coordinator 0.2.0", false),
        ("", "parallax-coordinator 9.9.9", false),
        ("0.1.0", "unknown", false),
    ];
    for (probe, coordinator, expected) in table {
        let row = ProbeRow { build: probe.into(), ..ProbeRow::default() };
        let standard = Standard { build: Version::of(coordinator) };
        assert_eq!(is(&row, &Needs::new(), &standard), expected, "{probe} {coordinator}");
        assert_eq!(lacks(&row, &Needs::new(), &standard).len(), usize::from(expected));
    }
}

#[test]
fn the_oldest_coordinator_that_is_still_a_member_sets_the_standard() {
    let member = |build: &str, removed| parallax_proto::store::MemberRow {
        build: build.into(),
        removed,
        ..Default::default()
    };
    let standard = |rows: &[parallax_proto::store::MemberRow]| {
        let mut state = State::default();
        for (id, row) in rows.iter().enumerate() {
            state.members.insert(id as u64, std::sync::Arc::new(row.clone()));
        }
        Standard::of(&state).build.map(|version| version.to_string())
    };
    let (old, new) = (member("c 0.4.0", false), member("c 0.6.0", false));
    assert_eq!(standard(&[old.clone(), new.clone()]), Some("0.4".into()));
    assert_eq!(standard(&[member("c 0.4.0", true), new.clone()]), Some("0.6".into()));
    assert_eq!(standard(&[member("", false), new.clone()]), Some("0.6".into()));
    assert_eq!(standard(&[member("built by hand", false), new]), None);
    assert_eq!(standard(&[]), None);
}

#[test]
fn what_a_probe_lacks_is_named_up_to_a_bound() {
    let row = ProbeRow { kinds: vec!["http".into()], ..ProbeRow::default() };
    let needs: Needs =
        [("dns", 1), ("grpc", 2), ("http", 9), ("icmp", 1), ("ssh", 1), ("tcp", 1), ("udp", 1)]
            .into();
    let told = lacks(&row, &needs, &Standard::default());
    assert_eq!(told[0], "cannot run dns, which 1 check needs");
    assert_eq!(told[1], "cannot run grpc, which 2 checks need");
    assert_eq!(told.len(), OUTDATED_KINDS_NAMED + 1);
    assert_eq!(told.last().unwrap(), "lacks 2 more");
    assert!(is(&row, &needs, &Standard::default()));
}
