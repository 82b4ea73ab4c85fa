use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use kube::Config;
use serde_json::{Value, json};
use tidepool_core::NodeId;
use tidepool_provisioner::{
    Desired, Kubernetes, KubernetesConfig, Limits, Outcome, ProvisionError, Provisioner,
};

use crate::ALWAYS;
use crate::server::{Answer, Asked, Server};

const SCALE: &str = "/apis/apps/v1/namespaces/tide/statefulsets/tidepool-node/scale";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/tide/deployments/tidepool-node/scale";
const HPAS: &str = "/apis/autoscaling/v2/namespaces/tide/horizontalpodautoscalers";

fn refusal(code: u16, reason: &str) -> Answer {
    let message = format!("{reason}: as the API server would say");
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code});
    (code, body)
}

fn scale(replicas: u32) -> Answer {
    let body = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {"name": "tidepool-node", "namespace": "tide", "resourceVersion": "41"},
        "spec": {"replicas": replicas}, "status": {"replicas": replicas, "selector": "app=tidepool-node"},
    });
    (200, body)
}

/// The API server with the least Role: get and patch of one scale, and nothing else.
fn least_role(replicas: Arc<AtomicU32>, path: &'static str) -> impl Fn(&Asked) -> Answer {
    move |asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", asked) if asked == path => scale(replicas.load(Ordering::SeqCst)),
        ("PATCH", requested) if requested == path => {
            if asked.body["metadata"]["resourceVersion"] != "41" {
                return refusal(409, "Conflict");
            }
            let count = asked.body["spec"]["replicas"].as_u64().unwrap();
            replicas.store(u32::try_from(count).unwrap(), Ordering::SeqCst);
            scale(replicas.load(Ordering::SeqCst))
        }
        _ => refusal(403, "Forbidden"),
    }
}

async fn against<F>(answer: F, workload: &str, limits: Limits) -> (Kubernetes, Arc<Server<F>>)
where
    F: Fn(&Asked) -> Answer + Send + Sync + 'static,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(answer);
    let shared = Arc::clone(&server);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(Arc::clone(&shared).serve(stream));
        }
    });
    let address = Config::new(format!("http://{address}").parse().unwrap());
    let config = KubernetesConfig {
        namespace: "tide".to_owned(),
        workload: workload.parse().unwrap(),
        pod_selector: None,
        limits,
    };
    (Kubernetes::to(address, config).unwrap(), server)
}

fn desired(count: u32, drain: &[&str]) -> Desired {
    Desired {
        count,
        drain: drain
            .iter()
            .map(|name| NodeId::new(name).unwrap())
            .collect(),
    }
}

#[tokio::test]
async fn the_least_role_suffices_to_scale_and_the_same_number_is_not_written_again() {
    let replicas = Arc::new(AtomicU32::new(2));
    let answer = least_role(Arc::clone(&replicas), SCALE);
    let (kubernetes, server) =
        against(answer, "statefulset/tidepool-node", Limits::default()).await;
    assert!(
        matches!(kubernetes.set(&desired(4, &[]), ALWAYS).await.unwrap(), Outcome::Changed(plan) if plan.count == 4)
    );
    assert_eq!(replicas.load(Ordering::SeqCst), 4);
    assert_eq!(
        kubernetes.set(&desired(4, &[]), ALWAYS).await.unwrap(),
        Outcome::Unchanged
    );
    let patches: Vec<_> = server
        .asked
        .lock()
        .unwrap()
        .iter()
        .filter(|a| a.method == "PATCH")
        .cloned()
        .collect();
    assert_eq!(patches.len(), 1);
    assert!(
        patches[0]
            .query
            .contains("fieldManager=tidepool-controller"),
        "{}",
        patches[0].query
    );
    let seen = kubernetes.observe().await.unwrap();
    assert_eq!((seen.existing, seen.nodes.len()), (4, 4));
}

#[tokio::test]
async fn a_stateful_set_ends_the_highest_ordinal_and_no_other() {
    let replicas = Arc::new(AtomicU32::new(3));
    let answer = least_role(Arc::clone(&replicas), SCALE);
    let (kubernetes, _) = against(answer, "statefulset/tidepool-node", Limits::default()).await;
    let error = kubernetes
        .set(&desired(2, &["tidepool-node-0"]), ALWAYS)
        .await
        .unwrap_err();
    assert!(matches!(error, ProvisionError::WrongNode { .. }), "{error}");
    assert_eq!(replicas.load(Ordering::SeqCst), 3);
    kubernetes
        .set(&desired(2, &["tidepool-node-2"]), ALWAYS)
        .await
        .unwrap();
    assert_eq!(replicas.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_missing_permission_is_named_as_it_would_be_written() {
    let (kubernetes, server) = against(
        |_| refusal(403, "Forbidden"),
        "deployment/tidepool-node",
        Limits::default(),
    )
    .await;
    let error = kubernetes.set(&desired(2, &[]), ALWAYS).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "get deployments/scale of tidepool-node is forbidden; grant in namespace tide {apiGroups: [apps], \
         resources: [deployments/scale], resourceNames: [tidepool-node], verbs: [get, patch]}"
    );
    assert_eq!(
        server.calls(),
        [format!("GET {DEPLOYMENT}")],
        "a refusal is not repeated"
    );
}

#[tokio::test]
async fn absence_and_conflict_are_told_and_overload_is_waited_for() {
    let (kubernetes, _) = against(
        |_| refusal(404, "NotFound"),
        "deployment/tidepool-node",
        Limits::default(),
    )
    .await;
    assert!(matches!(
        kubernetes.observe().await.unwrap_err(),
        ProvisionError::Absent(_)
    ));
    let conflict = |asked: &Asked| match asked.method.as_str() {
        "PATCH" => refusal(409, "Conflict"),
        _ if asked.path == DEPLOYMENT => scale(1),
        _ => refusal(403, "Forbidden"),
    };
    let (kubernetes, server) =
        against(conflict, "deployment/tidepool-node", Limits::default()).await;
    let error = kubernetes.set(&desired(2, &[]), ALWAYS).await.unwrap_err();
    assert!(matches!(error, ProvisionError::Failed { .. }), "{error}");
    assert_eq!(
        server
            .calls()
            .iter()
            .filter(|call| call.starts_with("PATCH"))
            .count(),
        1
    );
    let calls = AtomicU32::new(0);
    let busy = move |_: &Asked| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => refusal(429, "TooManyRequests"),
        1 => refusal(503, "ServiceUnavailable"),
        _ => scale(1),
    };
    let (kubernetes, _) = against(busy, "deployment/tidepool-node", Limits::default()).await;
    assert_eq!(kubernetes.observe().await.unwrap().existing, 1);
}

#[tokio::test]
async fn who_is_deposed_in_the_middle_of_a_call_writes_nothing_more() {
    // The lease goes to somebody else while this call of the leader is answered.
    for (until, writes) in [(("GET", HPAS), 0), (("PATCH", SCALE), 1)] {
        let leads = Arc::new(AtomicBool::new(true));
        let mandate = Arc::clone(&leads);
        let answer = move |asked: &Asked| {
            let answer = match (asked.method.as_str(), asked.path.as_str()) {
                ("GET", SCALE) => scale(2),
                ("PATCH", _) => refusal(503, "ServiceUnavailable"),
                _ => refusal(403, "Forbidden"),
            };
            if (asked.method.as_str(), asked.path.as_str()) == until {
                mandate.store(false, Ordering::SeqCst);
            }
            answer
        };
        let (kubernetes, server) =
            against(answer, "statefulset/tidepool-node", Limits::default()).await;
        let may_act = || leads.load(Ordering::SeqCst);
        let error = kubernetes
            .set(&desired(4, &[]), &may_act)
            .await
            .unwrap_err();
        assert!(matches!(error, ProvisionError::Deposed), "{error}");
        let calls = server.calls();
        let patches = calls.iter().filter(|call| call.starts_with("PATCH"));
        assert_eq!(patches.count(), writes, "{calls:?}");
    }
}

#[tokio::test]
async fn another_owner_of_the_number_is_respected() {
    let owned = |asked: &Asked| -> Answer {
        let owner: Value = json!({"metadata": {"name": "theirs"}, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "tidepool-node"}}});
        match asked.path.as_str() {
            DEPLOYMENT => scale(1),
            HPAS => (
                200,
                json!({"kind": "HorizontalPodAutoscalerList", "apiVersion": "autoscaling/v2", "metadata": {}, "items": [owner]}),
            ),
            _ => refusal(403, "Forbidden"),
        }
    };
    let (kubernetes, server) = against(owned, "deployment/tidepool-node", Limits::default()).await;
    let error = kubernetes.set(&desired(2, &[]), ALWAYS).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("HorizontalPodAutoscaler theirs owns"),
        "{error}"
    );
    assert!(server.calls().iter().all(|call| !call.starts_with("PATCH")));
}

#[tokio::test]
async fn limits_hold_and_a_trial_writes_nothing() {
    let replicas = Arc::new(AtomicU32::new(1));
    let limits = Limits {
        nodes_max: 5,
        starts_per_minute: 3,
        dry_run: false,
    };
    let (kubernetes, _) = against(
        least_role(Arc::clone(&replicas), DEPLOYMENT),
        "deployment/tidepool-node",
        limits,
    )
    .await;
    kubernetes.set(&desired(9, &[]), ALWAYS).await.unwrap();
    assert_eq!(replicas.load(Ordering::SeqCst), 4);
    assert_eq!(
        kubernetes.set(&desired(9, &[]), ALWAYS).await.unwrap(),
        Outcome::Unchanged
    );
    let trial = Limits {
        dry_run: true,
        ..Limits::default()
    };
    let (kubernetes, _) = against(
        least_role(Arc::clone(&replicas), DEPLOYMENT),
        "deployment/tidepool-node",
        trial,
    )
    .await;
    assert!(
        matches!(kubernetes.set(&desired(6, &[]), ALWAYS).await.unwrap(), Outcome::Would(plan) if plan.count == 6)
    );
    assert_eq!(replicas.load(Ordering::SeqCst), 4);
}
