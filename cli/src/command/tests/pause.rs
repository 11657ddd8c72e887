//! Pausing and resuming: which checks, what is sent of them, and what is refused before anything is.

use super::*;

/// A mesh with three checks, the third of another set and paused.
async fn bench() -> Bench {
    let bench = Bench::start().await;
    let mut checks = ["cart", "checkout", "shop"].map(check);
    for check in &mut checks {
        let meta = check.meta.as_mut().unwrap();
        meta.set = if meta.name == "shop" { "payments" } else { "default" }.to_owned();
        meta.labels.insert("team".to_owned(), "a".to_owned());
    }
    checks[2].enabled = Some(false);
    bench.fake.0.lock().checks = checks.to_vec();
    bench.answers(&["enabled"]);
    bench
}

/// One apply: whether it was only tried, its set, its source, and of each check name, etag and `enabled`.
type Written = (bool, String, String, Vec<(String, u64, Option<bool>)>);

impl Bench {
    /// Every apply changes these fields of `cart`.
    fn answers(&self, fields: &[&str]) {
        let fields: Vec<_> = fields.iter().map(|field| (*field, "a", "b")).collect();
        let changed = change(v1::ChangeKind::Changed, "cart", &fields);
        self.fake.0.lock().apply = vec![changed, result(0, 1, 0, true)];
    }

    /// Of each apply: dry run, set, source, and the checks with their etags and whether they run.
    fn written(&self) -> Vec<Written> {
        let of = |parts: &Vec<v1::ApplyRequest>| {
            let mut header = v1::ApplyHeader::default();
            let mut checks = Vec::new();
            for part in parts {
                match part.part.clone().unwrap() {
                    v1::apply_request::Part::Header(it) => header = it,
                    v1::apply_request::Part::Resource(resource) => {
                        let Some(v1::resource::Kind::Check(check)) = resource.kind else {
                            panic!()
                        };
                        let meta = check.meta.unwrap();
                        checks.push((meta.name, meta.etag, check.enabled));
                    }
                }
            }
            (header.dry_run, header.set, header.source, checks)
        };
        self.fake.0.lock().applied.iter().map(of).collect()
    }
}

#[tokio::test]
async fn a_check_is_written_back_as_the_version_that_was_read_in_its_set_after_a_dry_run() {
    let bench = bench().await;
    let ran = bench.run("check pause cart").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, ""));
    assert_eq!(
        ran.err,
        "check cart paused at revision 99\nopen incidents of it end now, and pages say so; an `apply` of \
         files without `enabled: false` undoes this\n"
    );
    let cart = || vec![("cart".to_owned(), 7, Some(false))];
    let set = "default".to_owned();
    let by = "check pause".to_owned();
    assert_eq!(
        bench.written(),
        [(true, set.clone(), by.clone(), cart()), (false, set, by, cart())]
    );

    let ran = bench.run("check resume shop -o json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let shop = &json["checks"][0];
    assert_eq!((&shop["name"], &shop["set"]), (&"shop".into(), &"payments".into()));
    assert_eq!((&shop["enabled"], &shop["changed"]), (&true.into(), &true.into()));
    assert_eq!(shop["revision"], 99);
    assert_eq!(bench.written()[3].1, "payments");
}

#[tokio::test]
async fn of_several_sets_each_is_tried_before_any_is_written() {
    let bench = bench().await;
    {
        let checks = &mut bench.fake.0.lock().checks;
        checks[2].enabled = Some(true);
    }
    let ran = bench.run("check pause cart shop").await;
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    let order: Vec<(bool, String)> =
        bench.written().into_iter().map(|(dry_run, set, ..)| (dry_run, set)).collect();
    let set = |dry_run, set: &str| (dry_run, set.to_owned());
    let tried = [set(true, "default"), set(true, "payments")];
    let written = [set(false, "default"), set(false, "payments")];
    assert_eq!(order, [tried, written].concat());
}

#[tokio::test]
async fn what_is_so_already_is_left_alone() {
    let bench = bench().await;
    let ran = bench.run("check pause shop shop").await;
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Ok, "check shop is paused already\n"));
    let ran = bench.run("check resume cart").await;
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Ok, "check cart runs already\n"));
    assert!(bench.written().is_empty());
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_before_any_check_is_touched() {
    let bench = bench().await;
    let ran = bench.run("check pause cart chekout nothing-like-it").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::NotFound, ""));
    assert_eq!(
        ran.err,
        "error: there is no check `chekout`; did you mean `checkout`?; there is no check \
         `nothing-like-it` (nothing was changed)\n"
    );
    assert!(bench.written().is_empty());
}

#[tokio::test]
async fn many_that_nobody_named_need_a_yes_where_somebody_can_say_it() {
    // Flags, whether somebody is there, and whether it is done.
    let table = [
        ("--all", true, false),
        ("--all --yes", true, true),
        ("--all", false, true),
        ("-l team=a", true, false),
        ("-l team=a --yes", true, true),
        ("cart checkout", true, true),
        ("-l team=b", true, true),
    ];
    for (flags, terminal, done) in table {
        let mut bench = bench().await;
        bench.terminal = terminal;
        let ran = bench.run(&format!("check pause {flags}")).await;
        if done {
            assert_eq!(ran.exit, Exit::Ok, "{flags}: {}", ran.err);
            let checks: usize =
                bench.written().iter().filter(|it| !it.0).map(|it| it.3.len()).sum();
            assert_eq!(checks, if flags == "-l team=b" { 0 } else { 2 }, "{flags}");
        } else {
            assert_eq!(ran.exit, Exit::Usage, "{flags}");
            assert_eq!(ran.err, "error: this pauses 2 checks (cart, checkout): say --yes\n");
            assert!(bench.written().is_empty(), "{flags}");
        }
    }
    // One is one, whoever named it.
    let mut bench = bench().await;
    bench.terminal = true;
    assert_eq!(bench.run("check resume --all").await.exit, Exit::Ok);
    assert_eq!(bench.written().len(), 2);
}

#[tokio::test]
async fn a_check_that_this_build_would_cut_short_is_not_written() {
    let bench = bench().await;
    bench.answers(&["enabled", "moon_phase"]);
    let ran = bench.run("check pause cart").await;
    assert_eq!(ran.exit, Exit::Refused);
    assert!(ran.err.contains("check cart would lose"), "{}", ran.err);
    assert!(ran.err.contains("moon_phase"), "{}", ran.err);
    let written = bench.written();
    assert!(written.len() == 1 && written[0].0, "{written:?}");
}

#[tokio::test]
async fn a_check_that_was_changed_meanwhile_is_not_overwritten() {
    let bench = bench().await;
    bench.fake.0.lock().apply = vec![v1::ApplyResponse {
        part: Some(v1::apply_response::Part::Violation(v1::Violation {
            rule: "conflict".to_owned(),
            resource: "check".to_owned(),
            name: "cart".to_owned(),
            field: "etag".to_owned(),
            message: "was changed since".to_owned(),
            nearest: String::new(),
        })),
    }];
    let ran = bench.run("check pause cart").await;
    assert_eq!(ran.exit, Exit::Conflict);
    assert!(
        ran.err.contains("error[conflict]: check \"cart\", etag: was changed since"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn the_checks_are_named_in_one_way() {
    let refused = |line: &str| {
        let words = std::iter::once("parallax").chain(line.split_whitespace());
        Cli::try_parse_from(words).is_err()
    };
    for line in ["", "cart --all", "cart -l team=a", "--all -l team=a", "--yes"] {
        assert!(refused(&format!("check pause {line}")), "{line}");
        assert!(refused(&format!("check resume {line}")), "{line}");
    }
}
