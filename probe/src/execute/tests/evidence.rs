//! What every kind says beside its reason where the system, a handshake or a name server gave a word or a
//! number for it.

use parallax_common::check::{
    DnsClass, DnsStep, DnsTransport, DnsType, GrpcStep, Payload, PluginStep, SshStep, TlsStep,
    UdpStep, WebSocketStep,
};

use super::*;

/// One check of each kind that connects, all to the same place.
fn all_over_tcp(at: SocketAddr) -> Vec<StepKind> {
    let (host, port): (String, u16) = ("127.0.0.1".to_owned(), at.port());
    let dns = DnsStep {
        name: "www.shop.example".into(),
        record_type: DnsType::A,
        class: DnsClass::In,
        server: Some((host.clone(), port)),
        transport: DnsTransport::Tcp,
        recursion: true,
        tls: None,
        path: None,
    };
    let grpc = GrpcStep {
        host: host.clone(),
        port,
        service: String::new(),
        tls: None,
        authority: None,
        metadata: vec![],
    };
    let over_tls = TcpStep {
        host: host.clone(),
        port,
        tls: Some(TlsOptions::default()),
        ..TcpStep::default()
    };
    vec![
        plain_http(at).steps.remove(0).kind,
        http(format!("https://{at}/")).steps.remove(0).kind,
        StepKind::Tcp(over_tls),
        StepKind::Tls(TlsStep { host: host.clone(), port, tls: TlsOptions::default() }),
        StepKind::Dns(DnsStep {
            transport: DnsTransport::Tls,
            tls: Some(TlsOptions::default()),
            ..dns.clone()
        }),
        StepKind::Dns(dns),
        StepKind::Grpc(grpc),
        StepKind::Websocket(WebSocketStep {
            url: format!("ws://{at}/"),
            ..WebSocketStep::default()
        }),
        StepKind::Ssh(SshStep { host, port }),
    ]
}

#[tokio::test]
async fn a_refused_connect_has_its_errno_in_every_kind() {
    let nobody_there = Nobody::new();
    let gone = nobody_there.at;
    let mut kinds = all_over_tcp(gone);
    kinds.push(tcp("127.0.0.1", gone.port()).steps.remove(0).kind);
    // Nobody listens there over UDP either.
    let (host, port) = ("127.0.0.1".to_owned(), gone.port());
    kinds.push(StepKind::Udp(UdpStep {
        host: host.clone(),
        port,
        send: Payload::Text("ping".into()),
        expect: None,
        resend: None,
    }));
    for kind in all_over_tcp(gone) {
        match kind {
            StepKind::Dns(dns) if dns.tls.is_none() => {
                kinds.push(StepKind::Dns(DnsStep { transport: DnsTransport::Udp, ..dns }));
            }
            #[cfg(feature = "http3")]
            StepKind::Http(http) if http.url.starts_with("https") => {
                let version = parallax_common::check::HttpVersion::V3;
                kinds.push(StepKind::Http(HttpStep { version, ..http }));
            }
            _ => {}
        }
    }
    for kind in kinds {
        let finding = found(&run_of(kind)).await;
        assert_eq!(finding.reason, Some(Reason::ConnectRefused), "{finding:?}");
        assert!(finding.evidence.ends_with("connection refused (ECONNREFUSED 111)"), "{finding:?}");
    }
}

/// What comes after the connect ends in a reset, wherever the kind is by then.
#[tokio::test]
async fn a_reset_has_its_errno_in_every_kind() {
    let address = server(|mut stream| {
        let mut some = [0; 1];
        // An SSH server speaks first.
        stream.set_read_timeout(Some(ms(100))).unwrap();
        let _ = stream.read(&mut some);
        reset(stream);
    });
    for kind in all_over_tcp(address) {
        let finding = found(&run_of(kind)).await;
        assert!(finding.evidence.contains("(ECONNRESET 104)"), "{finding:?}");
    }
}

#[tokio::test]
async fn name_servers_and_handshakes_are_quoted_with_their_own_words() {
    for (code, word) in [(3, "(NXDOMAIN)"), (2, "SERVFAIL"), (5, "(REFUSED)"), (4, "NOTIMP")] {
        let mut run = tcp("shop.example.", 80);
        run.resolver = Some(dns(Some(code), None));
        run.ip = IpFamily::V4;
        let finding = found(&run).await;
        assert!(finding.evidence.contains(word), "{word}: {finding:?}");
    }
    use rustls::AlertDescription as Alert;
    for alert in [Alert::NoApplicationProtocol, Alert::CertificateRevoked, Alert::HandshakeFailure]
    {
        let evidence = tls::alerted(alert).evidence;
        assert!(evidence.contains(&format!("{alert:?}")), "{evidence}");
    }
}

#[tokio::test]
async fn what_is_this_machines_own_has_its_errno() {
    let mut run = tcp("127.0.0.1", 9);
    run.source_address = Some([192, 0, 2, 77].into());
    let finding = found(&run).await;
    assert!(finding.evidence.ends_with("(EADDRNOTAVAIL 99)"), "{finding:?}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("check_it");
    std::fs::write(&path, "\u{7f}ELF and no more").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let plugins = plugin::Plugins::new(vec![dir.path().to_owned()], vec![]);
    let executor = executor().with_plugins(plugins);
    let step = PluginStep { command: "check_it".into(), args: vec![], env: vec![], series: vec![] };
    let finding = executor.run(&run_of(StepKind::Plugin(step))).await.finding;
    assert!(finding.evidence.ends_with("(ENOEXEC 8)"), "{finding:?}");
}
