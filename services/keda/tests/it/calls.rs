//! What each call answers.

use std::time::Duration;

use tonic::Code;

use crate::client::{Active, Client, Metric, Metrics, Question, object};
use crate::fleet::{connected, serve};

const PATIENCE: Duration = Duration::from_secs(20);

fn metric(value: i32) -> Vec<Metric> {
    vec![Metric {
        name: "tidepool-echo".into(),
        whole: value.into(),
        real: value.into(),
    }]
}

#[tokio::test]
async fn the_number_is_the_target_to_the_worker() {
    let (fleet, server, client) = connected().await;
    for target in [1, 7, 0] {
        fleet.show(target, Some(0.2));
        let value = i32::try_from(target).unwrap();
        assert_eq!(client.values("echo").await.unwrap(), metric(value));
        assert_eq!(client.is_active("echo").await.unwrap(), target > 0);
        let specs = client.specs(object(&[("pool", "echo")])).await.unwrap();
        assert_eq!(specs, metric(1));
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_known_is_an_error_but_its_name_is_told() {
    let (fleet, _server, client) = connected().await;
    for unknown in ["undecided", "unmeasured", "long ago"] {
        match unknown {
            "undecided" => {}
            "unmeasured" => fleet.show(3, None),
            _ => fleet.show(3, Some(10.0)),
        }
        let metrics = client.values("echo").await.unwrap_err();
        let active = client.is_active("echo").await.unwrap_err();
        for fault in [metrics, active] {
            assert_eq!(fault.code(), Code::Unavailable, "{unknown}: {fault}");
            assert!(fault.message().contains("echo"), "{fault}");
        }
        let specs = client.specs(object(&[("pool", "echo")])).await.unwrap();
        assert_eq!(specs, metric(1), "{unknown}");
    }
}

#[tokio::test]
async fn a_fault_of_the_trigger_is_told_with_the_pools_there_are() {
    let (fleet, _server, client) = connected().await;
    fleet.show(3, Some(0.1));
    for (metadata, code) in [
        (&[][..], Code::InvalidArgument),
        (&[("pool", " ")], Code::InvalidArgument),
        (&[("Pool", "echo")], Code::InvalidArgument),
        (&[("pool", "eco")], Code::NotFound),
    ] {
        let object = object(metadata);
        let question = Question {
            object: Some(object.clone()),
            name: String::new(),
        };
        let faults = [
            client.specs(object.clone()).await.unwrap_err(),
            client.stream(object.clone()).await.unwrap_err(),
            client
                .call::<_, Active>("IsActive", object)
                .await
                .unwrap_err(),
            client
                .call::<_, Metrics>("GetMetrics", question)
                .await
                .unwrap_err(),
        ];
        for fault in faults {
            assert_eq!(fault.code(), code, "{metadata:?}: {fault}");
            assert!(fault.message().contains("echo, grammar"), "{fault}");
        }
    }
    let empty = client.call::<_, Metrics>("GetMetrics", Question::default());
    assert_eq!(empty.await.unwrap_err().code(), Code::InvalidArgument);
    let foreign = Question {
        object: Some(object(&[("pool", "echo")])),
        name: "tidepool-grammar".into(),
    };
    let fault = client.call::<_, Metrics>("GetMetrics", foreign).await;
    assert_eq!(fault.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_stream_tells_the_state_and_then_its_changes() {
    let (fleet, server, client) = connected().await;
    let mut states = client.stream(object(&[("pool", "echo")])).await.unwrap();
    let mut next = async || {
        let state = tokio::time::timeout(PATIENCE, states.message()).await;
        let state = state.expect("a change is told").unwrap();
        state.map(|active| active.result)
    };
    fleet.show(2, Some(0.1));
    assert_eq!(next().await, Some(true));
    // Neither another number nor the loss of measurements is a change.
    fleet.show(5, Some(0.1));
    tokio::time::sleep(Duration::from_millis(600)).await;
    fleet.show(0, None);
    tokio::time::sleep(Duration::from_millis(600)).await;
    fleet.show(0, Some(0.1));
    assert_eq!(next().await, Some(false));
    fleet.show(1, Some(0.1));
    assert_eq!(next().await, Some(true));
    let late = client.stream(object(&[("pool", "echo")])).await;
    let first = late.unwrap().message().await.unwrap();
    assert_eq!(first, Some(Active { result: true }));
    // A stop ends it as a stream ends that has told all: KEDA then comes back soon.
    let stop = tokio::time::timeout(PATIENCE, server.stop());
    let (stopped, end) = tokio::join!(stop, next());
    stopped.expect("a stop within its time");
    assert_eq!(end, None);
}

#[tokio::test]
async fn what_is_not_served_is_said_to_be_so() {
    let (_fleet, _server, client) = connected().await;
    let object = object(&[("pool", "echo")]);
    let fault = client.call::<_, Metrics>("StreamMetricSpec", object).await;
    assert_eq!(fault.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_token_comes_by_the_trigger_or_by_a_header() {
    let (fleet, server) = serve(Some("lighthouse"));
    fleet.show(3, Some(0.1));
    let client = Client::connect(server.addr()).await;
    let authorized = client.clone().authorized("Bearer lighthouse");
    assert_eq!(authorized.values("echo").await.unwrap(), metric(3));
    let by_trigger = object(&[("pool", "echo"), ("tokenFromEnv", "lighthouse")]);
    assert_eq!(client.specs(by_trigger).await.unwrap(), metric(1));
    let wrong = object(&[("pool", "echo"), ("tokenFromEnv", "lighthous")]);
    let faults = [
        client.values("echo").await.unwrap_err(),
        client.is_active("echo").await.unwrap_err(),
        client.specs(wrong).await.unwrap_err(),
        client.stream(object(&[])).await.unwrap_err(),
    ];
    for fault in faults {
        assert_eq!(fault.code(), Code::Unauthenticated, "{fault}");
        // Who may not ask is not told what there is.
        assert!(!fault.message().contains("grammar"), "{fault}");
    }
}
