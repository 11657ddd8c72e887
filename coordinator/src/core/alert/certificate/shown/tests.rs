use super::*;
use crate::core::engine::tests::rig;

const MINUTE: Duration = Duration::from_secs(60);

fn at(minute: u32) -> MeshTime {
    MeshTime::from_ns(0) + MINUTE * minute
}

/// Of the version that is applied, by the spans of a check that looks often.
fn sight(minute: u32, not_after_s: i64) -> Sight {
    let expiry = Expiry { not_after_s, step: 0 };
    Sight { digest: RunDigest(1), expiry, at: at(minute), span: span(Duration::from_secs(1)) }
}

#[test]
fn a_span_is_five_minutes_or_two_intervals() {
    for (interval_s, span_s) in [(1, 300), (150, 300), (151, 302), (86_400, 172_800)] {
        assert_eq!(span(Duration::from_secs(interval_s)), Duration::from_secs(span_s));
    }
}

#[test]
fn what_expires_first_counts_for_a_span_whatever_the_order_of_its_windows() {
    // What was shown at which minute, and what counts after it came.
    let rows: &[&[(u32, i64, i64)]] = &[
        // One server of several is forgotten, and is renewed at last: spans begin at 0, 5, 10 and 15.
        &[(1, 90, 90), (2, 7, 7), (3, 90, 7), (9, 90, 7), (10, 90, 90), (11, 8, 8), (19, 90, 8)],
        // After a gap nothing of before it counts.
        &[(1, 7, 7), (10, 90, 90)],
        &[(4, 7, 7), (9, 90, 7), (14, 90, 90)],
        // What comes late counts as if it had come in time, and what is older than both spans does not.
        &[(9, 90, 90), (6, 8, 8), (4, 7, 7), (3, 90, 7)],
        &[(11, 90, 90), (4, 7, 90), (5, 7, 7), (15, 90, 90)],
        // Two probes of one region, whose windows end together.
        &[(1, 90, 90), (1, 7, 7), (1, 90, 7)],
    ];
    let (check, eu): (_, Arc<str>) = (rig::check(1, 2), "eu".into());
    for row in rows {
        let mut sights = Sights::default();
        for (minute, not_after_s, counts) in *row {
            sights.take(&eu, &sight(*minute, *not_after_s));
            let first = sights.last(&check, "eu").map(|expiry| expiry.not_after_s);
            assert_eq!(first, Some(*counts), "{row:?} at {minute}");
        }
        let mut backwards = Sights::default();
        for (minute, not_after_s, _) in row.iter().rev() {
            backwards.take(&eu, &sight(*minute, *not_after_s));
        }
        assert_eq!(backwards, sights, "{row:?}");
    }
}

#[test]
fn what_another_version_was_shown_does_not_count() {
    let (mut check, eu): (_, Arc<str>) = (rig::check(1, 2), "eu".into());
    let mut sights = Sights::default();
    let edited = |minute, days| Sight { digest: RunDigest(2), ..sight(minute, days) };
    sights.take(&eu, &sight(1, 7));
    assert!(sights.fresh(&check, "eu", at(2)).is_some());
    check.run_digest = RunDigest(2);
    assert_eq!((sights.fresh(&check, "eu", at(2)), sights.last(&check, "eu")), (None, None));
    // The windows of both end together: the second one was sealed later.
    sights.take(&eu, &edited(1, 90));
    let ends = |sights: &Sights| sights.last(&check, "eu").map(|expiry| expiry.not_after_s);
    assert_eq!(ends(&sights), Some(90), "and nothing of the one before is left");
    sights.take(&eu, &edited(2, 80));
    sights.take(&eu, &sight(1, 7));
    assert_eq!(ends(&sights), Some(80), "what an old one sends late takes nothing away");
}

#[test]
fn what_was_shown_last_is_remembered_for_longer_than_it_counts() {
    let (check, eu): (_, Arc<str>) = (rig::check(1, 2), "eu".into());
    let mut sights = Sights::default();
    sights.take(&eu, &sight(3, 7));
    // Late: the newest window says how old it is.
    sights.take(&eu, &sight(1, 90));
    let last = at(3) + fresh_for(&check);
    assert!(sights.fresh(&check, "eu", last).is_some());
    let later = last + Duration::from_nanos(1);
    assert_eq!(sights.fresh(&check, "eu", later), None);
    assert_eq!(sights.last(&check, "eu").map(|expiry| expiry.not_after_s), Some(7));
    assert_eq!(sights.last(&check, "us"), None);
}

#[test]
fn a_check_that_looks_seldom_counts_for_two_intervals() {
    let (mut check, eu): (_, Arc<str>) = (rig::check(1, 2), "eu".into());
    check.interval = MINUTE * 60 * 6;
    let mut sights = Sights::default();
    sights.take(&eu, &sight(0, 7));
    assert!(sights.fresh(&check, "eu", at(12 * 60)).is_some());
    assert!(sights.fresh(&check, "eu", at(13 * 60)).is_none());
}

#[test]
fn what_nobody_looks_at_any_more_is_forgotten() {
    let (uid, check) = (Uid::from_bytes([1; 16]), rig::check(1, 2));
    let mut shown = Shown::default();
    for region in ["eu", "us"] {
        shown.take(uid, &region.into(), &sight(1, 7));
    }
    shown.keep(|_, region| region == "eu");
    let left = shown.of(&uid);
    assert!(left.last(&check, "eu").is_some() && left.last(&check, "us").is_none());
    shown.keep(|_, _| false);
    assert!(shown.0.is_empty());
}

#[test]
fn a_check_that_finds_no_room_is_left_out_until_others_are_gone() {
    let uid = |n: usize| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(n as u64).to_le_bytes());
        Uid::from_bytes(bytes)
    };
    let (check, eu): (_, Arc<str>) = (rig::check(1, 2), "eu".into());
    let ends =
        |shown: &Shown, n| shown.of(&uid(n)).last(&check, "eu").map(|expiry| expiry.not_after_s);
    let mut shown = Shown::default();
    for n in 0..=CERT_CHECKS_MAX {
        shown.take(uid(n), &eu, &sight(0, 90));
    }
    assert_eq!(shown.0.len(), CERT_CHECKS_MAX);
    shown.take(uid(1), &eu, &sight(1, 7));
    assert_eq!(ends(&shown, 1), Some(7), "those that are known go on");
    assert_eq!(ends(&shown, CERT_CHECKS_MAX), None);
    shown.keep(|check, _| *check != uid(1));
    shown.take(uid(CERT_CHECKS_MAX), &eu, &sight(0, 7));
    assert_eq!(ends(&shown, CERT_CHECKS_MAX), Some(7));
}

#[test]
fn what_is_kept_of_a_region_is_as_large_as_the_limit_says() {
    assert_eq!(size_of::<(Arc<str>, Seen)>(), 80);
}
