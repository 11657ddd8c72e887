//! Members by their names, wherever records have their numbers.

use super::*;

#[tonic::async_trait]
impl v1::cluster_service_server::ClusterService for Fake {
    async fn get_cluster(
        &self,
        request: Request<v1::GetClusterRequest>,
    ) -> Result<Response<v1::GetClusterResponse>, Status> {
        assert!(request.into_inner().stale, "names need no leader");
        let members = self.0.lock().members.clone();
        match members.is_empty() {
            true => Err(Status::unimplemented("what is that")),
            false => Ok(Response::new(v1::GetClusterResponse { members, ..Default::default() })),
        }
    }

    async fn add_member(
        &self,
        _request: Request<v1::AddMemberRequest>,
    ) -> Result<Response<v1::AddMemberResponse>, Status> {
        Err(Status::unimplemented("no changes"))
    }

    async fn promote_member(
        &self,
        _request: Request<v1::PromoteMemberRequest>,
    ) -> Result<Response<v1::PromoteMemberResponse>, Status> {
        Err(Status::unimplemented("no changes"))
    }

    async fn remove_member(
        &self,
        _request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        Err(Status::unimplemented("no changes"))
    }

    async fn transfer_leadership(
        &self,
        _request: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
        Err(Status::unimplemented("no changes"))
    }
}

#[tokio::test]
async fn an_incident_names_the_members_that_tried_a_page_and_numbers_those_that_nobody_names() {
    let bench = Bench::start().await;
    let attempt = |number: u32, by: u64| v1::DeliveryAttempt {
        at: at(i64::from(number)),
        number,
        by,
        result: v1::AttemptResult::NotSent.into(),
        error: "connection refused".to_owned(),
    };
    bench.fake.0.lock().incident = v1::Incident {
        uid: "0190b2a4".to_owned(),
        check_name: "shop".to_owned(),
        deliveries: vec![v1::Delivery {
            contact_name: "ops".to_owned(),
            attempts: 3,
            history: vec![attempt(1, 1), attempt(2, 2), attempt(3, 9)],
            ..v1::Delivery::default()
        }],
        timeline: vec![v1::TimelineEvent {
            at: at(3),
            event: Some(v1::timeline_event::Event::PageReassigned(v1::PageReassigned {
                contact: "ops".to_owned(),
                from: 1,
                to: 2,
                ..v1::PageReassigned::default()
            })),
        }],
        ..v1::Incident::default()
    };
    let ran = bench.run("incident get 0190b2a4").await;
    assert!(ran.out.contains("not sent by 1: connection refused"), "{}", ran.out);
    assert!(ran.out.contains("handed from coordinator 1 to 2"), "{}", ran.out);
    let member = |node_id: u64, name: &str| v1::ClusterMember {
        node_id,
        name: name.to_owned(),
        ..v1::ClusterMember::default()
    };
    bench.fake.0.lock().members = vec![member(1, "c1"), member(2, "c2"), member(9, "")];
    let ran = bench.run("incident get 0190b2a4").await;
    for said in
        ["not sent by c1:", "not sent by c2:", "not sent by 9:", "from coordinator c1 to c2"]
    {
        assert!(ran.out.contains(said), "{said} is not in\n{}", ran.out);
    }
    let ran = bench.run("incident get 0190b2a4 -o json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let history = &json["deliveries"][0]["history"];
    assert_eq!((&history[0]["by"], &history[0]["by_name"]), (&1.into(), &"c1".into()));
    assert!(history[2].get("by_name").is_none(), "{history}");
}
