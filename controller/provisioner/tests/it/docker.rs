use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tidepool_core::NodeId;
use tidepool_provisioner::{
    ContainerConfig, Containers, Desired, Limits, Outcome, ProvisionError, Provisioner,
};

use crate::ALWAYS;
use crate::server::{Answer, Asked, Server};

/// A container that cannot be removed.
const FAST: &str = "fast";

/// Containers by id: labels and state.
type Engine = Arc<Mutex<BTreeMap<String, (Value, &'static str)>>>;

/// What Docker's API answers to the calls that are made, by its version 1.41.
fn answer(engine: &Engine, asked: &Asked) -> Answer {
    let mut engine = engine.lock().unwrap();
    let path = asked
        .path
        .split_once("/containers")
        .map_or(asked.path.as_str(), |(_, rest)| rest);
    match (
        asked.method.as_str(),
        path.trim_start_matches('/')
            .split('/')
            .collect::<Vec<_>>()
            .as_slice(),
    ) {
        ("GET", ["json"]) => {
            let shown = |(id, (labels, state)): (&String, &(Value, &str))| json!({"Id": id, "Labels": labels, "State": state});
            (200, engine.iter().map(shown).collect())
        }
        ("POST", ["create"]) if asked.body["Image"] == "absent" => {
            (404, json!({"message": "No such image: absent"}))
        }
        ("POST", ["create"]) => {
            let id = format!("c{}", engine.len());
            engine.insert(id.clone(), (asked.body["Labels"].clone(), "created"));
            (201, json!({"Id": id, "Warnings": []}))
        }
        ("POST", [id, "start"]) => {
            engine.get_mut(*id).unwrap().1 = "running";
            (204, Value::Null)
        }
        ("POST", [id, "kill"]) => {
            engine.get_mut(*id).unwrap().1 = "exited";
            (204, Value::Null)
        }
        ("GET", [_, "json"]) => (
            200,
            json!({"State": {"Status": "exited", "ExitCode": 3, "OOMKilled": false, "Error": ""}}),
        ),
        ("GET", [_, "logs"]) => (200, Value::String(framed("no such secret\n"))),
        ("DELETE", [id]) if *id == FAST => (500, json!({"message": "removal of a busy container"})),
        ("DELETE", [id]) => {
            engine.remove(*id);
            (204, Value::Null)
        }
        _ if asked.path.ends_with("/version") => {
            (200, json!({"ApiVersion": "1.41", "Version": "20.10.24"}))
        }
        _ => (500, json!({"message": format!("not recorded: {asked:?}")})),
    }
}

/// A piece of standard error as the engine frames it.
fn framed(text: &str) -> String {
    let length = char::from(u8::try_from(text.len()).unwrap());
    format!("\u{2}\0\0\0\0\0\0{length}{text}")
}

fn config(socket: &str, image: &str) -> ContainerConfig {
    ContainerConfig {
        socket: socket.to_owned(),
        cluster: "tide".to_owned(),
        prefix: "node".to_owned(),
        epoch: 7,
        image: image.to_owned(),
        network: "tide-net".to_owned(),
        command: vec!["node".to_owned()],
        environment: Box::new(|name| vec![("NODE".to_owned(), name.to_string())]),
        mounts: vec![("/etc/tide/secret".to_owned(), "/run/secret".to_owned())],
        memory_bytes: 64 << 20,
        cpu_millis: 500,
        grace_s: 10,
        limits: Limits::default(),
    }
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
async fn containers_are_made_confined_adopted_and_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let engine = Engine::default();
    let shared = Arc::clone(&engine);
    let server = Server::new(move |asked: &Asked| answer(&shared, asked));
    let serving = Arc::clone(&server);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(Arc::clone(&serving).serve(stream));
        }
    });
    let socket = path.to_str().unwrap();
    let containers = Containers::new(config(socket, "tidepool")).unwrap();
    let outcome = containers.set(&desired(2, &[]), ALWAYS).await.unwrap();
    assert!(
        matches!(&outcome, Outcome::Changed(plan) if plan.start.len() == 2),
        "{outcome:?}"
    );
    let made = server
        .asked
        .lock()
        .unwrap()
        .iter()
        .find(|asked| asked.path.ends_with("/create"))
        .cloned()
        .unwrap();
    let host = &made.body["HostConfig"];
    assert_eq!(host["ReadonlyRootfs"], true);
    assert_eq!(host["CapDrop"], json!(["ALL"]));
    assert_eq!(host["Memory"], 64 << 20);
    assert_eq!(host["NanoCpus"], 500_000_000);
    assert_eq!(host["NetworkMode"], "tide-net");
    assert_eq!(host["PidsLimit"], 512);
    assert_eq!(host["Tmpfs"], json!({"/tmp": "size=64m,mode=1777"}));
    let secret = json!({
        "Type": "bind", "Source": "/etc/tide/secret", "Target": "/run/secret", "ReadOnly": true,
    });
    assert_eq!(host["Mounts"], json!([secret]));
    assert_eq!(host["Binds"], json!(null));
    assert_eq!(
        made.body["Labels"],
        json!({"io.tidepool.cluster": "tide", "io.tidepool.node": "node-0", "io.tidepool.epoch": "7"})
    );
    // The next leader finds them, and ends the drained one.
    let next = Containers::new(config(socket, "tidepool")).unwrap();
    assert_eq!(
        next.set(&desired(2, &[]), ALWAYS).await.unwrap(),
        Outcome::Unchanged
    );
    next.set(&desired(1, &["node-0"]), ALWAYS).await.unwrap();
    assert_eq!(
        next.set(&desired(1, &["node-0"]), ALWAYS).await.unwrap(),
        Outcome::Unchanged
    );
    let asked = server.asked.lock().unwrap().clone();
    let removed = asked.iter().find(|asked| asked.method == "DELETE").unwrap();
    assert!(removed.query.contains("v=true"), "{}", removed.query);
    let left = next.observe().await.unwrap();
    assert_eq!((left.existing, left.nodes[0].name.as_str()), (1, "node-1"));
    let absent = Containers::new(config(socket, "absent")).unwrap();
    let error = absent.set(&desired(2, &[]), ALWAYS).await.unwrap_err();
    assert!(matches!(error, ProvisionError::Absent(_)), "{error}");
}

#[tokio::test]
async fn who_is_deposed_in_the_middle_of_a_call_makes_and_starts_nothing_more() {
    // The lease goes to somebody else while this call of the leader is answered.
    for (until, made) in [("/containers/json", 0), ("/containers/create", 1)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let engine = Engine::default();
        let leads = Arc::new(AtomicBool::new(true));
        let (shared, mandate) = (Arc::clone(&engine), Arc::clone(&leads));
        let server = Server::new(move |asked: &Asked| {
            if asked.path.ends_with(until) {
                mandate.store(false, Ordering::SeqCst);
            }
            answer(&shared, asked)
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&server).serve(stream));
            }
        });
        let containers = Containers::new(config(path.to_str().unwrap(), "tidepool")).unwrap();
        let may_act = || leads.load(Ordering::SeqCst);
        let error = containers
            .set(&desired(2, &[]), &may_act)
            .await
            .unwrap_err();
        assert!(matches!(error, ProvisionError::Deposed), "{error}");
        let engine = engine.lock().unwrap();
        assert_eq!(engine.len(), made);
        assert!(engine.values().all(|(_, state)| *state == "created"));
    }
}

#[tokio::test]
async fn a_container_that_ended_by_itself_is_told_of_once_with_its_code_and_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let engine = Engine::default();
    let labels = json!({"io.tidepool.cluster": "tide", "io.tidepool.node": "node-0"});
    engine
        .lock()
        .unwrap()
        .insert(FAST.to_owned(), (labels, "exited"));
    let shared = Arc::clone(&engine);
    let server = Server::new(move |asked: &Asked| answer(&shared, asked));
    let serving = Arc::clone(&server);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(Arc::clone(&serving).serve(stream));
        }
    });
    let written = Written::default();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(written.clone())
        .finish();
    let _logs = tracing::subscriber::set_default(subscriber);
    let containers = Containers::new(config(path.to_str().unwrap(), "tidepool")).unwrap();
    for _ in 0..2 {
        let error = containers.set(&desired(1, &[]), ALWAYS).await.unwrap_err();
        assert!(error.to_string().contains("busy"), "{error}");
    }
    let told = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    assert_eq!(told.matches("ended by itself").count(), 1, "{told}");
    assert!(told.contains("exit_code=3"), "{told}");
    assert!(told.contains("no such secret"), "{told}");
    let seen = containers.observe().await.unwrap();
    assert_eq!(seen.failed_starts, 1, "it failed once");
}

/// What was logged.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
