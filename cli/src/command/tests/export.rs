//! Export: which resources, in which files, and what is said beside them.

use super::*;

#[tonic::async_trait]
impl v1::settings_service_server::SettingsService for Fake {
    async fn get_settings(
        &self,
        _request: Request<v1::GetSettingsRequest>,
    ) -> Result<Response<v1::GetSettingsResponse>, Status> {
        let state = self.0.lock();
        if state.untold {
            return Err(Status::unimplemented("what is that"));
        }
        let settings = state.settings.clone();
        Ok(Response::new(v1::GetSettingsResponse { settings, revision: 42 }))
    }
}

const HELD: &str = "\
namespace: default
regions:
  - {name: eu-west}
  - {name: us-east, title: Virginia}
contacts:
  - name: ops
    webhook: {url: \"${env:OPS_URL}\"}
mesh: {alert: [ops]}
routes:
  - {name: rest, alert: [ops]}
maintenance:
  - {name: night, matchers: [\"team=a\"], every: daily, at: \"02:30\", for: 1h, zone: UTC}
checks:
  - name: cart
    http: {url: \"https://cart.example/\"}
    interval: 10s
    timeout: 3s
    regions: [eu-west, us-east]
    labels: {team: a}
  - name: shop
    http:
      url: https://shop.example/
      headers: {authorization: \"Bearer ${env:TOKEN}\"}
    expect: [\"status == 200\"]
    interval: 1s
    timeout: 900ms
    regions: [us-east, eu-west]
    alert: [ops]
";

impl Bench {
    /// The mesh holds what a file says, and what `of_set` names is of another set.
    pub(super) fn holds(&self, text: &str, of_set: &[(&str, &str)]) {
        let sources = crate::config::Sources::from_texts([("mesh.yaml", text)]);
        let loaded = crate::config::load(sources).unwrap_or_else(|it| panic!("{it}: {text}"));
        let mut state = self.fake.0.lock();
        for located in loaded.resources {
            let mut resource = parallax_proto::convert::resource::normalise(located.resource);
            let meta = parallax_proto::convert::resource::meta_of_mut(&mut resource).unwrap();
            let other = of_set.iter().find(|(name, _)| *name == meta.name);
            meta.set = other.map_or("default", |(_, set)| set).to_owned();
            meta.uid = format!("uid of {}", meta.name);
            meta.etag = 7;
            match resource.kind.unwrap() {
                v1::resource::Kind::Region(region) => {
                    let region = Some(region);
                    state.regions.push(v1::RegionStatus { region, ..Default::default() });
                }
                v1::resource::Kind::Contact(contact) => state.contacts.push(contact),
                v1::resource::Kind::Settings(settings) => state.settings = Some(settings),
                v1::resource::Kind::Maintenance(window) => {
                    let maintenance = Some(window);
                    state.windows.push(v1::MaintenanceStatus { maintenance, next: vec![] });
                }
                v1::resource::Kind::Check(check) => state.checks.push(check),
                v1::resource::Kind::Event(event) => panic!("{event:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_was_applied_comes_out_again_and_json_is_the_same() {
    let bench = Bench::start().await;
    bench.holds(HELD, &[]);
    for command in ["export", "export -o yaml", "export --set default"] {
        let ran = bench.run(command).await;
        assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, HELD), "{command}: {}", ran.err);
        assert_eq!(
            ran.err,
            "set default of namespace default: 2 regions, 1 contact, settings, 1 maintenance window, \
             2 checks at revision 42\n"
        );
    }
    let ran = bench.run("export -o json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["checks"][1]["interval"], "1s");
    assert_eq!(json["mesh"]["alert"][0], "ops");
    // What JSON says is what YAML says.
    let again = Bench::start().await;
    again.holds(&ran.out, &[]);
    assert_eq!(again.run("export").await.out, HELD);
}

#[tokio::test]
async fn one_set_is_exported_and_the_others_are_named() {
    let bench = Bench::start().await;
    bench.holds(HELD, &[("shop", "payments"), ("ops", "payments")]);
    let ran = bench.run("export --set payments").await;
    assert!(
        ran.out.starts_with(
            "# Belongs to set payments: apply it with --set payments.\nnamespace: default\ncontacts:\n"
        ),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("name: shop") && !ran.out.contains("cart"), "{}", ran.out);
    assert!(ran.err.contains("not exported: other sets, default (5);"), "{}", ran.err);
    let ran = bench.run("export").await;
    assert!(ran.out.contains("name: cart") && !ran.out.contains("shop"), "{}", ran.out);
    assert!(ran.err.contains("not exported: other sets, payments (2);"), "{}", ran.err);

    let ran = bench.run("export --set paymnts").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::NotFound, ""));
    assert_eq!(
        ran.err,
        "error: namespace default has no set `paymnts`; did you mean `payments`?\n"
    );
}

#[tokio::test]
async fn with_a_label_only_what_has_it_is_exported_and_no_settings() {
    let bench = Bench::start().await;
    bench.holds(HELD, &[]);
    let ran = bench.run("export -l team=a").await;
    let expected = "namespace: default\nchecks:\n  - name: cart\n    http: {url: \
                    \"https://cart.example/\"}\n    interval: 10s\n    timeout: 3s\n    regions: \
                    [eu-west, us-east]\n    labels: {team: a}\n";
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, expected));
    let ran = bench.run("export -l team=b").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, "namespace: default\n"));
    assert!(ran.err.contains(": nothing at revision"), "{}", ran.err);
}

#[tokio::test]
async fn all_sets_become_a_file_each_and_none_is_written_over_without_being_told_to() {
    let bench = Bench::start().await;
    bench.holds(HELD, &[("shop", "payments")]);
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("deep").display().to_string();
    let ran = bench.run(&format!("export --all-sets -d {at}")).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, ""), "{}", ran.err);
    assert!(
        ran.err.contains("payments.yaml: 1 check; apply it with --set payments"),
        "{}",
        ran.err
    );
    let read = |set: &str| std::fs::read_to_string(format!("{at}/{set}.yaml")).unwrap();
    assert_eq!(read("payments"), bench.run("export --set payments").await.out);
    assert_eq!(read("default"), bench.run("export").await.out);
    let files = || std::fs::read_dir(&at).unwrap().count();
    assert_eq!(files(), 2);

    // Once more it is the same, and so nothing is in the way.
    assert_eq!(bench.run(&format!("export --all-sets -d {at}")).await.exit, Exit::Ok);
    std::fs::write(format!("{at}/payments.yaml"), "mine").unwrap();
    std::fs::remove_file(format!("{at}/default.yaml")).unwrap();
    let ran = bench.run(&format!("export --all-sets -d {at}")).await;
    assert_eq!(ran.exit, Exit::Usage);
    assert!(
        ran.err.contains("payments.yaml is there already and says something else"),
        "{}",
        ran.err
    );
    assert_eq!((read("payments").as_str(), files()), ("mine", 1));
    let ran = bench.run(&format!("export --all-sets -d {at} --force")).await;
    assert_eq!((ran.exit, files()), (Exit::Ok, 2), "{}", ran.err);
    assert!(read("payments").contains("name: shop"));
}

#[tokio::test]
async fn a_secret_that_is_no_reference_is_exported_with_a_warning() {
    let bench = Bench::start().await;
    bench.holds(
        "contacts:\n  - {name: a, pagerduty: {routing_key: plain}}\n  - {name: b, pagerduty: \
         {routing_key: \"${env:KEY}\"}}\n  - {name: c, webhook: {url: \"https://c.example/\", \
         signing_secrets: [\"${env:A}\", old]}}\n  - {name: d, slack: {url: \
         \"https://hooks.example/T0/B1/key\"}}\n  - {name: e, webhook: {url: \"${env:URL}\", headers: \
         {authorization: Bearer abc, x: \"${env:X}\"}}}\n",
        &[],
    );
    let ran = bench.run("export").await;
    let warnings: Vec<&str> = ran.err.lines().filter(|line| line.starts_with("warning")).collect();
    assert_eq!(
        warnings,
        [
            "warning: pagerduty.routing_key of contact a is no reference, and stands in what is exported",
            "warning: webhook.signing_secrets of contact c is no reference, and stands in what is exported",
            "warning: slack.url of contact d is no reference, and stands in what is exported",
            "warning: webhook.headers of contact e is no reference, and stands in what is exported"
        ]
    );
    assert!(ran.out.contains("routing_key: plain"), "{}", ran.out);
}

#[tokio::test]
async fn what_a_coordinator_has_hidden_is_not_exported_as_if_it_were_all() {
    let bench = Bench::start().await;
    bench.holds("contacts: [{name: ops, webhook: {url: \"https://a.example/b\"}}]\n", &[]);
    for contact in &mut bench.fake.0.lock().contacts {
        *contact = parallax_proto::convert::contact::redacted::redacted(contact.clone());
    }
    let ran = bench.run("export").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Refused, ""));
    let said = "contact ops has secrets that are shown only to those who may edit";
    assert!(ran.err.contains(said), "{}", ran.err);
}

#[tokio::test]
async fn a_coordinator_that_tells_no_settings_is_not_exported_in_part() {
    let bench = Bench::start().await;
    bench.holds(HELD, &[]);
    bench.fake.0.lock().untold = true;
    let ran = bench.run("export").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Refused, ""));
    assert!(ran.err.contains("has no settings (`mesh` and `routes`)"), "{}", ran.err);
}
