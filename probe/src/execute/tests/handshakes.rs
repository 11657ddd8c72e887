//! What a handshake can meet, by small servers: reason, step and phases of each.

use parallax_common::check::{TlsStep, TlsVersion};
use rcgen::DnType;

use super::*;

fn shake(address: SocketAddr, ca: Option<&Authority>) -> Run {
    run_of(StepKind::Tls(TlsStep {
        host: address.ip().to_string(),
        port: address.port(),
        tls: TlsOptions { ca_pem: ca.map(|ca| ca.pem.clone()), ..TlsOptions::default() },
    }))
}

fn options(run: &mut Run) -> &mut TlsOptions {
    match &mut run.steps[0].kind {
        StepKind::Tls(step) => &mut step.tls,
        _ => panic!("a tls step"),
    }
}

/// A server with this chain, leaf first, that shakes hands and reads to the end.
pub(super) fn tls_server(
    chain: Vec<CertificateDer<'static>>,
    key: &KeyPair,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let config = Arc::new(config);
    server(move |mut stream| {
        let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        while session.complete_io(&mut stream).is_ok() && session.is_handshaking() {}
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

#[tokio::test]
async fn certificates_of_a_tls_check_have_the_reasons_of_https() {
    let (ours, other) = (authority(), authority());
    let table = [
        (&ours, "127.0.0.1", (2020, 2090), None),
        (&ours, "127.0.0.1", (2010, 2020), Some(Reason::TlsExpired)),
        (&ours, "127.0.0.1", (2080, 2090), Some(Reason::TlsNotYetValid)),
        (&ours, "shop.example", (2020, 2090), Some(Reason::TlsNameMismatch)),
        (&other, "127.0.0.1", (2020, 2090), Some(Reason::TlsUntrusted)),
    ];
    for (signed_by, name, years, reason) in table {
        let mut run = shake(https(signed_by, name, years), Some(&ours));
        let finding = found(&run).await;
        assert_eq!((finding.reason, finding.step), (reason, 0), "{finding:?}");
        let wanted = [Phase::Connect, Phase::Tls];
        let wanted = if reason.is_some() { &wanted[..1] } else { &wanted };
        assert_eq!(phases(&finding), wanted, "{finding:?}");
        // Unverified, each of them passes, and its days can be judged.
        (options(&mut run).insecure, options(&mut run).ca_pem) = (true, None);
        run.expect =
            vec![format!("'{name}' in cert.names && (cert.days_left < 0) == {}", years.1 == 2020)];
        let finding = found(&run).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
    }
    // Another name may be asked for.
    let mut run = shake(https(&ours, "shop.example", (2020, 2090)), Some(&ours));
    options(&mut run).server_name = Some("shop.example".into());
    assert_eq!(found(&run).await.outcome, Outcome::Pass);
    // The system's authorities do not know ours.
    options(&mut run).ca_pem = None;
    assert_eq!(found(&run).await.reason, Some(Reason::TlsUntrusted));
    // Nobody but itself has signed it.
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let alone = params.self_signed(&key).unwrap().der().clone();
    let run = shake(tls_server(vec![alone], &key, rustls::DEFAULT_VERSIONS), Some(&ours));
    assert_eq!(found(&run).await.reason, Some(Reason::TlsUntrusted));
}

#[tokio::test]
async fn handshakes_that_break_have_their_reasons_step_and_phases() {
    let hello = |stream: &mut TcpStream| {
        let mut head = [0; 5];
        stream.read_exact(&mut head).unwrap();
        let mut rest = vec![0; u16::from_be_bytes([head[3], head[4]]).into()];
        stream.read_exact(&mut rest).unwrap();
    };
    let nobody_there = Nobody::new();
    let gone = nobody_there.at;
    let good = https(&authority(), "127.0.0.1", (2020, 2090));
    let table = [
        ("nobody", gone, Some(Reason::ConnectRefused), &[][..], "refused"),
        (
            "reset within the hello",
            server(|mut stream| {
                stream.read_exact(&mut [0]).unwrap();
                reset(stream);
            }),
            Some(Reason::TlsHandshake),
            &[Phase::Connect],
            "reset",
        ),
        (
            "reset after the hello",
            server(move |mut stream| {
                hello(&mut stream);
                reset(stream);
            }),
            Some(Reason::TlsHandshake),
            &[Phase::Connect],
            "reset",
        ),
        (
            "closed after the hello",
            server(move |mut stream| hello(&mut stream)),
            Some(Reason::TlsHandshake),
            &[Phase::Connect],
            "eof",
        ),
        (
            "no TLS",
            server(|mut stream| {
                let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
                let _ = stream.read_to_end(&mut Vec::new());
            }),
            Some(Reason::TlsHandshake),
            &[Phase::Connect],
            "handshake",
        ),
        (
            "an alert",
            server(move |mut stream| {
                hello(&mut stream);
                // Fatal: internal error.
                let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, 80]);
                let _ = stream.read_to_end(&mut Vec::new());
            }),
            Some(Reason::TlsHandshake),
            &[Phase::Connect],
            "InternalError",
        ),
        ("silence", server(hang), Some(Reason::TlsTimeout), &[Phase::Connect], "no end within"),
    ];
    for (what, address, reason, wanted, evidence) in table {
        let mut run = shake(address, None);
        if reason == Some(Reason::TlsTimeout) {
            run.timeout = ms(300);
        }
        let finding = found(&run).await;
        assert_eq!((finding.reason, finding.step), (reason, 0), "{what}: {finding:?}");
        assert_eq!(phases(&finding), wanted, "{what}");
        assert!(finding.evidence.contains(evidence), "{what}: {finding:?}");
        assert_eq!(finding.remote, Some(address), "{what}");
        // The same as a second step.
        let mut steps = shake(good, None);
        options(&mut steps).insecure = true;
        steps.steps.push(run.steps.remove(0));
        steps.timeout = run.timeout;
        let finding = found(&steps).await;
        assert_eq!((finding.reason, finding.step), (reason, 1), "{what}: {finding:?}");
    }
}

/// A root that is trusted and not sent, an authority below it that expires soon, and a leaf.
#[tokio::test]
async fn the_whole_chain_is_seen_and_its_nearest_end() {
    let root = authority();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "Between");
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2080, 1, 1));
    let between_key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let between = params.signed_by(&between_key, &root.issuer).unwrap();
    let between_issuer = Issuer::new(params, between_key);
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2090, 1, 1));
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &between_issuer).unwrap();
    let chain = vec![leaf.der().clone(), between.der().clone()];

    for (versions, spoken) in
        [(&[&rustls::version::TLS13][..], "1.3"), (&[&rustls::version::TLS12], "1.2")]
    {
        let mut run = shake(tls_server(chain.clone(), &key, versions), Some(&root));
        run.expect = vec![
            "size(cert.chain) == 2 && cert.chain[0].days_left == cert.days_left".into(),
            "cert.chain[1].subject == cert.issuer && cert.issuer.contains('Between')".into(),
            "cert.chain_days_left == cert.chain[1].days_left".into(),
            "cert.chain_days_left < cert.days_left - 3000".into(),
            "cert.key_type == 'EC' && cert.key_bits == 256 && cert.chain[1].key_bits == 384".into(),
            "cert.signature == 'ecdsa-with-SHA384' && size(cert.serial) > 2".into(),
            format!(
                "tls_version == '{spoken}' && cipher.startsWith('TLS_') && !cipher.contains('13')"
            ),
            "phases.tls > duration('0s') && ip == '127.0.0.1'".into(),
        ];
        let finding = found(&run).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
        assert_eq!(finding.expiry, ends(2080));
        // The same facts behind https and tcp with tls.
        let StepKind::Tls(step) = run.steps[0].kind.clone() else { unreachable!("made above") };
        let tls = Some(step.tls);
        let (host, port) = (step.host, step.port);
        run.steps[0].kind = StepKind::Tcp(TcpStep { host, port, tls, ..TcpStep::default() });
        assert_eq!(found(&run).await.outcome, Outcome::Pass);
        // The chain is looked at whether an expression asks for it or not.
        run.expect = vec![];
        assert_eq!(found(&run).await.expiry, ends(2080));
        // An owner who wants to know in time.
        run.warn = vec!["cert.chain_days_left > 100000".into()];
        assert_eq!(found(&run).await.outcome, Outcome::Warn);
    }

    // A server that stopped at 1.2.
    let old = tls_server(chain, &key, &[&rustls::version::TLS12]);
    for (least, reason) in [
        (None, None),
        (Some(TlsVersion::V12), None),
        (Some(TlsVersion::V13), Some(Reason::TlsHandshake)),
    ] {
        let mut run = shake(old, Some(&root));
        options(&mut run).min_version = least;
        let finding = found(&run).await;
        assert_eq!(finding.reason, reason, "{finding:?}");
        assert!(reason.is_none() || finding.evidence.contains("ProtocolVersion"), "{finding:?}");
    }
}

#[tokio::test]
async fn of_the_certificates_of_a_run_the_one_that_expires_first_is_told_with_its_step() {
    let ours = authority();
    let (sooner, later) =
        (https(&ours, "127.0.0.1", (2020, 2070)), https(&ours, "127.0.0.1", (2020, 2090)));
    let plain = answering(OK);
    let step_of = |address: SocketAddr| shake(address, Some(&ours)).steps.remove(0);
    for (steps, step) in [
        (vec![step_of(later), step_of(sooner)], 1),
        (vec![step_of(sooner), step_of(later)], 0),
        (vec![plain_http(plain).steps.remove(0), step_of(sooner)], 1),
        (vec![step_of(sooner), step_of(sooner)], 0),
    ] {
        let run = Run { steps, ..shake(sooner, Some(&ours)) };
        let finding = found(&run).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
        assert_eq!(finding.expiry, ends(2070).map(|expiry| Expiry { step, ..expiry }));
    }
    // From http to https.
    let to = format!("location: https://{sooner}/\r\ncontent-length: 0\r\n\r\n");
    let answer = format!("HTTP/1.1 302 Found\r\n{to}");
    let mut run = plain_http(answering(answer.leak().as_bytes()));
    (step(&mut run).redirects_max, step(&mut run).tls.insecure) = (1, true);
    let finding = found(&run).await;
    assert_eq!((finding.outcome, finding.expiry), (Outcome::Pass, ends(2070)), "{finding:?}");
}
