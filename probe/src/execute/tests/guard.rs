//! The guard in front of real sockets: a table of ways around it, with traps where they would end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use parallax_common::check::{
    DnsClass, DnsStep, DnsTransport, DnsType, GrpcStep, HttpAuth, HttpVersion, IcmpStep, OAuth2,
    Payload, Proxy, SshStep, StartTls, TlsStep, UdpStep, WebSocketStep,
};
use parallax_common::target::{HttpUrl, parse_address, parse_resolver, parse_websocket};

use super::*;
use crate::core::guard::Network;

/// Traps: each of these listens over tcp and udp, on one port.
const TRAPS: [&str; 5] = ["127.0.0.1", "127.0.0.2", "127.9.9.9", "127.255.255.254", "::1"];
const ALLOWED: &str = "127.1.1.80";
const NAME_SERVER: [u8; 4] = [127, 1, 1, 53];

/// Listeners that nobody may reach. What arrived is in the queues of the kernel, so that nothing
/// that a run has sent can be missed by looking too early.
struct Trap {
    port: u16,
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
}

impl Trap {
    /// Also listens on the allowed address, which is no trap.
    fn set() -> Self {
        for _ in 0..100 {
            let first = TcpListener::bind((TRAPS[0], 0)).unwrap();
            let port = first.local_addr().unwrap().port();
            drop(first);
            let tcp: std::io::Result<Vec<_>> =
                TRAPS.iter().map(|address| TcpListener::bind((*address, port))).collect();
            let udp: std::io::Result<Vec<_>> =
                TRAPS.iter().map(|address| UdpSocket::bind((*address, port))).collect();
            let (Ok(tcp), Ok(udp)) = (tcp, udp) else { continue };
            let Ok(allowed) = TcpListener::bind((ALLOWED, port)) else { continue };
            thread::spawn(move || allowed.incoming().flatten().for_each(redirect));
            for listener in &tcp {
                listener.set_nonblocking(true).unwrap();
            }
            for socket in &udp {
                socket.set_nonblocking(true).unwrap();
            }
            return Self { port, tcp, udp };
        }
        panic!("no port is free on all of {TRAPS:?}");
    }

    /// Connections and datagrams since the last look.
    fn caught(&self) -> usize {
        let connections =
            |listener: &TcpListener| std::iter::from_fn(|| listener.accept().ok()).count();
        let datagrams = |socket: &UdpSocket| {
            std::iter::from_fn(|| socket.recv_from(&mut [0; 512]).ok()).count()
        };
        self.tcp.iter().map(connections).sum::<usize>()
            + self.udp.iter().map(datagrams).sum::<usize>()
    }
}

/// The allowed listener: sends whoever asks for `/to/SOMEWHERE` to `http://SOMEWHERE`, and closes. It is a
/// proxy, too, that connects to whatever it is asked for.
fn redirect(mut stream: TcpStream) {
    thread::spawn(move || {
        let head = request(&mut stream);
        let path = head.split(' ').nth(1).unwrap_or_default();
        if head.starts_with("CONNECT ") {
            if let Ok(far) = TcpStream::connect(path) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                super::proxies::relay(stream, far);
            }
            return;
        }
        if let Some(place) = path.strip_prefix("/to/") {
            let answer = format!(
                "HTTP/1.1 302 Found\r\nlocation: http://{place}\r\ncontent-length: 0\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

/// What the name server says to the questions of one row, in order.
#[derive(Default)]
struct Script {
    answers: Vec<Vec<String>>,
    /// Questions by name and type.
    asked: BTreeMap<(Vec<u8>, u8), usize>,
}

/// A name server over udp and tcp, on an address that is allowed.
pub(super) struct NameServer {
    pub(super) address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

impl NameServer {
    pub(super) fn start() -> Self {
        let script: Arc<Mutex<Script>> = Arc::default();
        let udp = UdpSocket::bind((IpAddr::from(NAME_SERVER), 0)).unwrap();
        let address = udp.local_addr().unwrap();
        let tcp = TcpListener::bind(address).unwrap();
        let (said, also) = (Arc::clone(&script), Arc::clone(&script));
        thread::spawn(move || {
            let mut packet = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut packet) {
                udp.send_to(&answer(&said, &packet[..length], true), from).unwrap();
            }
        });
        thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                let script = Arc::clone(&also);
                thread::spawn(move || {
                    let mut length = [0; 2];
                    while stream.read_exact(&mut length).is_ok() {
                        let mut packet = vec![0; u16::from_be_bytes(length).into()];
                        stream.read_exact(&mut packet).unwrap();
                        let answer = answer(&script, &packet, false);
                        let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                        stream.write_all(&[&length, answer.as_slice()].concat()).unwrap();
                    }
                });
            }
        });
        Self { address, script }
    }

    pub(super) fn say(&self, text: &str) {
        let words = |step: &str| step.split_whitespace().map(str::to_owned).collect();
        let answers = text.split(" then ").map(words).collect();
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) =
            Script { answers, asked: BTreeMap::new() };
    }

    /// The most often that one question was asked.
    fn asked_max(&self) -> usize {
        self.script.lock().unwrap().asked.values().copied().max().unwrap_or(0)
    }
}

const A: u8 = 1;
const CNAME: u8 = 5;
const AAAA: u8 = 28;

fn encoded(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> =
        labels.flat_map(|l| [&[u8::try_from(l.len()).unwrap()], l.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

fn answer(script: &Mutex<Script>, packet: &[u8], udp: bool) -> Vec<u8> {
    // Header, then the question: its name ends with a zero, type and class follow.
    let name_end = 12 + packet[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let (name, wanted) = (packet[12..name_end].to_vec(), packet[name_end + 1]);
    let mut script = script.lock().unwrap();
    let asked = script.asked.entry((name.to_ascii_lowercase(), wanted)).or_insert(0);
    *asked += 1;
    // A CNAME without an address is gone after by a question of another name.
    let turn = script.asked.iter().filter(|((_, of), _)| *of == wanted).map(|(_, n)| n).sum();
    let turn: usize = turn;
    let words = script.answers.get(turn - 1).or(script.answers.last());
    let words = words.cloned().unwrap_or_default();
    let truncated = udp && words.iter().any(|word| word == "TC");
    let (mut owner, mut records, mut count) = (name, Vec::new(), 0_u8);
    for word in words.iter().filter(|_| !truncated) {
        let Some((kind, value)) = word.split_once('=') else { continue };
        let of = if kind == "OTHER" { encoded("other.example") } else { owner.clone() };
        let (kind, data) = match kind {
            "A" | "OTHER" => (A, value.parse::<std::net::Ipv4Addr>().unwrap().octets().to_vec()),
            "AAAA" => (AAAA, value.parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec()),
            "CNAME" => {
                owner = encoded(value);
                (CNAME, owner.clone())
            }
            other => panic!("{other} is no record"),
        };
        if kind == CNAME || kind == wanted {
            records.extend([of, vec![0, kind, 0, 1, 0, 0, 0, 0, 0]].concat());
            records.push(u8::try_from(data.len()).unwrap());
            records.extend(data);
            count += 1;
        }
    }
    let flags = [0x81 | if truncated { 2 } else { 0 }, 0x80];
    let counts = [0, 1, 0, count, 0, 0, 0, 0];
    [&packet[..2], &flags, &counts, &packet[12..name_end + 4], &records].concat()
}

/// One line of a table.
struct Row<'a> {
    line: &'a str,
    class: &'a str,
    target: String,
    says: &'a str,
    with: String,
    expected: Vec<&'a str>,
    reached: bool,
}

fn table(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/execute/tests");
    std::fs::read_to_string(format!("{folder}/{name}")).unwrap()
}

fn rows(table: &str, port: u16) -> Vec<Row<'_>> {
    let lines = table.lines().filter(|line| !line.starts_with('#') && line.contains('|'));
    // A build without HTTP/3 looks at nothing over it.
    let lines = lines.filter(|line| cfg!(feature = "http3") || !line.starts_with("http3 "));
    lines
        .enumerate()
        .map(|(number, line)| {
            let columns: Vec<&str> = line.split('|').map(str::trim).collect();
            let fill = |text: &str| {
                text.replace("{p}", &port.to_string())
                    .replace("{n}", &format!("row{number}.example"))
                    .replace("{N}", &format!("ROW{number}.EXAMPLE"))
                    .replace("{soft hyphen}", "\u{ad}")
                    .replace("{zero width}", "\u{200b}")
                    .replace("{word joiner}", "\u{2060}")
                    .replace("{tab}", "\t")
            };
            Row {
                line,
                class: columns[0],
                target: fill(columns[1]),
                says: columns[2],
                with: fill(columns[3]),
                expected: columns[4].split(',').map(str::trim).collect(),
                reached: columns.get(5) == Some(&"reached"),
            }
        })
        .collect()
}

impl Row<'_> {
    /// The check that the row describes, or the rule that admission refuses it by.
    fn run(&self, name_server: SocketAddr) -> Result<Run, &'static str> {
        let address = |text: &str| parse_address(text).map_err(|error| error.rule.id);
        let mut run = match self.target.split_once(' ') {
            Some(("tcp", text)) => {
                let (host, port) = address(text)?;
                tcp(&host, port)
            }
            Some(("tls", text)) => {
                let (host, port) = address(text)?;
                run_of(StepKind::Tls(TlsStep { host, port, tls: TlsOptions::default() }))
            }
            Some(("udp", text)) => {
                let (host, port) = address(text)?;
                let send = Payload::Text("ping".into());
                let resend = Some(ms(10));
                run_of(StepKind::Udp(UdpStep { host, port, send, expect: None, resend }))
            }
            Some(("ssh", text)) => {
                let (host, port) = address(text)?;
                run_of(StepKind::Ssh(SshStep { host, port }))
            }
            Some(("websocket", url)) => {
                parse_websocket(url).map_err(|error| error.rule.id)?;
                let url = url.to_owned();
                run_of(StepKind::Websocket(WebSocketStep { url, ..WebSocketStep::default() }))
            }
            Some(("postgres", text)) => {
                let (host, port) = address(text)?;
                run_of(StepKind::Tcp(TcpStep {
                    host,
                    port,
                    tls: Some(TlsOptions::default()),
                    starttls: Some(StartTls::Postgres),
                    ..TcpStep::default()
                }))
            }
            Some(("icmp", host)) => run_of(StepKind::Icmp(IcmpStep {
                host: host.into(),
                count: 2,
                spacing: ms(10),
                payload_bytes: 56,
                dont_fragment: false,
                ttl: None,
            })),
            Some((kind @ ("grpc" | "grpc_tls"), text)) => {
                let (host, port) = address(text)?;
                let (service, metadata) = (String::new(), vec![]);
                let tls = (kind == "grpc_tls").then(TlsOptions::default);
                let grpc = GrpcStep { host, port, service, tls, authority: None, metadata };
                run_of(StepKind::Grpc(grpc))
            }
            Some((kind @ ("dns" | "dns_tcp" | "dns_tls" | "dns_https"), text)) => {
                run_of(StepKind::Dns(DnsStep {
                    name: "shop.example".into(),
                    record_type: DnsType::A,
                    class: DnsClass::In,
                    // Without one the check's resolver is asked.
                    server: if text == "-" { None } else { Some(address(text)?) },
                    transport: match kind {
                        "dns" => DnsTransport::Udp,
                        "dns_tcp" => DnsTransport::Tcp,
                        "dns_tls" => DnsTransport::Tls,
                        _ => DnsTransport::Https,
                    },
                    recursion: true,
                    tls: matches!(kind, "dns_tls" | "dns_https").then(TlsOptions::default),
                    path: (kind == "dns_https").then(|| "/dns-query".into()),
                }))
            }
            _ => {
                HttpUrl::parse(&self.target).map_err(|error| error.rule.id)?;
                let mut run = http(self.target.clone());
                step(&mut run).redirects_max = 10;
                run
            }
        };
        run.resolver = Some(name_server);
        for option in self.with.split_whitespace() {
            let (option, value) = option.split_once('=').unwrap_or((option, ""));
            match option {
                "ip4" => run.ip = IpFamily::V4,
                "ip6" => run.ip = IpFamily::V6,
                "resolver" => run.resolver = Some(parse_resolver(value).unwrap()),
                "source" => run.source_address = Some(value.parse().unwrap()),
                "host" => step(&mut run).headers = vec![("host".into(), value.into())],
                "server_name" => step(&mut run).tls.server_name = Some(value.into()),
                "proxy" => {
                    let (scheme, host, port) = Proxy::parse_url(value).unwrap();
                    step(&mut run).proxy = Some(Proxy { scheme, host, port, credentials: None });
                }
                "insecure" => step(&mut run).tls.insecure = true,
                "http3" => step(&mut run).version = HttpVersion::V3,
                "token" => {
                    HttpUrl::parse(value).map_err(|error| error.rule.id)?;
                    step(&mut run).auth = Some(HttpAuth::OAuth2(Box::new(OAuth2 {
                        token_url: value.into(),
                        client_id: "probe".into(),
                        client_secret: "sesame".into(),
                        scopes: vec![],
                        audience: None,
                    })));
                }
                "authority" => match &mut run.steps[0].kind {
                    StepKind::Grpc(grpc) => grpc.authority = Some(value.into()),
                    _ => panic!("{} has no authority", self.line),
                },
                "invert" => run.invert = true,
                "after" => {
                    let (host, port) = parse_address(value).unwrap();
                    let first = tcp(&host, port).steps.remove(0);
                    run.steps.insert(0, first);
                }
                other => panic!("{other} is no option: {}", self.line),
            }
        }
        Ok(run)
    }

    /// What of a finding is not what the row expects.
    fn differs(&self, expected: &str, finding: &Finding) -> Option<String> {
        let words: Vec<&str> = expected.split_whitespace().collect();
        let said = (finding.outcome, finding.reason);
        let as_expected = match words.as_slice() {
            ["pass"] => said == (Outcome::Pass, None),
            ["fail", "http_redirect_denied"] => {
                said == (Outcome::Fail, Some(Reason::HttpRedirectDenied))
                    && finding.evidence.contains(", denied by --deny-network")
                    && finding.remote.is_none()
            }
            ["fail", reason] => said == (Outcome::Fail, Reason::from_word(reason)),
            [network] => {
                let evidence = &finding.evidence;
                // Which of two families is denied first is the resolver's order.
                let named = *network == "*" || evidence.contains(&format!(" is in {network}"));
                let dns = |(_, phase, _): &(u32, Phase, Duration)| *phase == Phase::Dns;
                let nothing_opened = self.with.contains("after=") || finding.phases.iter().all(dns);
                said == (Outcome::Missed, Some(Reason::AddressDenied))
                    && named
                    && nothing_opened
                    && (evidence.contains("; --allow-network ")
                        || evidence.contains(" flag is gone"))
                    && finding.remote.is_none()
            }
            _ => panic!("{}: what is `{expected}`?", self.line),
        };
        (!as_expected).then(|| format!("{}: {finding:?}", self.line))
    }
}

/// Fails with every row that is not as it should be.
fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n  {}\n", wrong.join("\n  "));
}

fn guard(allow: &[&str], deny: &[&str]) -> Guard {
    let read = |texts: &[&str]| -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    Guard::new(&read(allow), &read(deny)).unwrap()
}

#[tokio::test]
async fn no_way_around_the_guard_reaches_a_trap() {
    let (trap, name_server) = (Trap::set(), NameServer::start());
    let table = table("ways_around.txt");
    let rows = rows(&table, trap.port);
    let guarded = executor().guarded(guard(&["127.1.1.0/24"], &["127.0.0.0/8", "::1"]));
    let (mut classes, mut wrong) = (BTreeSet::new(), Vec::new());
    for row in &rows {
        classes.insert(row.class);
        name_server.say(row.says);
        let run = match row.run(name_server.address) {
            Ok(run) => run,
            Err(rule) if row.expected == [format!("refused {rule}")] => continue,
            Err(rule) => {
                wrong.push(format!("{}: refused {rule}", row.line));
                continue;
            }
        };
        for (place, expected) in row.expected.iter().enumerate() {
            let finding = guarded.run(&run).await.finding;
            wrong.extend(row.differs(expected, &finding));
            let caught = trap.caught();
            if caught > 0 {
                wrong.push(format!("{}: caught {caught} times: {finding:?}", row.line));
            }
            // What was checked is what is connected to: nobody asks a second time.
            let asked = name_server.asked_max();
            if row.class == "rebinding" && asked != place + 1 {
                wrong.push(format!("{}: asked {asked} times in {} runs", row.line, place + 1));
            }
        }
    }
    none(&wrong);
    assert!(rows.len() >= 150 && classes.len() >= 20, "{} in {}", rows.len(), classes.len());
}

#[tokio::test]
async fn without_the_guard_the_same_ways_do_reach_the_traps() {
    let (trap, name_server) = (Trap::set(), NameServer::start());
    let table = table("ways_around.txt");
    let rows = rows(&table, trap.port);
    let open = executor().guarded(guard(&["0.0.0.0/8", "::"], &[]));
    let (mut reached, mut wrong) = (0, Vec::new());
    for row in rows.iter().filter(|row| row.reached) {
        name_server.say(row.says);
        let Ok(run) = row.run(name_server.address) else {
            wrong.push(format!("{}: refused", row.line));
            continue;
        };
        let (mut caught, mut last) = (0, None);
        for _ in &row.expected {
            // Nobody answers there: looking is enough.
            let looking = async {
                while trap.caught() == 0 {
                    tokio::time::sleep(ms(2)).await;
                }
            };
            tokio::select! {
                execution = open.run(&run) => {
                    caught += trap.caught();
                    last = Some(execution.finding);
                }
                () = looking => caught += 1,
            }
        }
        match caught {
            0 => wrong.push(format!("{}: reached nothing: {last:?}", row.line)),
            _ => reached += 1,
        }
    }
    none(&wrong);
    assert!(reached >= 100, "{reached}");
}

#[tokio::test]
async fn a_probe_without_flags_does_not_connect_to_what_no_check_can_mean() {
    let name_server = NameServer::start();
    let table = table("denied_by_default.txt");
    let rows = rows(&table, 80);
    let mut wrong = Vec::new();
    for row in &rows {
        name_server.say(row.says);
        let run = row.run(name_server.address).expect(row.line);
        let finding = executor().run(&run).await.finding;
        wrong.extend(row.differs(row.expected[0], &finding));
        if !finding.evidence.contains("denied by default") {
            wrong.push(format!("{}: {finding:?}", row.line));
        }
    }
    none(&wrong);
    assert!(rows.len() >= 30);
}

#[tokio::test]
async fn an_address_that_is_left_out_is_told_of_when_the_others_fail() {
    let (trap, name_server) = (Trap::set(), NameServer::start());
    let guarded = executor().guarded(guard(&["127.1.1.0/24"], &["127.0.0.0/8", "::1"]));
    name_server.say("A=127.1.1.81 A=127.0.0.1 A=127.0.0.2");
    let mut run = tcp("shop.example", trap.port);
    run.resolver = Some(name_server.address);
    let finding = guarded.run(&run).await.finding;
    assert_eq!(finding.reason, Some(Reason::ConnectRefused), "{finding:?}");
    for part in ["connect to 127.1.1.81:", "; 2 more not tried: 127.0.0.", "--allow-network"] {
        assert!(finding.evidence.contains(part), "{part} in {finding:?}");
    }
    // A later step that has nothing left out says nothing of it.
    let mut later = tcp("127.1.1.81", trap.port);
    name_server.say("A=127.1.1.80 A=127.0.0.1");
    later.resolver = run.resolver;
    later.steps.insert(0, run.steps.remove(0));
    let finding = guarded.run(&later).await.finding;
    assert_eq!((finding.step, finding.reason), (1, Some(Reason::ConnectRefused)), "{finding:?}");
    assert!(!finding.evidence.contains("not tried"), "{finding:?}");
    assert_eq!(trap.caught(), 0);
}

#[tokio::test]
async fn the_systems_name_servers_are_not_asked_when_a_flag_denies_them() {
    let denied = executor().guarded(guard(&[], &["0.0.0.0/0", "::/0"]));
    let finding = denied.run(&tcp("shop.example.", 80)).await.finding;
    assert_eq!(finding.outcome, Outcome::Missed, "{finding:?}");
    assert_eq!(finding.reason, Some(Reason::AddressDenied), "{finding:?}");
    assert!(finding.evidence.starts_with("this machine's name server: "), "{finding:?}");
}
