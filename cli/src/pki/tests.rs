//! What `pki` writes is what processes load.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use clap::Parser;
use parallax_runtime::transport::{Credentials, Role};

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    pki: Pki,
}

/// Runs `pki <line>` and gives back the output and the talk.
fn pki(line: &str) -> Result<(String, String), PkiError> {
    let line = Line::try_parse_from(line.split_whitespace()).expect(line);
    let (mut out, mut talk) = (Vec::new(), Vec::new());
    run(&line.pki, &mut out, &mut talk)?;
    Ok((String::from_utf8(out).unwrap(), String::from_utf8(talk).unwrap()))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_is_issued_loads_as_whom_it_was_issued_to() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    let (out, talk) = pki(&format!("pki init --mesh demo --dir {at}/pki")).unwrap();
    assert_eq!(out, format!("{at}/pki/ca-key.pem\n{at}/pki/ca.pem\n"));
    assert!(talk.contains(&format!("pki issue coordinator c1 --dir {at}/pki")), "{talk}");
    assert_eq!(mode(&dir.path().join("pki")), 0o700);
    assert_eq!(mode(&dir.path().join("pki/ca-key.pem")), 0o600);

    for (what, uri) in [
        ("coordinator c1", "spiffe://demo/coordinator/c1"),
        ("probe p1 --region eu-west", "spiffe://demo/region/eu-west/probe/p1"),
        ("user anna --role edit", "spiffe://demo/user/anna/role/edit"),
        (
            "user bob --role view --ns shop --ns bank",
            "spiffe://demo/user/bob/role/view/ns/shop/ns/bank",
        ),
    ] {
        let out = dir.path().join(what.split(' ').nth(1).unwrap());
        let line = format!("pki issue {what} --dir {at}/pki --out {}", out.display());
        let (paths, talk) = pki(&line).unwrap();
        assert_eq!(paths.lines().count(), 3, "{paths}");
        assert!(talk.contains("of mesh \"demo\" has a certificate until 20"), "{talk}");
        assert_eq!(mode(&out.join("key.pem")), 0o600);
        assert!(!out.join("ca-key.pem").exists(), "the authority's key was given out");
        let credentials = Credentials::load(&out).unwrap();
        assert_eq!(credentials.identity().to_string(), uri);
        let days = (credentials.not_after().since(clock::utc()).as_secs() + 3_600) / 86_400;
        assert_eq!(days, 365);
    }
}

#[test]
fn nothing_is_overwritten_unless_it_is_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, out) = (dir.path().join("pki"), dir.path().join("c1"));
    init("demo", &authority, 365).unwrap();
    let key = fs::read(authority.join(AUTHORITY_KEY)).unwrap();
    assert!(matches!(init("demo", &authority, 365), Err(PkiError::Exists { .. })));
    fs::remove_file(authority.join(AUTHORITY_CERTIFICATE)).unwrap();
    let half = init("demo", &authority, 365).unwrap_err().to_string();
    assert!(half.contains("an authority lives here"), "{half}");
    assert_eq!(fs::read(authority.join(AUTHORITY_KEY)).unwrap(), key);

    let authority = dir.path().join("again");
    init("demo", &authority, 365).unwrap();
    let c1 = Identity::Coordinator { mesh: "demo".into(), name: "c1".into() };
    issue(&authority, &out, &c1, 30, false).unwrap();
    let credentials = Credentials::load(&out).unwrap();
    let before = fs::read(out.join(CERTIFICATE)).unwrap();
    let refused = issue(&authority, &out, &c1, 60, false).unwrap_err().to_string();
    assert!(refused.contains("--renew"), "{refused}");
    assert_eq!(fs::read(out.join(CERTIFICATE)).unwrap(), before);

    fs::write(out.join("cert.pem.new"), "left behind").unwrap();
    let renewed = issue(&authority, &out, &c1, 60, true).unwrap();
    assert!(credentials.reload_if_changed().unwrap());
    assert_eq!(credentials.not_after().as_ns() / 1_000_000_000, {
        renewed.not_after.as_ns() / 1_000_000_000
    });
    assert_eq!(fs::read_dir(&out).unwrap().count(), 3);
}

#[test]
fn what_cannot_be_certified_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    let refused = |line: &str| pki(line).unwrap_err();
    let line = format!("pki issue coordinator c1 --dir {at}/pki --out {at}/c1");
    assert!(matches!(refused(&line), PkiError::NoAuthority { .. }));
    assert!(matches!(refused(&format!("pki init --mesh Demo --dir {at}/pki")), PkiError::Mesh(_)));
    for days in [0, DAYS_MAX + 1] {
        let line = format!("pki init --mesh demo --dir {at}/pki --days {days}");
        assert!(matches!(refused(&line), PkiError::Days(_)));
    }
    assert!(!dir.path().join("pki").exists(), "a refused command left something behind");

    pki(&format!("pki init --mesh demo --dir {at}/pki --days 30")).unwrap();
    let place = format!("--dir {at}/pki --out {at}/out");
    let line = format!("pki issue coordinator c1 {place} --days 31");
    assert!(matches!(refused(&line), PkiError::Outlives { days: 31, .. }));
    for bad in [
        "coordinator C1",
        "probe p1 --region eu/west",
        "probe ../x --region eu",
        "user anna --role edit --ns a --ns a",
    ] {
        let line = format!("pki issue {bad} {place} --days 10");
        assert!(matches!(refused(&line), PkiError::Identity(_)), "{bad}");
    }
    let of_other = Identity::User {
        mesh: "other".into(),
        name: "anna".into(),
        role: Role::View,
        namespaces: Vec::new(),
    };
    let out = dir.path().join("out");
    let refused = issue(&dir.path().join("pki"), &out, &of_other, 10, false).unwrap_err();
    assert!(matches!(refused, PkiError::OtherMesh { .. }));
    assert!(!out.exists(), "a refused command left something behind");
    let line = "pki issue user a --role root --dir d --out o";
    assert!(Line::try_parse_from(line.split(' ')).is_err(), "an unknown role was taken");
}
