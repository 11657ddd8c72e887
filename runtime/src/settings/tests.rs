use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use clap::Parser;

use super::*;

/// A program with a flag of each kind. Its variables are ones that a test always has.
#[derive(Debug, Parser)]
struct Program {
    /// Needed, and in nobody's environment.
    #[arg(long, value_parser = short)]
    name: String,
    #[arg(long, default_value = "127.0.0.1:1")]
    listen_api: SocketAddr,
    /// In the environment of every test.
    #[arg(long, env = "CARGO_PKG_NAME")]
    from_env: Option<String>,
    #[arg(long = "allow-env", value_delimiter = ',')]
    allowed: Vec<String>,
    #[arg(long)]
    log_json: bool,
    #[arg(long, conflicts_with = "name")]
    other: Option<String>,
    #[arg(long)]
    webhook: Option<String>,
    #[command(flatten)]
    flags: Flags,
}

fn short(text: &str) -> Result<String, String> {
    if text.len() > 8 { Err("must be 8 bytes at most".to_owned()) } else { Ok(text.to_owned()) }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(text: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write(text);
        folder
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("settings.yaml")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    fn gather(&self, flags: &[&str]) -> Result<Gathered<Program>, SettingsError> {
        gathered(Some(&self.path()), flags)
    }
}

fn gathered(file: Option<&Path>, flags: &[&str]) -> Result<Gathered<Program>, SettingsError> {
    let file = file.map(|path| format!("--config={}", path.display()));
    let argv = ["program".to_owned()].into_iter().chain(file);
    gather(argv.chain(flags.iter().map(|it| (*it).to_owned())).map(OsString::from))
}

fn wrong(text: &str) -> Vec<String> {
    match Folder::with(text).gather(&[]) {
        Err(SettingsError::Wrong { problems, .. }) => {
            problems.iter().map(ToString::to_string).collect()
        }
        other => panic!("{text:?}: {other:?}"),
    }
}

#[test]
fn a_flag_comes_before_the_environment_before_the_file_before_the_default() {
    let folder = Folder::with("name: file\nfrom_env: file\nlisten_api: 127.0.0.1:2\n");
    let Gathered { args, settings } = folder.gather(&["--name", "flag"]).unwrap();
    assert_eq!((args.name.as_str(), settings.origin("name")), ("flag", Origin::Flag));
    assert_eq!(args.from_env.as_deref(), Some(env!("CARGO_PKG_NAME")));
    assert_eq!(settings.origin("from_env"), Origin::Environment("CARGO_PKG_NAME".into()));
    assert_eq!(args.listen_api.port(), 2);
    assert_eq!(settings.origin("listen_api"), Origin::File(Place { line: 3, column: 1 }));
    assert_eq!((args.log_json, settings.origin("log_json")), (false, Origin::Default));
    assert_eq!(settings.origin("webhook"), Origin::Absent);

    let Gathered { args, settings } = folder.gather(&["--from-env", "flag"]).unwrap();
    assert_eq!(args.from_env.as_deref(), Some("flag"));
    assert_eq!(args.name, "file");
    assert_eq!(settings.origin("name"), Origin::File(Place { line: 1, column: 1 }));
}

#[test]
fn what_a_program_needs_may_come_from_its_file() {
    assert!(Folder::with("name: c1\n").gather(&[]).is_ok());
    for (file, flags) in [(None, &[][..]), (Some("log_json: true\n"), &[])] {
        let folder = file.map(Folder::with);
        let error = gathered(folder.as_ref().map(Folder::path).as_deref(), flags).unwrap_err();
        assert!(error.to_string().contains("--name <NAME>"), "{error}");
    }
    // Help is that of the whole command.
    let help = gathered(None, &["--help"]).unwrap_err().to_string();
    assert!(help.contains("--name <NAME>") && help.contains("--config <FILE>"), "{help}");
}

#[test]
fn a_list_is_given_item_by_item_and_replaced_by_flags() {
    for text in ["allow_env: [A, B]\n", "allow_env:\n- A\n- B\n", "allow_env: A,B\n"] {
        let folder = Folder::with(&format!("name: c1\n{text}"));
        assert_eq!(folder.gather(&[]).unwrap().args.allowed, ["A", "B"], "{text}");
        assert_eq!(folder.gather(&["--allow-env", "C"]).unwrap().args.allowed, ["C"]);
    }
    assert!(Folder::with("name: c\nallow_env: []\n").gather(&[]).unwrap().args.allowed.is_empty());
    assert_eq!(
        wrong("allow_env: [A, 'B,C']\n"),
        ["1:16: `allow_env`: \",\" stands between values; give each its own"]
    );
}

#[test]
fn everything_wrong_in_a_file_is_said_with_its_place() {
    let text = "name: much-too-long\nlisten_apis: x\nlisten_api: here\nlog_json: yes\n\
                webhook: [a]\nquite_different: 1\nlog_json: true\nconfig: other.yaml\n";
    let said = wrong(text);
    let expected = [
        "1:7: `name`: must be 8 bytes at most",
        "2:1: `listen_apis` is not a setting; did you mean `listen_api`?",
        "3:13: `listen_api`: invalid socket address syntax",
        "4:11: `log_json` must be true or false",
        "5:1: `webhook` must be one value, found a list",
        "6:1: `quite_different` is not a setting; known: name, listen_api, from_env, allow_env, \
         log_json, other, webhook",
        "8:1: `config` is not a setting; known: name, listen_api, from_env, allow_env, log_json, \
         other, webhook",
    ];
    assert_eq!(said, expected);
    assert_eq!(
        wrong("log_json: true\nlog_json: false\n"),
        ["2:1: `log_json` is given twice; the first is on line 1"]
    );
    // Also where a flag comes before it.
    let folder = Folder::with("listen_api: here\n");
    let error = folder.gather(&["--name", "c1", "--listen-api", "127.0.0.1:3"]).unwrap_err();
    let line = format!("{}:1:13: `listen_api`: ", folder.path().display());
    assert!(error.to_string().starts_with(&line), "{error}");
}

#[test]
fn flags_that_exclude_each_other_do_so_in_a_file_too() {
    let folder = Folder::with("name: c1\n");
    let error = folder.gather(&["--other", "x"]).unwrap_err().to_string();
    assert!(error.contains("--other") && error.contains("--name"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = gathered(Some(Path::new("/nowhere/c.yaml")), &["--name", "c1"]).unwrap_err();
    assert!(matches!(error, SettingsError::Read { .. }));
    assert!(causes(&error).starts_with("cannot read /nowhere/c.yaml: "), "{error}");
}

#[test]
fn what_is_printed_says_who_gave_it_and_reads_back_as_the_same() {
    let text = "name: \"- c:\"\nallow_env: ['a b', 'c1=h:1', \"${env:X}\"]\nlog_json: true\n\
                webhook: ${env:TOKEN}\n";
    let folder = Folder::with(text);
    let first = folder.gather(&["--listen-api", "[::1]:7100"]).unwrap();
    let printed = first.settings.yaml(&["webhook"]);
    for line in [
        "name: \"- c:\"                                     # file, line 1",
        "listen_api: \"[::1]:7100\"                         # flag",
        "from_env: parallax-runtime                       # environment, CARGO_PKG_NAME",
        "allow_env: [\"a b\", \"c1=h:1\", \"${env:X}\"]         # file, line 2",
        "log_json: true                                   # file, line 3",
        "# other:                                         # not given",
        "webhook: \"${env:TOKEN}\"                          # file, line 4",
    ] {
        assert!(printed.lines().any(|it| it == line), "{line}\nis not in\n{printed}");
    }
    let again = Folder::with(&printed).gather(&[]).unwrap();
    let mut expected = first.args;
    expected.flags = again.args.flags.clone();
    assert_eq!(format!("{:?}", again.args), format!("{expected:?}"));
}

#[test]
fn a_secret_is_printed_only_as_a_reference() {
    // Nor beside one, nor what only looks like one.
    for url in ["https://x/t0ken", "https://x/t0ken?team=${env:TEAM}", "$${env:X}t0ken"] {
        let flags = ["--name", "c1", "--webhook", url];
        let settings = gathered(None, &flags).unwrap().settings;
        let printed = settings.yaml(&["webhook"]);
        assert!(!printed.contains("t0ken") && printed.contains("# webhook: "), "{printed}");
        assert!(settings.yaml(&[]).contains("t0ken"));
    }
}

#[test]
fn a_file_is_asked_again_unless_something_comes_before_it() {
    let folder = Folder::with("name: c1\nwebhook: a=b\n");
    let settings = folder.gather(&[]).unwrap().settings;
    assert_eq!(settings.again("webhook").unwrap(), Again::Now("a=b".into()));
    folder.write("name: c2\n");
    assert_eq!(settings.again("name").unwrap(), Again::Now("c2".into()));
    assert_eq!(settings.again("listen_api").unwrap(), Again::Now("127.0.0.1:1".into()));
    folder.write("name: c3\nnome: c4\n");
    assert!(matches!(settings.again("name"), Err(SettingsError::Wrong { .. })));
    let above = folder.gather(&[]).map(drop).unwrap_err();
    assert!(above.to_string().contains("did you mean `name`?"), "{above}");
    folder.write("");
    let settings = folder.gather(&["--name", "c1"]).unwrap().settings;
    assert_eq!(settings.again("name").unwrap(), Again::Above(Origin::Flag));
    let settings = gathered(None, &["--name", "c1"]).unwrap().settings;
    assert_eq!(settings.again("name").unwrap(), Again::NoFile);
}

#[test]
fn a_place_to_listen_must_be_of_this_machine() {
    assert!(may_listen("127.0.0.1:7100".parse().unwrap()).is_ok());
    // Set aside for documentation (RFC 5737): no machine has it.
    assert!(may_listen("192.0.2.1:7100".parse().unwrap()).is_err());
    for (one, other, wanted) in [
        ("127.0.0.1:7100", "127.0.0.1:7100", true),
        ("127.0.0.1:7100", "127.0.0.1:7101", false),
        ("127.0.0.1:7100", "127.0.0.2:7100", false),
        ("0.0.0.0:7100", "127.0.0.1:7100", true),
        ("0.0.0.0:7100", "[::1]:7100", false),
        ("[::]:7100", "[::1]:7100", true),
        ("[::]:7100", "127.0.0.1:7100", true),
        ("[::]:7100", "0.0.0.0:7100", true),
        ("[::1]:7100", "127.0.0.1:7100", false),
        ("0.0.0.0:0", "0.0.0.0:0", false),
    ] {
        let (a, b): (SocketAddr, SocketAddr) = (one.parse().unwrap(), other.parse().unwrap());
        assert_eq!((collide(a, b), collide(b, a)), (wanted, wanted), "{one} {other}");
        // The system agrees, where these are addresses of this machine.
        if wanted && let Ok(first) = TcpListener::bind(SocketAddr::new(a.ip(), 0)) {
            let port = first.local_addr().unwrap().port();
            let error = TcpListener::bind(SocketAddr::new(b.ip(), port)).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "{one} {other}: {error}");
        }
    }
}
