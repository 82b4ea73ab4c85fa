use super::*;
use crate::{Challenge, Document, Error};

fn json(pattern: &Pattern) -> String {
    serde_json::to_string(&pattern.export()).expect("a document can be written")
}

fn load(text: &str) -> Result<Pattern, Error> {
    let document: Document = serde_json::from_str(text).expect("a document");
    Pattern::import(document)
}

#[test]
fn a_loaded_pattern_is_the_stored_one() {
    let mut pattern = trained(16);
    pattern.budget(MONDAY_MS + 16 * DAY_MS, 9_000.0, 36.0);
    let text = json(&pattern);
    let mut loaded = load(&text).expect("it is sound");
    assert_eq!(json(&loaded), text);
    assert!(text.len() < 100_000, "{} bytes", text.len());
    // It goes on as if nothing had happened.
    let begin = MONDAY_MS + 16 * DAY_MS;
    for pattern in [&mut pattern, &mut loaded] {
        feed(pattern, begin..begin + 30 * HOUR_MS, |at_ms| {
            office(hour_of_week(at_ms))
        });
    }
    let now_ms = begin + 30 * HOUR_MS;
    let [stayed, came_back] =
        [&pattern, &loaded].map(|pattern| pattern.peek(now_ms, 600.0).expect("it is known"));
    assert!((stayed.median_rate / came_back.median_rate).ln().abs() < 0.01);
    assert!((stayed.floor_rate / came_back.floor_rate).ln().abs() < 0.03);
    assert_eq!(stayed.believed, came_back.believed);
}

/// A pattern and a challenge that both know the office, judged beside each other for three hours.
fn challenged() -> Pattern {
    let mut pattern = trained(9);
    let begin = MONDAY_MS + 9 * DAY_MS;
    let rates = (0..24).map(|hour| office(hour_of_week(begin + hour * HOUR_MS)));
    let challenge = Challenge::new(begin, HOUR_MS, rates.collect()).expect("rates");
    pattern.challenge(challenge);
    let end = begin + 3 * HOUR_MS;
    feed(&mut pattern, begin..end, |at_ms| {
        office(hour_of_week(at_ms))
    });
    pattern
}

#[test]
fn how_a_challenger_fared_survives_and_is_checked() {
    let pattern = challenged();
    let [before, _] = pattern.contest();
    assert!(before.judged > 100, "{before:?}");
    let text = json(&pattern);
    let loaded = load(&text).expect("it is sound");
    let [after, _] = loaded.contest();
    assert_eq!(after.judged, before.judged);
    let off = after.challenger_loss / before.challenger_loss - 1.0;
    assert!(off.abs() < 1e-6, "{before:?} {after:?}");
    assert_eq!(json(&loaded), text);
    let mut damaged: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    damaged["state"]["horizons"][1]["rival"]["contest"]["challenger_loss"] = (-1).into();
    let said = load(&damaged.to_string()).map(|_| ()).expect_err("damaged");
    let said = said.to_string();
    assert!(said.contains("horizons[1].rival.contest"), "{said}");
}

#[test]
fn a_new_pattern_can_be_stored_too() {
    let text = json(&pattern());
    assert_eq!(json(&load(&text).expect("it is sound")), text);
}

#[test]
fn version_1_loads() {
    let week: Vec<_> = (0..168)
        .map(|hour| {
            format!(
                r#"{{"rate":{},"weight":2.0}}"#,
                office(f64::from(hour) + 0.5)
            )
        })
        .collect();
    let text = format!(
        r#"{{"version":1,"config":{{"zone":"Europe/Berlin"}},"week":[{}]}}"#,
        week.join(",")
    );
    let pattern = load(&text).expect("version 1 can be read");
    let forecast = pattern
        .peek(MONDAY_MS + 6 * HOUR_MS, 1_800.0)
        .expect("a week is known");
    assert!(!forecast.believed, "nothing was proven yet");
    assert!(json(&pattern).contains(r#""version":2"#));
}

#[test]
fn a_newer_version_is_refused() {
    let text = json(&pattern()).replacen(r#""version":2"#, r#""version":9"#, 1);
    let said = load(&text)
        .map(|_| ())
        .expect_err("it is newer")
        .to_string();
    assert!(
        said.contains("version 9") && said.contains("1 to 2"),
        "{said}"
    );
}

#[test]
fn corruption_is_named() {
    let text = json(&trained(9));
    let mut whole: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let cases = [
        ("/week/17/weight", "-1.0", "week[17].weight"),
        ("/week/3/rate", "-2.0", "week[3].rate"),
        ("/week", "[]", "week"),
        ("/state/today/seconds/4", "-1.0", "state.today.seconds[4]"),
        ("/state/today/weekday", "9", "state.today.weekday"),
        (
            "/state/horizons/1/lead_s",
            "0.0",
            "state.horizons[1].lead_s",
        ),
        (
            "/state/horizons/0/profile/residuals/next",
            "0.0",
            "state.horizons[0].profile.residuals.next",
        ),
        (
            "/state/horizons/0/conformal/held",
            "99999999",
            "state.horizons[0].conformal.held",
        ),
        ("/state/pace/nines", "70.0", "state.pace.nines"),
        ("/state/bursts/phases", "[]", "state.bursts.phases"),
        ("/config/half_life_days", "0.0", "half_life_days"),
        ("/config/zone", "\"Mars/Olympus\"", "Mars/Olympus"),
    ];
    for (pointer, planted, named) in cases {
        let field = whole
            .pointer_mut(pointer)
            .unwrap_or_else(|| panic!("no {pointer}"));
        let sound = std::mem::replace(field, serde_json::from_str(planted).expect("JSON"));
        let said = load(&whole.to_string())
            .map(|_| ())
            .expect_err(pointer)
            .to_string();
        assert!(said.contains(named), "{pointer}: {said}");
        *whole.pointer_mut(pointer).expect("as before") = sound;
    }
    load(&whole.to_string()).expect("it is sound again");
}

/// What the version before drifts and scatters were known wrote, a day of it.
#[test]
fn a_pattern_of_the_version_before_is_loaded_and_goes_on() {
    let pattern = trained(8);
    let mut document: serde_json::Value = serde_json::from_str(&json(&pattern)).expect("JSON");
    for horizon in document["state"]["horizons"].as_array_mut().expect("two") {
        let horizon = horizon.as_object_mut().expect("an object");
        assert!(horizon.remove("scaled").is_some() && horizon.remove("scatter").is_some());
        let blend = horizon["blend"].as_object_mut().expect("an object");
        assert!(blend.remove("drift").is_some());
    }
    let pace = document["state"]["pace"]
        .as_object_mut()
        .expect("an object");
    assert!(pace.remove("requests").is_some() && pace.remove("late").is_some());
    let mut old = load(&document.to_string()).expect("it is sound");
    let now_ms = MONDAY_MS + 8 * DAY_MS;
    let expected = old.peek(now_ms, 600.0).expect("it is known");
    assert_eq!(
        expected.quantile_rates, [0.0; 8],
        "nobody knows the scatter yet"
    );
    feed(&mut old, now_ms..now_ms + 4 * HOUR_MS, |at_ms| {
        office(hour_of_week(at_ms))
    });
    let expected = old.peek(now_ms + 4 * HOUR_MS, 600.0).expect("it is known");
    let rising = expected
        .quantile_rates
        .is_sorted_by(|a, b| 0.0 < *a && a <= b);
    assert!(rising, "{expected:?}");
}

#[test]
fn impossible_drifts_and_scatters_are_refused() {
    let sound: serde_json::Value = serde_json::from_str(&json(&trained(2))).expect("JSON");
    for (member, path) in [
        ("/blend/drift/2", "blend.drift[2]"),
        ("/scatter/hours/7", "scatter.hours[7]"),
        ("/scatter/usual/1", "scatter.usual[1]"),
    ] {
        let mut document = sound.clone();
        let place = format!("/state/horizons/0{member}");
        *document.pointer_mut(&place).expect("a place") = serde_json::json!(-1.0);
        let refused = load(&document.to_string()).expect_err("it is impossible");
        assert!(refused.to_string().contains(path), "{refused}");
    }
}
