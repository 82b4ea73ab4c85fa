use tidepool_policy::{Policy, WorkSample};
use tidepool_profile::Challenge;
use tidepool_store::EmbeddedStore;

use super::*;
use crate::actor::tests::plan;
use crate::intake::tests::pool_name;
use crate::troubled::{Access, TroubledKv};

const HOUR_MS: u64 = 3_600_000;
const BEGIN: u64 = 472_222 * HOUR_MS;

fn store() -> Arc<dyn Kv> {
    Arc::new(EmbeddedStore::ephemeral().unwrap())
}

type Told = Arc<Mutex<Vec<EventDraft>>>;

async fn load(kv: &Arc<dyn Kv>, zone: &str) -> (Patterns, Told) {
    let told = Told::default();
    let events = Arc::clone(&told);
    let publish = Arc::new(move |event| events.lock().push(event));
    let plans = [plan(Policy::tidepool(1, 8))];
    let learning = Learning { zone, speed: 1.0 };
    let patterns = Patterns::load(Arc::clone(kv), &plans, learning, publish).await;
    (patterns.unwrap(), told)
}

fn observation(rate: f64) -> Observation {
    Observation {
        work: Some(WorkSample {
            window_s: 60.0,
            arrivals: rate * 60.0,
            ..WorkSample::default()
        }),
        startup_p95_s: Some(600.0),
        ..Observation::default()
    }
}

/// Days of a load that swells and ebbs.
fn teach(patterns: &Patterns, days: u64) -> (Observation, Timestamp) {
    let mut last = observation(0.0);
    let mut now = Timestamp(BEGIN);
    for minute in 1..=days * 24 * 60 {
        now = Timestamp(BEGIN + minute * 60_000);
        let day = (now.0 % (24 * HOUR_MS)) as f64 / (24 * HOUR_MS) as f64;
        last = observation(50.0 + 45.0 * (std::f64::consts::TAU * day).sin());
        patterns.attend(&pool_name(), &mut last, 2.0, now);
    }
    (last, now)
}

#[tokio::test]
async fn what_is_learned_reaches_the_decision_and_survives() {
    let kv = store();
    let (patterns, _) = load(&kv, "UTC").await;
    let mut fresh = observation(5.0);
    patterns.attend(&pool_name(), &mut fresh, 2.0, Timestamp(BEGIN));
    assert_eq!(fresh.forecast, None, "nothing is known yet");
    let (last, now) = teach(&patterns, 21);
    assert!(last.forecast.is_some(), "a regular load is worth believing");
    let shown = patterns.pattern(&pool_name()).unwrap();
    assert_eq!(shown["hours"].as_array().unwrap().len(), 168);
    let outlook = patterns.forecast(&pool_name(), now).unwrap();
    assert_eq!(outlook["believed"], true);
    assert!(outlook["points"].as_array().unwrap().len() >= 288);
    assert!(outlook["coverage"].as_f64().unwrap() > 0.5);

    let saves = patterns.saves(&pool_name(), now);
    assert_eq!(saves.len(), 2, "the pattern and its challenger");
    let bytes = saves.iter().map(|save| save.encoded().unwrap().len());
    assert!(bytes.clone().all(|bytes| bytes < 200_000), "{bytes:?}");
    crate::Keeper::start(Arc::clone(&kv)).finish(saves).await;
    let (again, told) = load(&kv, "UTC").await;
    assert!(told.lock().is_empty());
    let mut next = observation(5.0);
    again.attend(&pool_name(), &mut next, 2.0, Timestamp(now.0 + 60_000));
    assert!(next.forecast.is_some(), "a restart forgets nothing");
    // Another zone means other hours.
    let (_, told) = load(&kv, "Asia/Tokyo").await;
    assert_eq!(told.lock().len(), 1);
}

#[tokio::test]
async fn late_requests_move_the_quantile_of_the_floor() {
    let (patterns, _) = load(&store(), "UTC").await;
    let (mut last, now) = teach(&patterns, 2);
    let quantile = |patterns: &Patterns| patterns.forecast_of(&pool_name()).unwrap().quantile;
    let before = quantile(&patterns);
    let work = last.work.as_mut().unwrap();
    work.late = Some(0.1 * work.arrivals);
    patterns.attend(&pool_name(), &mut last, 2.0, Timestamp(now.0 + 60_000));
    assert!(quantile(&patterns) > before.max(0.99), "{before}");
}

#[test]
fn policy_and_pattern_mean_the_same_quantiles() {
    assert_eq!(
        tidepool_policy::PATTERN_QUANTILES,
        tidepool_profile::QUANTILES
    );
}

#[tokio::test]
async fn an_export_can_be_imported_and_nonsense_cannot() {
    let (teacher, _) = load(&store(), "UTC").await;
    let (_, now) = teach(&teacher, 8);
    let kv = store();
    let (pupil, events) = load(&kv, "UTC").await;
    let exported = teacher.pattern(&pool_name()).unwrap();
    pupil
        .clone()
        .import(pool_name(), exported.clone(), "ann".into())
        .await
        .unwrap();
    let learned = pupil.pattern(&pool_name()).unwrap();
    assert_eq!(learned["document"]["week"], exported["document"]["week"]);
    let event = events.lock().pop().unwrap();
    assert_eq!(event.kind, "config.applied");
    assert_eq!(event.data["pool"], pool_name().as_str());
    assert_eq!(event.data["by"], "ann");
    let sentence = "learned hours imported by ann: 168 of 168 are known, 0 were before";
    assert_eq!(event.data["sentence"], sentence);
    let points = |patterns: &Patterns| patterns.forecast(&pool_name(), now).unwrap();
    assert!(!points(&pupil)["points"].as_array().unwrap().is_empty());
    let (kept, _) = load(&kv, "UTC").await;
    let week =
        |patterns: &Patterns| patterns.pattern(&pool_name()).unwrap()["document"]["week"].take();
    assert_eq!(week(&kept), exported["document"]["week"]);

    let mut corrupt = exported["document"].clone();
    corrupt["week"][17]["rate"] = json!(-3.0);
    let told = pupil
        .clone()
        .import(pool_name(), corrupt, "ann".into())
        .await
        .unwrap_err();
    assert!(told.to_string().contains("week[17]"), "{told}");
    let told = pupil
        .clone()
        .import(pool_name(), json!({}), "ann".into())
        .await
        .unwrap_err();
    assert!(matches!(told, ChangeError::Invalid { .. }));
    assert!(events.lock().is_empty(), "nothing was applied");
    assert_eq!(week(&pupil), exported["document"]["week"]);
}

async fn load_sped_up(kv: &Arc<dyn Kv>) -> (Patterns, Told) {
    let told = Told::default();
    let events = Arc::clone(&told);
    let publish = Arc::new(move |event| events.lock().push(event));
    let plans = [plan(Policy::tidepool(1, 8))];
    let learning = Learning {
        zone: "UTC",
        speed: 2_000.0,
    };
    let patterns = Patterns::load(Arc::clone(kv), &plans, learning, publish).await;
    (patterns.unwrap(), told)
}

#[tokio::test]
async fn days_that_never_were_are_neither_kept_nor_loaded() {
    let kv = store();
    let kept = [Kept::Pattern, Kept::Challenger].map(|kept| kept.key(&pool_name()));
    let real = bytes::Bytes::from_static(b"of real days");
    for key in &kept {
        kv.put(key, real.clone(), None).await.unwrap();
    }
    let (patterns, told) = load_sped_up(&kv).await;
    assert!(patterns.saves(&pool_name(), Timestamp(BEGIN)).is_empty());
    let shown = patterns.pattern(&pool_name()).unwrap();
    let import = patterns.import(pool_name(), shown, "y".repeat(99));
    import.await.unwrap();
    assert_eq!(told.lock().pop().unwrap().data["by"], "y".repeat(64));
    assert!(told.lock().is_empty());
    for key in &kept {
        assert_eq!(kv.get(key).await.unwrap().unwrap().bytes, real);
    }
}

#[tokio::test]
async fn an_import_that_cannot_be_kept_changes_nothing() {
    let kv = store();
    let read_only = TroubledKv::over(&kv, |access, _| access == Access::Get);
    let (patterns, told) = load(&read_only, "UTC").await;
    teach(&patterns, 1);
    let document = || patterns.pattern(&pool_name()).unwrap()["document"].take();
    let before = document();
    let mut given = before.clone();
    given["week"][17] = json!({ "rate": 7.0, "weight": 3.0 });
    let import = patterns.clone().import(pool_name(), given, "ann".into());
    assert!(matches!(import.await, Err(ChangeError::Unavailable(_))));
    assert_eq!(document(), before);
    assert!(told.lock().is_empty());
    let nobody = PoolName::new("nobody").unwrap();
    let import = patterns.clone().import(nobody, before, "ann".into());
    assert!(matches!(import.await, Err(ChangeError::UnknownPool(_))));
}

#[tokio::test]
async fn a_corrupt_import_is_refused_with_the_pointer_of_its_fault() {
    let (patterns, _) = load(&store(), "UTC").await;
    teach(&patterns, 1);
    let shown = patterns.pattern(&pool_name()).unwrap();
    let long = "x".repeat(9_000);
    let cases = [
        ("/document/week/17/rate", json!("abc"), "string \"abc\""),
        ("/document/week/3", json!(7), "integer `7`"),
        ("/document/version", json!(long), "string \"xxx"),
        ("/document/state/pace", json!([]), "invalid"),
        ("/document/week", json!("none"), "expected a sequence"),
    ];
    for (pointer, value, told) in cases {
        let mut given = shown.clone();
        *given.pointer_mut(pointer).unwrap() = value;
        for wrapped in [true, false] {
            let (given, pointer) = match wrapped {
                true => (given.clone(), pointer),
                false => (
                    given["document"].clone(),
                    pointer.strip_prefix("/document").unwrap(),
                ),
            };
            let import = patterns.clone().import(pool_name(), given, "ann".into());
            let Err(ChangeError::Invalid { member, message }) = import.await else {
                panic!("{pointer} was taken");
            };
            assert_eq!(member, "document");
            assert!(message.starts_with(&format!("{pointer}: ")), "{message}");
            assert!(message.contains(told), "{message}");
            assert!(message.len() <= PROBLEM_LEN_MAX, "{}", message.len());
        }
    }
    let import = patterns
        .clone()
        .import(pool_name(), json!([]), "ann".into());
    let told = import.await.unwrap_err().to_string();
    assert!(told.contains("the document: invalid"), "{told}");
}

#[tokio::test]
async fn after_an_import_the_old_forecast_is_gone_and_the_challenger_goes_on() {
    let (patterns, _) = load(&store(), "UTC").await;
    let (mut last, now) = teach(&patterns, 2);
    let outlook = patterns.forecast(&pool_name(), now).unwrap();
    assert_eq!(outlook["lead_s"], 600.0, "as was measured, not assumed");
    assert!(patterns.forecast_of(&pool_name()).is_some());
    let challenge = Challenge::new(now.0, HOUR_MS, vec![50.0; 9]).unwrap();
    {
        let learner = &mut *patterns.0.learners[&pool_name()].lock();
        let Learner { pattern, rival, .. } = learner;
        rival.settle(Ok(challenge), now.0, (&pool_name(), pattern));
    }
    let shown = patterns.pattern(&pool_name()).unwrap();
    let import = patterns.clone().import(pool_name(), shown, "ann".into());
    import.await.unwrap();
    assert_eq!(patterns.forecast_of(&pool_name()), None);
    for minute in 1..=120 {
        let at = Timestamp(now.0 + minute * 60_000);
        patterns.attend(&pool_name(), &mut last, 2.0, at);
    }
    let contest = &patterns.pattern(&pool_name()).unwrap()["contest"][0];
    assert!(contest["judged"].as_u64() >= Some(1), "{contest}");
}

#[tokio::test]
async fn a_challenger_that_cannot_have_been_is_set_aside() {
    let kv = store();
    let impossible = json!({
        "hour": 5, "hours": [-1.0], "arrivals": 0.0, "seconds": 0.0
    });
    let (pool, now) = (pool_name(), Timestamp(BEGIN));
    let saved = durable::save(&kv, Kept::Challenger, &pool, &impossible, now);
    saved.await.unwrap();
    let (_, told) = load(&kv, "UTC").await;
    let told = told.lock().pop().unwrap();
    assert_eq!(told.data["what"], "challenger");
    let problem = told.data["problem"].as_str().unwrap();
    assert!(problem.contains("cannot have been"), "{problem}");
}
