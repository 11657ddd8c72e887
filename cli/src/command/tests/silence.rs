//! Silences, and what is shown of an incident that is silenced.

use super::*;

#[tonic::async_trait]
impl v1::silence_service_server::SilenceService for Fake {
    async fn add_silence(
        &self,
        request: Request<v1::AddSilenceRequest>,
    ) -> Result<Response<v1::AddSilenceResponse>, Status> {
        self.0.lock().silenced.push(request.into_inner());
        self.write()?;
        let silence = self.0.lock().silences.first().cloned();
        Ok(Response::new(v1::AddSilenceResponse { silence, revision: 43 }))
    }

    async fn list_silences(
        &self,
        request: Request<v1::ListSilencesRequest>,
    ) -> Result<Response<v1::ListSilencesResponse>, Status> {
        let ended = request.into_inner().ended;
        let wanted = |silence: &v1::Silence| ended || silence.expired_by.is_empty();
        let silences = self.0.lock().silences.iter().filter(|it| wanted(it)).cloned().collect();
        Ok(Response::new(v1::ListSilencesResponse {
            silences,
            revision: 42,
            ..v1::ListSilencesResponse::default()
        }))
    }

    async fn get_silence(
        &self,
        request: Request<v1::GetSilenceRequest>,
    ) -> Result<Response<v1::GetSilenceResponse>, Status> {
        let uid = request.into_inner().uid;
        let silence = self.0.lock().silences.iter().find(|it| it.uid.starts_with(&uid)).cloned();
        let silence = silence.ok_or_else(|| Status::not_found("there is no such silence"))?;
        Ok(Response::new(v1::GetSilenceResponse { silence: Some(silence), revision: 42 }))
    }

    async fn expire_silence(
        &self,
        request: Request<v1::ExpireSilenceRequest>,
    ) -> Result<Response<v1::ExpireSilenceResponse>, Status> {
        self.0.lock().expired.push(request.into_inner());
        self.write()?;
        let mut silence = self.0.lock().silences.first().cloned();
        if let Some(silence) = &mut silence {
            silence.expired_by = "ben".to_owned();
        }
        Ok(Response::new(v1::ExpireSilenceResponse { silence, revision: 44 }))
    }
}

fn silence(uid: &str, expired_by: &str) -> v1::Silence {
    let matcher = |key: &str, operator: v1::MatchOperator, value: &str| v1::Matcher {
        key: key.to_owned(),
        operator: operator.into(),
        value: value.to_owned(),
    };
    v1::Silence {
        uid: uid.to_owned(),
        namespace: "default".to_owned(),
        matchers: vec![
            matcher("check", v1::MatchOperator::Equal, "shop"),
            matcher("team", v1::MatchOperator::NotPattern, "pay.*"),
        ],
        comment: "moving\u{1b}[31m".to_owned(),
        created_by: "anna".to_owned(),
        created_at: at(0),
        starts_at: at(0),
        ends_at: at(3_600),
        expired_by: expired_by.to_owned(),
        ..v1::Silence::default()
    }
}

#[tokio::test]
async fn a_silence_is_asked_for_with_all_that_was_said() {
    let bench = Bench::start().await;
    bench.fake.0.lock().silences = vec![silence("0190", "")];
    let line = "silence add --check shop -m team!~pay.* --for 1h --from 2023-11-14T22:13:20Z \
                --comment moving";
    let ran = bench.run(line).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, ""));
    assert_eq!(
        ran.err,
        "silence 0190 (check=shop, team!~pay.*) is active until 2023-11-14T23:13:20.000Z at \
         revision 43\n"
    );
    let asked = bench.fake.0.lock().silenced[0].clone();
    assert_eq!(asked.matchers, silence("", "").matchers);
    assert_eq!((asked.comment.as_str(), asked.starts_at), ("moving", at(0)));
    let hour = prost_types::Duration { seconds: 3_600, nanos: 0 };
    assert_eq!(asked.end, Some(v1::add_silence_request::End::Length(hour)));
    let ran =
        bench.run("silence add -m a=b --until 2023-11-14T23:13:20Z --comment c -o json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["state"], "active");
    assert_eq!(json["matchers"][1], "team!~pay.*");
    let asked = bench.fake.0.lock().silenced[1].clone();
    assert_eq!(asked.starts_at, None);
    assert_eq!(asked.end, at(3_600).map(v1::add_silence_request::End::EndsAt));
}

#[tokio::test]
async fn silences_are_listed_shown_and_ended() {
    let bench = Bench::start().await;
    bench.fake.0.lock().silences = vec![silence("0191", ""), silence("0190", "ben")];
    let ran = bench.run("silence list").await;
    assert!(ran.out.starts_with("UID   STATE   MATCHERS"), "{}", ran.out);
    assert!(ran.out.contains("0191  active  check=shop, team!~pay.*"), "{}", ran.out);
    assert!(!ran.out.contains("0190") && !ran.out.contains('\u{1b}'), "{}", ran.out);
    let ran = bench.run("silence list --ended").await;
    assert!(ran.out.contains("0190  ended"), "{}", ran.out);
    let ran = bench.run("silence get 0190").await;
    assert!(ran.out.contains("ended by   ben") && ran.out.contains("by         anna"));
    assert_eq!(bench.run("silence get 7").await.exit, Exit::NotFound);
    let ran = bench.run("silence expire 0191").await;
    assert!(ran.err.contains("(check=shop, team!~pay.*) has ended at revision 44"), "{}", ran.err);
    assert_eq!(bench.fake.0.lock().expired[0].uid, "0191");
}

#[tokio::test]
async fn an_incident_that_is_silenced_says_so_wherever_it_is_shown() {
    let bench = Bench::start().await;
    let held = v1::Held {
        since: at(0),
        until: at(3_600),
        by: Some(v1::held::By::Silence(v1::HeldBySilence {
            uid: "0190".to_owned(),
            created_by: "anna".to_owned(),
            comment: "moving".to_owned(),
        })),
    };
    let event = |event| v1::TimelineEvent { at: at(0), event: Some(event) };
    {
        use v1::timeline_event::Event;
        let mut state = bench.fake.0.lock();
        state.incident = v1::Incident {
            uid: "0199".to_owned(),
            kind: v1::IncidentKind::Down.into(),
            check_name: "shop".to_owned(),
            opened_at: at(0),
            held: Some(held.clone()),
            timeline: vec![
                event(Event::PagesHeld(v1::PagesHeld { held: Some(held.clone()) })),
                event(Event::PagesReleased(v1::PagesReleased {})),
            ],
            ..v1::Incident::default()
        };
        state.status.rows = vec![v1::StatusRow {
            name: "shop".to_owned(),
            enabled: true,
            verdict: v1::Verdict::Down.into(),
            held: Some(held),
            ..v1::StatusRow::default()
        }];
        state.watch = vec![v1::WatchResponse {
            revision: 43,
            change: Some(v1::watch_response::Change::Silence(silence("0191", ""))),
            ..v1::WatchResponse::default()
        }];
    }
    let said = "silenced until 2023-11-14T23:13:20.000Z by anna: moving";
    let ran = bench.run("incident get 0199").await;
    assert!(ran.out.contains(&format!("quiet         {said}\n")), "{}", ran.out);
    assert!(ran.out.contains(&format!("no page yet: {said}\n")), "{}", ran.out);
    assert!(ran.out.contains("no longer quiet: its pages go out\n"), "{}", ran.out);
    let ran = bench.run("incident list").await;
    assert!(ran.out.contains("silenced"), "{}", ran.out);
    let ran = bench.run("status").await;
    assert!(ran.out.contains("down (silenced)"), "{}", ran.out);
    let ran = bench.run("status -o json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["checks"][0]["held"]["by"], "silence");
    assert_eq!(json["checks"][0]["held"]["comment"], "moving");
    let ran = bench.run("watch --from 1").await;
    assert!(ran.out.contains("silence 0191 (check=shop, team!~pay.*) is active"), "{}", ran.out);
}

#[tokio::test]
async fn an_incident_behind_another_check_says_which() {
    let bench = Bench::start().await;
    let held = |ended: bool| v1::Held {
        since: at(0),
        until: ended.then(|| at(60)).flatten(),
        by: Some(v1::held::By::Parent(v1::HeldByParent {
            check_uid: "0177".to_owned(),
            check_name: "dns".to_owned(),
            incident_uid: "0188".to_owned(),
            ended,
        })),
    };
    for (ended, said) in [
        (false, "suppressed by dns, which is down"),
        (true, "suppressed by dns, which was down; looked at again 2023-11-14T22:14:20.000Z"),
    ] {
        bench.fake.0.lock().incident = v1::Incident {
            uid: "0199".to_owned(),
            kind: v1::IncidentKind::Down.into(),
            check_name: "shop".to_owned(),
            opened_at: at(0),
            held: Some(held(ended)),
            ..v1::Incident::default()
        };
        let ran = bench.run("incident get 0199").await;
        assert!(ran.out.contains(&format!("quiet         {said}\n")), "{}", ran.out);
        let ran = bench.run("incident get 0199 -o json").await;
        let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let held = &json["held"];
        assert_eq!((&held["by"], &held["parent"]), (&"parent".into(), &"dns".into()), "{json}");
        assert_eq!(held["parent_incident"], "0188");
    }
}
