//! A supervisor of several nodes and balancers, which may be replaced.

use super::*;

fn report_of(node: &str, workers: u64) -> NodeReport {
    let ready = |n| worker(n, WorkerState::Ready, None);
    let mut report = node_report((0..workers).map(ready).collect());
    report.node = NodeId::new(node).unwrap();
    report
}

#[actix::test]
async fn who_takes_over_adopts_what_runs_on_all_nodes_together() {
    let scene = Scene::start(quick()).await;
    let reports = vec![report_of("a", 2), report_of("b", 2)];
    let present = reports.iter().map(|report| report.node.clone()).collect();
    let fleet = FleetReports { present, reports };
    scene.addr.send(fleet).await.unwrap();
    assert_eq!(scene.outside.last_target().n, 4);
}

#[actix::test]
async fn a_node_that_is_gone_is_not_counted() {
    let scene = Scene::start(quick()).await;
    let reports = vec![report_of("a", 2), report_of("b", 1)];
    let present = BTreeSet::from([NodeId::new("b").unwrap()]);
    let both = reports.iter().map(|report| report.node.clone()).collect();
    let fleet = |present, reports| FleetReports { present, reports };
    scene.addr.send(fleet(both, reports)).await.unwrap();
    scene.addr.send(fleet(present, vec![])).await.unwrap();
    scene.addr.send(Tick).await.unwrap();
    scene.outside.now_ms.fetch_add(1_000, Ordering::Relaxed);
    scene.addr.send(Tick).await.unwrap();
    assert_eq!(scene.view.pools()[0].ready, 1);
}

#[actix::test]
async fn a_retired_supervisor_leaves_no_numbers_and_decides_no_more() {
    let scene = Scene::start(quick()).await;
    let report = report_of("a", 2);
    scene.addr.send(NodeReports(report.clone())).await.unwrap();
    assert_eq!(scene.metric("tidepool_pool_target", ""), Some(2.0));
    scene.addr.send(Retire).await.unwrap();
    let told = scene.outside.targets.lock().len();
    // Whether it still takes messages does not matter.
    let _ = scene.addr.send(NodeReports(report)).await;
    assert!(scene.registry.gather().is_empty());
    assert_eq!(scene.outside.targets.lock().len(), told);
}

#[actix::test]
async fn what_several_balancers_report_is_decided_about_as_one_load() {
    let scene = Scene::start(quick()).await;
    scene
        .addr
        .send(NodeReports(report_of("a", 2)))
        .await
        .unwrap();
    let present: BTreeSet<String> = ["x", "y"].map(str::to_owned).into();
    let of = |balancer: &str| (balancer.to_owned(), pool_report(40, 2.0));
    let reports = vec![of("x"), of("y")];
    let message = BalancerReports { present, reports };
    scene.addr.send(message).await.unwrap();
    let status = scene.view.pools().remove(0);
    assert_eq!(status.slots, 8, "the slots of both");
    let explained = scene.view.explain(&status.pool).unwrap();
    assert_eq!(explained.decision["observed_rate"], 80.0);
}

#[actix::test]
async fn a_balancer_that_is_gone_holds_up_nobody() {
    let scene = Scene::start(quick()).await;
    let node = NodeReports(report_of("a", 2));
    scene.addr.send(node).await.unwrap();
    let tell = async |names: &[&str], reporting: &[&str]| {
        let present = names.iter().map(|name| (*name).to_owned()).collect();
        let of = |name: &&str| ((*name).to_owned(), pool_report(40, 2.0));
        let reports = reporting.iter().map(of).collect();
        let message = BalancerReports { present, reports };
        scene.addr.send(message).await.unwrap();
        let explained = scene.view.explain(&pool_name()).unwrap();
        explained.decision["observed_rate"].as_f64()
    };
    assert_eq!(tell(&["x", "y"], &["x", "y"]).await, Some(80.0));
    scene.outside.now_ms.fetch_add(1_000, Ordering::Relaxed);
    let alone = tell(&["x"], &["x"]).await.unwrap();
    assert!(alone < 80.0, "{alone}");
}
