//! `check try` against servers of this process, and `validate`.

use std::io::{Read as _, Write as _};

use super::*;

/// Answers each request with this status and `{"ok":true}`.
fn serve(status: &'static str) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 11\r\n\r\n{{\"ok\":true}}");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

/// Answers each request with 200 when this is in its head, and with 403 when it is not.
fn serve_whom(knows: String) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let status = if head.contains(&knows) { "200 OK" } else { "403 No" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        }
    });
    address
}

/// Answers each line with `+PONG`.
fn serve_lines() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut byte = [0];
            while stream.read(&mut byte).unwrap_or(0) == 1 {
                if byte[0] == b'\n' {
                    let _ = stream.write_all(b"+PONG\r\n");
                }
            }
        }
    });
    address
}

/// Takes one TLS connection with a certificate that nobody signed.
async fn serve_tls(bench: &Bench) -> SocketAddr {
    let made = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    bench.supervisor.spawn(TaskKind::Session("tls server"), async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    address
}

#[tokio::test]
async fn a_url_is_tried_without_a_coordinator_and_shows_phases_and_every_expression() {
    let bench = Bench::start().await;
    let at = serve("200 OK");
    let line = format!("check try http://{at}/ --expect status==200 --warn json.ok==false");
    let ran = bench.run_at(&line, vec![]).await;
    assert_eq!(ran.exit, Exit::Ok, "a warning holds: {}{}", ran.out, ran.err);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines[0].starts_with("! warn  try  "), "{}", ran.out);
    assert!(lines[0].ends_with(&format!("{at}  HTTP/1.1 200")), "{}", ran.out);
    assert_eq!(lines[1], "  warning: not true: json.ok==false");
    for phase in ["connect", "first_byte", "transfer"] {
        let shown = lines
            .iter()
            .any(|line| line.starts_with(&format!("  {phase:<11}")) && line.contains('█'));
        assert!(shown, "{phase}: {}", ran.out);
    }
    assert_eq!(
        lines[lines.len() - 2..],
        ["  expect       ✓ status==200", "  warn         ✗ json.ok==false"]
    );

    let ran = bench.run_at(&format!("{line} -o json --count 2"), vec![]).await;
    let runs: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(runs.len(), 2, "{}", ran.out);
    assert_eq!((&runs[1]["run"], &runs[1]["outcome"]), (&2.into(), &"warn".into()));
    assert_eq!(runs[1]["expressions"][1]["holds"], false);
    assert_eq!(ran.err, "", "a summary is for people");
}

#[tokio::test]
async fn a_run_that_fails_says_why_and_exits_with_one() {
    let bench = Bench::start().await;
    let ran = bench.run_at(&format!("check try http://{}/", serve("503 Busy")), vec![]).await;
    assert_eq!(ran.exit, Exit::Refused);
    assert!(ran.out.contains("  http_status: status 503, 11 bytes\n"), "{}", ran.out);
    // Bound and not listening; kept, as another might listen on what was given back.
    let kept = tokio::net::TcpSocket::new_v4().unwrap();
    kept.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = kept.local_addr().unwrap();
    let ran = bench.run_at(&format!("check try tcp://{closed} --count 2"), vec![]).await;
    assert_eq!(ran.exit, Exit::Refused);
    assert!(ran.out.contains("  connect_refused"), "{}", ran.out);
    assert!(ran.err.starts_with("0 of 2 runs pass; "), "{}", ran.err);
}

#[tokio::test]
async fn certificates_are_shown_also_when_they_are_refused() {
    let bench = Bench::start().await;
    let at = serve_tls(&bench).await;
    let ran = bench
        .run_at(&format!("check try tls://localhost:{} --timeout 5s", at.port()), vec![])
        .await;
    assert_eq!(ran.exit, Exit::Refused, "{}", ran.out);
    assert!(ran.out.contains("  tls_"), "{}", ran.out);
    assert!(ran.out.contains("  certificate  CN=rcgen self signed cert"), "{}", ran.out);
    assert!(ran.out.contains("for shop.example"), "{}", ran.out);
}

#[tokio::test]
async fn checks_of_a_file_are_tried_by_name_with_the_file_s_own_options() {
    let mut bench = Bench::start().await;
    let (well, ill) = (serve("200 OK"), serve("500 Oh"));
    bench.input = format!(
        "regions: [{{name: a}}]\ndefaults: {{interval: 1s, timeout: 900ms, regions: [a]}}\nchecks:\n  \
         - {{name: well, http: {{url: \"http://{well}/\"}}}}\n  \
         - {{name: ill, http: {{url: \"http://{ill}/\"}}, expect: ['status == 500']}}\n"
    );
    let ran = bench.run_at("check try -", vec![]).await;
    assert_eq!(ran.exit, Exit::Ok, "the file expects 500: {}{}", ran.out, ran.err);
    assert!(ran.err.starts_with("2 of 2 runs pass; "), "{}", ran.err);
    let ran = bench.run_at("check try - --check ill -o json", vec![]).await;
    assert_eq!(ran.out.lines().count(), 1, "{}", ran.out);
    for (line, why) in [
        ("check try - --check gone", "there is no check `gone` in the files"),
        ("check try - --timeout 1s", "are for a URL"),
        ("check try gopher://a:1/b", "`gopher://` is not known"),
        ("check try tcp://a", "tcp://a has no port"),
        ("check try http://a/ --check b", "chooses among the checks of files"),
    ] {
        let ran = bench.run_at(line, vec![]).await;
        assert_eq!(ran.exit, Exit::Usage, "{line}: {}", ran.err);
        assert!(ran.err.contains(why), "{line}: {}", ran.err);
    }
    let ran = bench.run_at("check try http://a/ --expect statsu==200", vec![]).await;
    assert_eq!(ran.exit, Exit::Refused);
    assert!(ran.err.contains("expression_"), "{}", ran.err);
}

#[tokio::test]
async fn what_a_url_says_beyond_its_check_is_refused_by_name() {
    let bench = Bench::start().await;
    for (url, why) in [
        ("grpc://h:50051/my.Service", "grpc:// takes no path (`/my.Service`)"),
        ("dns://example.org?type=MX", "dns:// takes no query (`type=MX`)"),
        ("dns://example.org:53", "dns:// takes no port (`53`)"),
        ("icmp://h:99", "icmp:// takes no port (`99`)"),
        ("ping://h/a", "ping:// takes no path (`/a`)"),
        ("ssh://bob@h", "ssh:// takes no login;"),
        ("tcp://:hunter2@h:1", "tcp:// takes no login;"),
        ("tls://h#a", "tls:// takes no fragment (`a`)"),
    ] {
        let ran = bench.run_at(&format!("check try {url}"), vec![]).await;
        assert_eq!(ran.exit, Exit::Usage, "{url}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(why), "{url}: {}", ran.err);
        assert!(!ran.err.contains("hunter2"), "{url}: {}", ran.err);
    }
    // Denied by default, so that nothing is sent: what matters is that it was understood.
    let ran = bench.run_at("check try icmp://[fd00:ec2::254]/ --timeout 2s", vec![]).await;
    assert_eq!(ran.exit, Exit::Refused, "{}", ran.err);
    assert!(ran.out.contains("address_denied"), "{}{}", ran.out, ran.err);
}

#[tokio::test]
async fn the_timeout_of_a_url_is_how_long_it_is_waited_for() {
    let bench = Bench::start().await;
    // It takes connections, and says nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let ran = bench.run_at(&format!("check try http://{at}/ --timeout 200ms"), vec![]).await;
    assert_eq!(ran.exit, Exit::Refused);
    assert!(ran.out.contains("  timeout: no end within 200 ms\n"), "{}", ran.out);
}

#[tokio::test]
async fn steps_of_a_dialogue_are_listed_below_the_bars_that_they_are_part_of() {
    let mut bench = Bench::start().await;
    let at = serve_lines();
    bench.input = format!(
        "regions: [{{name: a}}]\nchecks:\n  - {{name: cache, interval: 1s, timeout: 900ms, regions: [a], \
         tcp: {{address: \"{at}\", dialogue: [{{name: ping, send: \"PING\\r\\n\", expect: PONG}}, \
         {{send: \"PING\\r\\n\", expect: PONG}}]}}}}\n"
    );
    let ran = bench.run_at("check try -", vec![]).await;
    assert_eq!(ran.exit, Exit::Ok, "{}{}", ran.out, ran.err);
    let lines: Vec<&str> = ran.out.lines().collect();
    let with_bars: Vec<&str> = lines.iter().filter(|line| line.contains('█')).copied().collect();
    let names: Vec<&str> =
        with_bars.iter().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(names, ["connect", "first_byte", "transfer"], "{}", ran.out);
    let listed = &lines[lines.len() - 2..];
    for (line, name) in listed.iter().zip(["ping", "2"]) {
        assert!(line.starts_with("  exchange     "), "{}", ran.out);
        assert!(line.ends_with(&format!("  {name}")), "{}", ran.out);
    }
    let ran = bench.run_at("check try - -o json", vec![]).await;
    let run: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(run["phases"].as_array().unwrap().len(), 3, "{run}");
    let names = [&run["exchanges"][0]["name"], &run["exchanges"][1]["name"]];
    assert_eq!(names, ["ping", "2"], "{run}");
}

#[tokio::test]
async fn a_check_of_several_samples_is_tried_as_probes_run_it() {
    let mut bench = Bench::start().await;
    let at = serve("200 OK");
    bench.input = format!(
        "regions: [{{name: a}}]\nchecks:\n  - {{name: lossy, interval: 10s, timeout: 3s, regions: [a], \
         samples: 3, http: {{url: \"http://{at}/\"}}, warn: ['status == 204']}}\n"
    );
    let ran = bench.run_at("check try -", vec![]).await;
    assert_eq!(ran.exit, Exit::Ok, "{}{}", ran.out, ran.err);
    assert!(ran.out.lines().next().unwrap().contains("  3 samples  "), "{}", ran.out);
    assert!(ran.out.contains("3 of 3 samples warned; the last: warning: "), "{}", ran.out);
    let bars: Vec<&str> = ran.out.lines().filter(|line| line.contains('█')).collect();
    assert!(bars.len() >= 2, "{}", ran.out);
    assert!(bars.iter().all(|line| line.ends_with("  mean of 3")), "{}", ran.out);
    assert!(ran.out.ends_with("  warn         ✗ status == 204\n"), "{}", ran.out);
    let ran = bench.run_at("check try - -o json", vec![]).await;
    let run: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&run["samples"], &run["phases"][0]["mean_of"]), (&3.into(), &3.into()), "{run}");
}

#[tokio::test]
async fn a_variable_is_read_only_by_who_is_allowed_it() {
    let mut bench = Bench::start().await;
    // Whoever runs this has one.
    let at = serve_whom(std::env::var("PATH").unwrap());
    bench.input = format!(
        "regions: [{{name: a}}]\nchecks:\n  - {{name: b, interval: 1s, timeout: 900ms, regions: [a], \
         http: {{url: \"http://{at}/\", headers: {{x-path: \"${{env:PATH}}\"}}}}}}\n"
    );
    let ran = bench.run_at("check try - --allow-env OTHER", vec![]).await;
    assert_eq!(ran.exit, Exit::Refused);
    assert!(ran.out.contains("config_error"), "{}", ran.out);
    let ran = bench.run_at("check try - --allow-env PATH", vec![]).await;
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.out);
}

#[tokio::test]
async fn a_plugin_is_started_only_from_a_directory_that_was_named_and_its_times_are_listed() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut bench = Bench::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("check_it");
    std::fs::write(&file, "#!/bin/sh\necho 'OK - well|rta=0.25s other=1s'\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    bench.input = "regions: [{name: a}]\nchecks:\n  - {name: b, interval: 30s, timeout: 20s, \
                   regions: [a], plugin: {command: check_it, series: [rta]}}\n"
        .to_owned();
    let ran = bench.run_at("check try -", vec![]).await;
    assert_eq!(ran.exit, Exit::Refused);
    assert!(ran.out.contains("this probe starts no plugins (--plugin-dir)"), "{}", ran.out);
    let line = format!("check try - --plugin-dir {}", dir.path().display());
    let ran = bench.run_at(&line, vec![]).await;
    assert_eq!(ran.exit, Exit::Ok, "{}{}", ran.out, ran.err);
    assert!(ran.out.ends_with("  series          250ms  rta\n"), "{}", ran.out);
    assert!(!ran.out.contains('█'), "{}", ran.out);
}

#[tokio::test]
async fn permissions_of_a_probe_are_asked_of_who_tries() {
    let mut bench = Bench::start().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "s3cret").unwrap();
    let token = dir.path().join("token");
    let at = serve("200 OK");
    bench.input = format!(
        "regions: [{{name: a}}]\nchecks:\n  - {{name: b, interval: 1s, timeout: 900ms, regions: [a], \
         http: {{url: \"http://{at}/\", bearer: \"${{file:{}}}\"}}}}\n",
        token.display()
    );
    let ran = bench.run_at("check try -", vec![]).await;
    assert_eq!(ran.exit, Exit::Refused);
    assert!(ran.out.contains("config_error"), "{}", ran.out);
    let ran = bench.run_at(&format!("check try - --allow-file {}", token.display()), vec![]).await;
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.out);
    // Metadata services of clouds are denied by default, unless allowed by name.
    let ran = bench.run_at("check try http://169.254.169.254/ --timeout 200ms", vec![]).await;
    assert!(ran.out.contains("address_denied"), "{}", ran.out);
    let line = "check try http://169.254.169.254/ --timeout 200ms --allow-network 169.254.169.254";
    let ran = bench.run_at(line, vec![]).await;
    assert!(!ran.out.contains("address_denied"), "{}", ran.out);
}

#[tokio::test]
async fn validate_names_the_rule_and_the_place_without_a_coordinator() {
    let mut bench = Bench::start().await;
    bench.input = MESH.to_owned();
    let ran = bench.run_at("validate -", vec![]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, "2 resources, no rule is broken\n"));
    let same = bench.run("validate -f -").await;
    assert_eq!((same.exit, same.out), (Exit::Ok, ran.out));
    bench.input = MESH.replace("timeout: 1s", "timeout: 70s").replace("name: shop", "name: Shop!");
    let ran = bench.run_at("validate -", vec![]).await;
    assert_eq!(ran.exit, Exit::Refused);
    assert!(ran.err.contains("<stdin>:3:11"), "{}", ran.err);
    // Nobody meant to apply anything.
    assert!(ran.err.contains("rules are broken\n"), "{}", ran.err);
    let ran = bench.run_at("validate - -o json", vec![]).await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert!(json["errors"].as_array().is_some_and(|errors| errors.len() >= 2), "{json}");
}

#[tokio::test]
async fn the_schema_is_printed_without_a_coordinator_and_flags_are_refused() {
    let bench = Bench::start().await;
    let ran = bench.run_at("schema", vec![]).await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.exit, &json["type"]), (Exit::Ok, &serde_json::json!("object")));
    let refused = Cli::read(["parallax", "schema", "-o", "yaml"]).unwrap_err();
    assert!(refused.to_string().contains("--output has no effect here"), "{refused}");
}

#[tokio::test]
async fn completions_know_every_noun() {
    let bench = Bench::start().await;
    for shell in ["bash", "zsh", "fish"] {
        let ran = bench.run_at(&format!("completions {shell}"), vec![]).await;
        for word in ["apply", "explain", "maintenance", "allow-network"] {
            assert!(ran.out.contains(word), "{shell}: {word}");
        }
    }
}
