use super::*;

const KEY: [u8; ACK_LINK_KEY_BYTES] = [7; ACK_LINK_KEY_BYTES];

fn at(second: i64) -> UtcTime {
    UtcTime::from_ns(second * 1_000_000_000)
}

fn incident() -> v1::Incident {
    let opened_at = Some(stamp::timestamp(at(100)));
    v1::Incident { uid: "0190-i".into(), opened_at, ..v1::Incident::default() }
}

fn token() -> String {
    let link = link("https://p.example/x/", &KEY, "0190-i", "0190-c").unwrap();
    let token = link.strip_prefix("https://p.example/x/ack/0190-i/").unwrap();
    token.to_owned()
}

#[test]
fn a_link_comes_back_as_its_contact() {
    assert_eq!(holder(&KEY, &incident(), &token(), at(200)), Some("0190-c"));
    assert_eq!(token(), token(), "every attempt says the same");
}

#[test]
fn nothing_else_is_taken_for_a_link() {
    let good = token();
    let (contact, signature) = good.split_once('.').unwrap();
    let flipped = match signature.strip_prefix('0') {
        Some(rest) => format!("1{rest}"),
        None => format!("0{}", &signature[1..]),
    };
    for (why, wrong) in [
        ("nothing", String::new()),
        ("no signature", contact.to_owned()),
        ("an empty signature", format!("{contact}.")),
        ("half a signature", format!("{contact}.{}", &signature[..32])),
        ("another signature", format!("{contact}.{flipped}")),
        ("another contact", format!("0190-d.{signature}")),
        ("other letters", format!("{contact}.{}", signature.to_uppercase())),
        ("no hex", format!("{contact}.{}", "g".repeat(64))),
        ("no ASCII", format!("{contact}.{}", "\u{e9}".repeat(32))),
    ] {
        assert_eq!(holder(&KEY, &incident(), &wrong, at(200)), None, "{why}");
    }
    let other = v1::Incident { uid: "0190-j".into(), ..incident() };
    assert_eq!(holder(&KEY, &other, &good, at(200)), None, "of another incident");
    let other = [8; ACK_LINK_KEY_BYTES];
    assert_eq!(holder(&other, &incident(), &good, at(200)), None, "of another cluster");
    assert_eq!(holder(&[], &incident(), &good, at(200)), None, "of a cluster without a key");
}

#[test]
fn a_link_ends_seven_days_after_the_opening() {
    let last = 100 + i64::try_from(ACK_LINK_LASTS.as_secs()).unwrap();
    assert!(holder(&KEY, &incident(), &token(), at(last - 1)).is_some());
    assert!(holder(&KEY, &incident(), &token(), at(last)).is_none());
}

#[test]
fn without_a_public_url_or_a_key_there_is_no_link() {
    assert_eq!(link("", &KEY, "i", "c"), None);
    assert_eq!(link("https://p.example", &[], "i", "c"), None);
}
