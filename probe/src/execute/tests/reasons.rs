//! Every reason of the list, produced by a real failure.
//!
//! [`PRODUCED`] names for each reason a test in which it happens: a run against a small server, a whole
//! probe that stands still, a process without descriptors. Each of these tests is run once more by a
//! process of its own, which notes the reasons that its runs have ended with; a reason that is not
//! among them fails. Whoever adds a reason adds its line.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::Command;

use parallax_common::outcome::Reason;

use super::*;

/// Where a process notes the reasons of its runs; none does unless told to.
const NOTES: &str = "PARALLAX_TEST_REASONS";
/// Set in the process that may use up what a process has.
const ALONE: &str = "PARALLAX_TEST_ALONE";

const RUNS: &str = "execute::tests::each_bad_answer_has_its_reason";
const CONNECTIONS: &str = "execute::tests::connections_that_do_not_come_about_have_their_reasons";
const PLUGINS: &str = "execute::tests::plugins::each_ending_has_its_outcome_and_its_reason";
const NAMES: &str = "execute::tests::what_the_resolver_says_has_its_reasons";
const ANSWERS: &str = "execute::tests::questions::each_answer_has_its_reason_and_its_phases";
const CERTIFICATES: &str = "execute::tests::certificates_are_judged_each_by_its_own_reason";
const HANDSHAKES: &str = "execute::tests::handshakes_that_fail_or_hang_have_their_reasons";
const STARTTLS: &str = "execute::tests::talk::each_protocol_changes_over_to_tls";
const DIALOGUES: &str = "execute::tests::talk::dialogues_have_their_reasons_step_and_phases";
const SSH: &str = "execute::tests::talk::ssh_has_its_reasons_and_phases";
const REDIRECTS: &str = "execute::tests::http::each_chain_of_redirects_has_its_end";
const ENCRYPTED: &str = "execute::tests::http::what_is_encrypted_stays_encrypted";
const HTTP2: &str =
    "execute::tests::http::http2_is_spoken_when_it_is_wanted_and_each_end_has_its_reason";
const BODIES: &str = "execute::tests::http::encoded_bodies_are_decoded_or_refused";
const ECHOES: &str = "execute::tests::echoes::echoes_by_raw_sockets_have_their_reasons";
const HEALTH: &str =
    "execute::tests::health::each_answer_of_a_health_service_has_its_reason_and_phases";
const PROXIES: &str = "execute::tests::proxies::each_way_in_which_a_proxy_fails_has_its_reason";
const TOKENS: &str =
    "execute::tests::tokens::each_way_to_get_no_token_has_its_reason_and_the_target_is_left_alone";
const UPGRADES: &str = "execute::tests::websocket::upgrades_that_are_none_have_their_reasons";
const CONVERSATIONS: &str =
    "execute::tests::websocket::conversations_that_break_have_their_reasons";
const SILENCE: &str = "execute::tests::resets_and_silence_have_their_reasons";
const EXPECTATIONS: &str = "execute::tests::expectations_decide_and_are_named";
const SCHEDULE: &str =
    "session::tests::slots_of_a_probe_that_stands_still_or_has_too_much_are_missed";

/// A test in which each reason happens.
const PRODUCED: &[(Reason, &str)] = &[
    (Reason::DnsNxdomain, NAMES),
    (Reason::DnsNoAddress, NAMES),
    (Reason::DnsServfail, NAMES),
    (Reason::DnsTimeout, NAMES),
    (Reason::DnsRefused, NAMES),
    (Reason::DnsMalformed, ANSWERS),
    (Reason::DnsNoRecords, ANSWERS),
    (Reason::DnsTruncated, ANSWERS),
    (Reason::DnsRcode, ANSWERS),
    (Reason::ConnectRefused, CONNECTIONS),
    (Reason::ConnectTimeout, CONNECTIONS),
    (Reason::ConnectUnreachable, ECHOES),
    (
        Reason::ConnectReset,
        "execute::tests::reasons::a_connection_that_is_reset_while_it_is_made_has_its_reason",
    ),
    (Reason::ConnectDenied, ECHOES),
    (Reason::ConnectionClosed, DIALOGUES),
    (Reason::ConnectionReset, DIALOGUES),
    (
        Reason::ProbeResources,
        "execute::tests::reasons::a_probe_without_descriptors_says_so_and_blames_nobody",
    ),
    (Reason::TlsExpired, CERTIFICATES),
    (Reason::TlsNotYetValid, CERTIFICATES),
    (Reason::TlsNameMismatch, CERTIFICATES),
    (Reason::TlsUntrusted, CERTIFICATES),
    (
        Reason::TlsRevoked,
        "execute::tests::reasons::a_client_certificate_that_was_revoked_has_its_reason",
    ),
    (Reason::TlsHandshake, HANDSHAKES),
    (Reason::TlsTimeout, HANDSHAKES),
    (Reason::StarttlsRefused, STARTTLS),
    (Reason::StarttlsMalformed, STARTTLS),
    (Reason::HttpStatus, RUNS),
    (Reason::HttpMalformed, RUNS),
    (Reason::HttpBodyTooLarge, RUNS),
    (Reason::HttpTruncated, RUNS),
    (Reason::HttpReset, SILENCE),
    (Reason::HttpRedirectLoop, REDIRECTS),
    (Reason::HttpRedirectsTooMany, REDIRECTS),
    (Reason::HttpRedirectDowngrade, ENCRYPTED),
    (Reason::HttpRedirectMalformed, REDIRECTS),
    (Reason::HttpGoaway, HTTP2),
    (Reason::HttpVersion, HTTP2),
    (Reason::HttpRedirectDenied, "execute::tests::guard::no_way_around_the_guard_reaches_a_trap"),
    (Reason::ProxyAuth, PROXIES),
    (Reason::ProxyRefused, PROXIES),
    (Reason::ProxyUnreachable, PROXIES),
    (Reason::ProxyMalformed, PROXIES),
    (Reason::WebsocketRefused, UPGRADES),
    (Reason::WebsocketHandshake, UPGRADES),
    (Reason::WebsocketMalformed, CONVERSATIONS),
    (Reason::WebsocketClosed, CONVERSATIONS),
    (Reason::PluginCritical, PLUGINS),
    (Reason::PluginFailed, PLUGINS),
    (Reason::PluginUnknown, PLUGINS),
    (Reason::AuthTokenFailed, TOKENS),
    (Reason::AuthTokenRefused, TOKENS),
    (Reason::HttpEncoding, BODIES),
    (Reason::HttpDecodedTooLarge, BODIES),
    (Reason::AnswerMismatch, DIALOGUES),
    (Reason::AnswerTooLarge, DIALOGUES),
    (Reason::SshMalformed, SSH),
    (Reason::SshTooLarge, SSH),
    (Reason::SshVersion, SSH),
    (Reason::IcmpNoAnswer, ECHOES),
    (Reason::IcmpUnreachable, ECHOES),
    (Reason::IcmpProhibited, ECHOES),
    (Reason::IcmpTimeExceeded, ECHOES),
    (Reason::IcmpTooLarge, ECHOES),
    (Reason::GrpcNotServing, HEALTH),
    (Reason::GrpcUnknownService, HEALTH),
    (Reason::GrpcUnimplemented, HEALTH),
    (Reason::GrpcStatus, HEALTH),
    (Reason::GrpcMalformed, HEALTH),
    (
        Reason::CaptureFailed,
        "execute::tests::steps::what_cannot_be_captured_fails_by_its_name_and_step",
    ),
    (Reason::ExpectationFailed, EXPECTATIONS),
    (Reason::Timeout, SILENCE),
    (Reason::InvertedPass, "execute::tests::an_inverted_check_passes_when_the_target_fails"),
    (Reason::Warning, EXPECTATIONS),
    (Reason::MissedLate, SCHEDULE),
    (Reason::MissedOverlap, SCHEDULE),
    (
        Reason::MissedOverload,
        "execute::tests::a_run_that_a_stall_of_the_probe_cut_short_is_no_vote",
    ),
    (Reason::ConfigError, CONNECTIONS),
    (Reason::ExpressionBudget, "execute::tests::an_expression_that_would_run_too_long_is_no_vote"),
    (Reason::AddressDenied, "execute::tests::guard::no_way_around_the_guard_reaches_a_trap"),
];

/// Notes what a run, or a slot without one, ended with.
pub(crate) fn note(reason: Option<Reason>) {
    let (Some(file), Some(reason)) = (std::env::var_os(NOTES), reason) else { return };
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
    writeln!(file, "{reason}").unwrap();
}

#[test]
fn every_reason_names_a_test_that_produces_it() {
    let named: BTreeSet<Reason> = PRODUCED.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(named.len(), PRODUCED.len(), "one line each");
    for reason in Reason::ALL {
        assert!(named.contains(reason), "{reason} needs a line");
    }
}

/// Runs one test by itself; the reasons that its runs have ended with.
fn reasons_of(test: &str, notes: &std::path::Path) -> BTreeSet<String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(NOTES, notes)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && said.contains("1 passed");
    assert!(passed, "{test}:\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let noted = std::fs::read_to_string(notes).unwrap_or_default();
    noted.lines().map(str::to_owned).collect()
}

#[test]
#[ignore = "needs root, iproute2 and util-linux: .ci/run runs it"]
fn every_reason_is_produced_by_a_real_failure() {
    let dir = tempfile::tempdir().unwrap();
    let mut tests: BTreeMap<&str, Vec<Reason>> = BTreeMap::new();
    for (reason, test) in PRODUCED {
        tests.entry(test).or_default().push(*reason);
    }
    let mut missing = vec![];
    for (n, (test, reasons)) in tests.iter().enumerate() {
        let noted = reasons_of(test, &dir.path().join(n.to_string()));
        let not_there = reasons.iter().filter(|reason| !noted.contains(reason.word()));
        missing.extend(not_there.map(|reason| format!("{reason} by {test}, which has {noted:?}")));
    }
    assert!(missing.is_empty(), "not produced:\n{}", missing.join("\n"));
}

/// Accepted and reset before this probe looks at what became of its connect.
#[tokio::test]
async fn a_connection_that_is_reset_while_it_is_made_has_its_reason() {
    let address = server(reset);
    let run = tcp("127.0.0.1", address.port());
    let executor = executor();
    let busy = async { thread::sleep(ms(100)) };
    let (execution, ()) = tokio::join!(executor.run(&run), busy);
    let finding = execution.finding;
    let said = (finding.outcome, finding.reason);
    assert_eq!(said, (Outcome::Fail, Some(Reason::ConnectReset)), "{finding:?}");
}

/// In a process of its own: others would miss the descriptors, too.
#[tokio::test]
async fn a_probe_without_descriptors_says_so_and_blames_nobody() {
    if std::env::var_os(ALONE).is_none() {
        let test = "a_probe_without_descriptors_says_so_and_blames_nobody";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("execute::tests::reasons::{test}"), "--nocapture"])
            .env(ALONE, "yes")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let passed = output.status.success() && said.contains("1 passed");
        assert!(passed, "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let address = answering(OK);
    let before = getrlimit(Resource::Nofile);
    // What is open stays open; nothing more fits below it.
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), ..before }).unwrap();
    let executor = executor();
    let execution = executor.carry_out(&plain_http(address), None).await;
    setrlimit(Resource::Nofile, before).unwrap();
    let finding = execution.finding;
    note(finding.reason);
    let said = (finding.outcome, finding.reason);
    assert_eq!(said, (Outcome::Missed, Some(Reason::ProbeResources)), "{finding:?}");
    assert!(finding.evidence.contains("file descriptors"), "{finding:?}");
    assert_eq!(found(&plain_http(address)).await.outcome, Outcome::Pass, "and then it goes on");
}

/// The target asks for a certificate, and says that the one it was shown was revoked.
#[tokio::test]
async fn a_client_certificate_that_was_revoked_has_its_reason() {
    use parallax_common::check::ClientCertificate;
    use rcgen::{
        CertificateRevocationListParams, KeyIdMethod, KeyUsagePurpose, RevokedCertParams,
        SerialNumber,
    };
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem().into();
    let ours = Authority { pem, issuer: Issuer::new(params, key) };
    let day = date_time_ymd;
    let revoked = CertificateRevocationListParams {
        this_update: day(2020, 1, 1),
        next_update: day(2100, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(77_u64),
            revocation_time: day(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = revoked.signed_by(&ours.issuer).unwrap().der().clone();

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ours.pem.as_bytes()).unwrap()).unwrap();
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::clone(&provider),
    );
    let clients = clients.with_crls([list]).build().unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let cert = params.signed_by(&key, &ours.issuer).unwrap().der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    // Before 1.3 the answer to the certificate is a part of the handshake.
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![cert], key)
        .unwrap();
    let config = Arc::new(config);
    let address = server(move |mut stream| {
        let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut tls = rustls::Stream::new(&mut session, &mut stream);
        if !request(&mut tls).is_empty() {
            let _ = tls.write_all(OK);
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
        let _ = stream.read_to_end(&mut Vec::new());
    });

    let dir = tempfile::tempdir().unwrap();
    let write = |name: String, text: String| {
        std::fs::write(dir.path().join(&name), text).unwrap();
        format!("${{file:{}/{name}}}", dir.path().display())
    };
    let executor = Executor::new(Secrets::new(vec![], vec![dir.path().to_owned()]), None, None);
    for (serial, reason) in [(76_u64, None), (77, Some(Reason::TlsRevoked))] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["probe".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        let cert = params.signed_by(&key, &ours.issuer).unwrap().pem();
        let client = ClientCertificate {
            cert: write(format!("{serial}.pem"), cert),
            key: write(format!("{serial}.key"), key.serialize_pem()),
        };
        let mut run = http(format!("https://{address}/"));
        step(&mut run).tls.ca_pem = Some(ours.pem.clone());
        step(&mut run).tls.client = Some(client);
        let finding = executor.run(&run).await.finding;
        assert_eq!(finding.reason, reason, "{finding:?}");
    }
}
