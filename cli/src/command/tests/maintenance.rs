//! Maintenance windows.

use super::*;

#[tonic::async_trait]
impl v1::maintenance_service_server::MaintenanceService for Fake {
    async fn list_maintenance(
        &self,
        _request: Request<v1::ListMaintenanceRequest>,
    ) -> Result<Response<v1::ListMaintenanceResponse>, Status> {
        let windows = self.0.lock().windows.clone();
        let answer = v1::ListMaintenanceResponse { windows, revision: 42, ..Default::default() };
        Ok(Response::new(answer))
    }

    async fn get_maintenance(
        &self,
        request: Request<v1::GetMaintenanceRequest>,
    ) -> Result<Response<v1::GetMaintenanceResponse>, Status> {
        let name = request.into_inner().name;
        let is = |it: &&v1::MaintenanceStatus| {
            let meta = it.maintenance.as_ref().and_then(|window| window.meta.as_ref());
            meta.is_some_and(|meta| meta.name == name)
        };
        let window = self.0.lock().windows.iter().find(is).cloned();
        let window = window.ok_or_else(|| Status::not_found("there is no such window"))?;
        Ok(Response::new(v1::GetMaintenanceResponse { window: Some(window), revision: 42 }))
    }

    async fn delete_maintenance(
        &self,
        _request: Request<v1::DeleteMaintenanceRequest>,
    ) -> Result<Response<v1::DeleteMaintenanceResponse>, Status> {
        self.write()?;
        self.0.lock().windows.clear();
        Ok(Response::new(v1::DeleteMaintenanceResponse { revision: 43 }))
    }
}

const BACKUP: &str = "\
maintenance:
  - name: backup
    matchers: [team=payments, 'check=~pay.*']
    comment: the database is copied
    every: weekly
    days: [sunday, monday]
    at: \"02:30\"
    for: 2h
    zone: Europe/Berlin
";

/// The window as a file has it and a coordinator keeps it.
fn stored(text: &str) -> v1::Maintenance {
    let sources = crate::config::Sources::from_texts([("mesh.yaml", text)]);
    let loaded = crate::config::load(sources).unwrap_or_else(|it| panic!("{it}: {text}"));
    let resource = loaded.resources[0].resource.clone();
    match parallax_proto::convert::resource::normalise(resource).kind {
        Some(v1::resource::Kind::Maintenance(window)) => window,
        other => panic!("{other:?}"),
    }
}

fn at(second: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: 1_700_000_000 + second, nanos: 0 })
}

#[tokio::test]
async fn windows_are_listed_shown_and_deleted() {
    let bench = Bench::start().await;
    let ran = bench.run("maintenance list").await;
    assert!(ran.err.contains("no maintenance windows"), "{}", ran.err);
    let span = v1::MaintenanceSpan { starts_at: at(0), ends_at: at(7_200) };
    bench.fake.0.lock().windows =
        vec![v1::MaintenanceStatus { maintenance: Some(stored(BACKUP)), next: vec![span] }];
    let ran = bench.run("maintenance list").await;
    let when = "weekly on monday, sunday at 02:30 Europe/Berlin for 2h";
    assert!(ran.out.contains(when), "{}", ran.out);
    assert!(ran.out.contains("team=payments, check=~pay.*"), "{}", ran.out);
    assert!(ran.out.contains("2023-11-14T22:13:20.000Z"), "{}", ran.out);
    let ran = bench.run("maintenance get backup").await;
    assert!(ran.out.starts_with(&format!("backup  {when}\n")), "{}", ran.out);
    let next = "next       2023-11-14T22:13:20.000Z until 2023-11-15T00:13:20.000Z\n";
    assert!(ran.out.contains(next), "{}", ran.out);
    assert_eq!(bench.run("maintenance get other").await.exit, Exit::NotFound);
    let ran = bench.run("maintenance delete backup").await;
    assert!(ran.err.contains("maintenance backup deleted at revision 43"), "{}", ran.err);
    assert!(bench.fake.0.lock().windows.is_empty());
}

#[tokio::test]
async fn what_is_shown_of_a_window_can_be_written_into_a_file() {
    let bench = Bench::start().await;
    let once = "\
maintenance:
  - name: move
    matchers: [check=shop]
    from: 2026-12-01T22:00:00Z
    until: 2026-12-02T02:00:00Z
";
    let monthly = "\
maintenance:
  - {name: month, matchers: [a=b], every: monthly, day: 31, at: \"00:00\", for: 1m, zone: UTC}
";
    for text in [BACKUP, once, monthly] {
        let window = stored(text);
        let name = window.meta.as_ref().unwrap().name.clone();
        let status = v1::MaintenanceStatus { maintenance: Some(window.clone()), next: vec![] };
        bench.fake.0.lock().windows = vec![status];
        let ran = bench.run(&format!("maintenance get {name} -o json")).await;
        let mut json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let shown = json.as_object_mut().unwrap();
        for of_coordinator in ["namespace", "uid", "set", "etag", "next"] {
            assert!(shown.remove(of_coordinator).is_some(), "{of_coordinator}");
        }
        // JSON is YAML.
        let again = format!("maintenance: [{json}]\n");
        assert_eq!(stored(&again), window, "{again}");
    }
}
