//! Laws of the configuration: who wins, what is refused, what is never shown.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;

mod addresses;
mod secrets;

/// A configuration in the making.
struct Setup {
    folder: tempfile::TempDir,
    inputs: Inputs,
}

impl Setup {
    fn new(toml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tidepool.toml");
        std::fs::write(&file, toml).unwrap();
        let inputs = Inputs {
            file: Some(file),
            ..Inputs::default()
        };
        Self { folder, inputs }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.inputs.variables.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, key: &'static str, value: &str) -> Self {
        self.inputs.overrides.push(Override {
            flag: "--flag",
            key,
            value: value.to_owned(),
        });
        self
    }

    fn load(&self) -> Result<Loaded, InvalidSettings> {
        load(&self.inputs)
    }

    fn settings(&self) -> Settings {
        self.load().unwrap().settings
    }

    fn faults(&self) -> Vec<Fault> {
        self.load().unwrap_err().0
    }

    /// The only fault, as it is told.
    fn fault(&self) -> String {
        let faults = self.faults();
        assert_eq!(faults.len(), 1, "{faults:#?}");
        faults[0].to_string()
    }
}

fn pool<'a>(settings: &'a Settings, name: &str) -> &'a Pool {
    let found = settings
        .pools
        .iter()
        .find(|pool| pool.name.as_str() == name);
    found.unwrap_or_else(|| panic!("no pool {name}"))
}

#[test]
fn an_empty_configuration_is_complete() {
    let settings = Setup::new("").settings();
    assert_eq!(settings.http.api_addr.to_string(), "127.0.0.1:8700");
    assert_eq!(settings.http.operator_addr.to_string(), "127.0.0.1:8701");
    assert!(settings.http.threads >= 1);
    assert_eq!(settings.http.body_bytes_max, 8 * 1024 * 1024);
    assert!(
        matches!(settings.store, Store::Embedded { ref path } if path == Path::new("./.tidepool"))
    );
    let names: Vec<_> = settings
        .pools
        .iter()
        .map(|pool| pool.name.as_str())
        .collect();
    assert_eq!(names, pools::BUILT_IN_KINDS);
    for pool in &settings.pools {
        assert_eq!((pool.min, pool.max, pool.slots), (1, 8, None));
        assert_eq!(pool.cooldown, Duration::from_secs(15));
        assert_eq!(pool.kinds.len(), 1);
    }
}

#[test]
fn no_file_is_needed_but_a_named_one_is() {
    let setup = Setup::new("");
    let inputs = Inputs {
        file: Some(setup.path("missing.toml")),
        ..Inputs::default()
    };
    let fault = load(&inputs).unwrap_err().to_string();
    assert!(fault.contains("missing.toml"), "{fault}");
}

proptest! {
    #[test]
    fn flags_win_over_environment_over_file_over_defaults(
        file in prop::option::of(1_u16..), variable in prop::option::of(1_u16..), flag in prop::option::of(1_u16..),
    ) {
        let addr = |port: u16| format!("127.0.0.2:{port}");
        let toml = file.map_or_else(String::new, |port| format!("http.api_addr = '{}'", addr(port)));
        let mut setup = Setup::new(&toml);
        if let Some(port) = variable {
            setup = setup.variable("TIDEPOOL_HTTP__API_ADDR", &addr(port));
        }
        if let Some(port) = flag {
            setup = setup.flag("http.api_addr", &addr(port));
        }
        let winner = flag.or(variable).or(file).map_or_else(|| "127.0.0.1:8700".to_owned(), addr);
        prop_assert_eq!(setup.settings().http.api_addr.to_string(), winner);
    }

    #[test]
    fn any_file_gives_settings_or_faults(text in "\\PC{0,80}", key in "[a-z.]{0,12}", value in "[-0-9a-z.\"'{}\\[\\]]{0,10}") {
        let _ = Setup::new(&text).load();
        let _ = Setup::new(&format!("{key} = {value}")).load();
        let _ = Setup::new("").variable(&format!("TIDEPOOL_{key}"), &value).load();
    }

    #[test]
    fn what_is_shown_can_be_read_again(max in 1_u32..100, ratio in 0.0..=1.0_f64, json in any::<bool>()) {
        let format = if json { "json" } else { "text" };
        let toml = format!("pools.echo.max = {max}\n[telemetry]\nsample_ratio = {ratio}\nlog_format = '{format}'");
        let shown = Setup::new(&toml).load().unwrap().effective.to_toml();
        let again = Setup::new(&shown).load().unwrap();
        prop_assert_eq!(pool(&again.settings, "echo").max, max);
        prop_assert!((again.settings.telemetry.sample_ratio - ratio).abs() < 1e-12);
        prop_assert_eq!(again.settings.telemetry.log_format.as_str(), format);
    }
}

#[test]
fn one_key_of_a_default_pool_leaves_the_rest() {
    let setup = Setup::new("").variable("TIDEPOOL_POOLS__ECHO__MAX", "4");
    let settings = setup.settings();
    let echo = pool(&settings, "echo");
    assert_eq!((echo.min, echo.max), (1, 4));
    assert_eq!(echo.kinds[0].as_str(), "echo");
    assert_eq!(settings.pools.len(), 4);
}

#[test]
fn lists_in_the_environment_are_separated_by_commas() {
    let setup = Setup::new("").variable("TIDEPOOL_POOLS__TEXT__KINDS", "grammar, memory");
    let settings = setup.settings();
    assert_eq!(pool(&settings, "text").kinds.len(), 2);
    assert_eq!(settings.pools.len(), 3);
}

#[test]
fn a_pool_without_room_for_workers_is_off() {
    let settings = Setup::new("pools.grammar.max = 0").settings();
    assert_eq!(settings.pools.len(), 3);
    assert!(
        settings
            .pools
            .iter()
            .all(|pool| pool.name.as_str() != "grammar")
    );
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let setup = Setup::new("http.api_token = 'file'").variable("TIDEPOOL_HTTP__API_TOKEN", "");
    assert_eq!(setup.settings().http.api_token.unwrap().expose(), "file");
}

#[test]
fn variables_of_other_conventions_yield_to_ours() {
    let setup = Setup::new("store.kind = 'redis'")
        .variable("REDIS_URL", "redis://other")
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
    let settings = setup.settings();
    assert!(matches!(settings.store, Store::Redis { ref url } if url.expose() == "redis://other"));
    assert_eq!(
        settings.telemetry.otlp_endpoint.as_deref(),
        Some("http://collector:4318")
    );
    let setup = setup.variable("TIDEPOOL_STORE__REDIS_URL", "redis://ours");
    assert!(
        matches!(setup.settings().store, Store::Redis { ref url } if url.expose() == "redis://ours")
    );
}

#[test]
fn traces_are_sampled_where_they_can_go() {
    let ratio = |toml: &str| Setup::new(toml).settings().telemetry.sample_ratio;
    assert_eq!(ratio(""), 0.0);
    assert_eq!(
        ratio("telemetry.otlp_endpoint = 'http://localhost:4318'"),
        1.0
    );
    assert_eq!(
        ratio("telemetry = { otlp_endpoint = 'http://localhost:4318', sample_ratio = 0.01 }"),
        0.01
    );
}

#[test]
fn every_rule_is_checked() {
    for (toml, told) in [
        ("http.api_addr = 'nowhere'", "http.api_addr = \"nowhere\""),
        ("http.operator_addr = '127.0.0.1:99999'", "must be IP:PORT"),
        ("node.addr = ''", "must be IP:PORT"),
        (
            "http.operator_addr = '127.0.0.1:8700'",
            "is taken by http.api_addr",
        ),
        ("http.api_addr = '0.0.0.0:8700'", "set http.api_token_file"),
        (
            "http.operator_addr = '[::]:8701'",
            "set http.operator_token_file",
        ),
        ("http.threads = 1025", "from 0 to 1024"),
        ("http.threads = -1", "from 0 to 1024"),
        ("http.threads = '2'", "must be a whole number"),
        ("http.max_body_bytes = 0", "from 1024 to"),
        ("http.api_token = ''", "the token is empty"),
        ("http.api_token = 'a b'", "printable ASCII"),
        ("http.api_token_file = ''", "must not be empty"),
        ("http.api_token_file = '/missing'", "cannot be read"),
        ("http = 5", "must be a table"),
        ("store.kind = 'sqlite'", "must be one of embedded, redis"),
        ("store.kind = 'redis'", "store.redis_url: is needed"),
        (
            "store = { kind = 'redis', redis_url = 'http://h' }",
            "must be redis://",
        ),
        ("store.path = ''", "must not be empty"),
        ("telemetry.sample_ratio = 1.01", "from 0 to 1"),
        ("telemetry.sample_ratio = nan", "from 0 to 1"),
        (
            "telemetry.otlp_endpoint = 'h:4318'",
            "must be an http:// URL",
        ),
        (
            "telemetry.otlp_endpoint = 'http://u:pw@h'",
            "OTEL_EXPORTER_OTLP_HEADERS",
        ),
        ("telemetry.log_format = 'xml'", "must be one of text, json"),
        ("telemetry.log_level = 'loud'", "must be one of off, error"),
        ("telemetry.slow_ms = 0", "from 1 to"),
        ("pools.echo.min = 9", "min is 9 and max is 8"),
        (
            "pools.echo = { min = 3, max = 2 }",
            "min must not exceed max",
        ),
        ("pools.echo.slots = 0", "from 1 to 1024"),
        (
            "pools.echo.policy = 'magic'",
            "must be one of tidepool, threshold",
        ),
        ("pools.echo.kinds = 'echo'", "must be a list"),
        ("pools.echo.kinds = [1]", "must be a list of texts"),
        ("pools.echo.queue_len = 0", "from 1 to"),
        ("pools.Echo.kinds = ['echo']", "not a valid name"),
        ("pools.text = {}", "the nearest is"),
        ("pools.text.kinds = ['grammer']", "the nearest is `grammar`"),
        ("pools.text.kinds = ['echo', 'echo']", "list it once"),
        (
            "pools = { a.kinds = ['echo'], b.kinds = ['echo'] }",
            "pools.a.kinds too",
        ),
        ("http.api_adr = 'x'", "the nearest is `http.api_addr`"),
        ("[htpp]\napi_addr = 'x'", "the nearest is `http`"),
        ("http.api_addr =", "this is not TOML"),
    ] {
        let told_really = Setup::new(toml).fault();
        assert!(told_really.contains(told), "{toml}: {told_really}");
    }
}

#[test]
fn the_address_of_keda_is_guarded_as_the_operators_is() {
    for (toml, told) in [
        ("keda.addr = ''", "must not be empty"),
        ("keda.addr = '8703'", "must be IP:PORT"),
        ("keda.addr = '0.0.0.0:8703'", "set http.operator_token_file"),
        (
            "keda.addr = '127.0.0.1:8701'",
            "is taken by http.operator_addr",
        ),
    ] {
        let told_really = Setup::new(toml).fault();
        assert!(told_really.contains(told), "{toml}: {told_really}");
    }
    assert_eq!(Setup::new("").settings().keda_addr, None);
}

#[test]
fn a_good_value_is_not_refused() {
    for toml in [
        "http = { api_addr = '0.0.0.0:8700', api_token = 't' }",
        "http.api_addr = '[::1]:0'",
        "keda.addr = '127.0.0.1:0'",
        "keda.addr = '0.0.0.0:8703'\nhttp.operator_token = 't'",
        "http.api_addr = '[::ffff:127.0.0.1]:8700'",
        "http.api_addr = 'localhost:9000'",
        "http = { api_addr = '127.0.0.1:0', operator_addr = '127.0.0.1:0' }",
        "telemetry.log_level = 'info,tidepool_balancer::queue=debug'",
        "telemetry.sample_ratio = 1",
        "store.redis_url = 'redis://unused'",
        "pools.echo.min = 0",
    ] {
        let loaded = Setup::new(toml).load();
        assert!(loaded.is_ok(), "{toml}: {loaded:?}");
    }
}

#[test]
fn all_faults_are_told_together_with_their_lines() {
    let setup = Setup::new("[http]\nthreads = 'x'\n\n[pools.echo]\nmni = 1\nslots = 0\n")
        .variable("TIDEPOOL_HTTP_API_ADDR", "x")
        .variable("TIDEPOOL_POOLS__ECHO__MAX", "many");
    let told = setup.load().unwrap_err().to_string();
    for part in [
        "5 faults",
        "tidepool.toml:2): must be a whole number",
        "tidepool.toml:5): there is no such key; the nearest is `pools.echo.min`",
        "tidepool.toml:6)",
        "the nearest is `TIDEPOOL_HTTP__API_ADDR`",
        "pools.echo.max = \"many\" (environment TIDEPOOL_POOLS__ECHO__MAX)",
    ] {
        assert!(told.contains(part), "{part} is missing in: {told}");
    }
}

#[test]
fn a_misread_bound_is_told_once() {
    assert_eq!(
        Setup::new("pools.echo = { min = 20, max = 'x' }")
            .faults()
            .len(),
        1
    );
}

#[test]
fn tokens_are_read_from_files() {
    let setup = Setup::new("http.operator_addr = '0.0.0.0:8701'");
    let file = setup.path("token");
    let setup = setup.variable("TIDEPOOL_HTTP__OPERATOR_TOKEN_FILE", file.to_str().unwrap());
    std::fs::write(&file, "s3cr3t\r\n").unwrap();
    let token = setup.settings().http.operator_token.unwrap();
    assert_eq!(token.expose(), "s3cr3t");
    std::fs::write(&file, "\n").unwrap();
    assert!(setup.fault().contains("the token is empty"));
    std::fs::write(&file, "x".repeat(5_000)).unwrap();
    assert!(setup.fault().contains("larger than"));
    let setup = setup.variable("TIDEPOOL_HTTP__OPERATOR_TOKEN", "other");
    assert!(setup.fault().contains("set one of them"));
}

#[test]
fn secrets_are_never_shown() {
    const SECRET: &str = "hunter2";
    let toml =
        format!("[http]\napi_token = '{SECRET}'\n[store]\nredis_url = 'redis://u:{SECRET}@h'\n");
    let loaded = Setup::new(&toml).load().unwrap();
    let shown = loaded.effective.to_toml();
    assert!(shown.contains("api_token = \"***\""), "{shown}");
    assert!(shown.contains("redis://***@h"), "{shown}");
    let json = loaded.effective.to_json().to_string();
    let debug = format!("{loaded:?}");
    let mut told = vec![shown, json, debug];
    for bad in [
        format!("http.api_token = '{SECRET} {SECRET}'"),
        format!("http.api_token = ['{SECRET}']"),
        format!("http.api_tokn = '{SECRET}'"),
        format!("http.api_token = '{SECRET}"),
        format!("http.api_token = {SECRET}"),
        format!("store = {{ kind = 'redis', redis_url = 'http://u:{SECRET}@h' }}"),
        format!("store.redis_url = ['{SECRET}']"),
        format!("[http.api_token]\n{SECRET}.x = 1"),
    ] {
        told.push(Setup::new(&bad).load().unwrap_err().to_string());
    }
    for told in told {
        assert!(!told.contains(SECRET), "{told}");
    }
}

#[test]
fn the_source_of_every_value_is_shown() {
    let setup = Setup::new("\n[pools.echo]\nmax = 3\n")
        .variable("TIDEPOOL_HTTP__THREADS", "2")
        .flag("telemetry.log_level", "debug");
    let effective = setup.load().unwrap().effective;
    let sources = &effective.to_json()["sources"];
    assert_eq!(
        sources["http.threads"],
        json!("environment TIDEPOOL_HTTP__THREADS")
    );
    assert_eq!(sources["telemetry.log_level"], json!("flag --flag"));
    let line = sources["pools.echo.max"].as_str().unwrap();
    assert!(line.ends_with("tidepool.toml:3"), "{line}");
    let shown = effective.to_toml();
    assert!(
        shown.contains("# environment TIDEPOOL_HTTP__THREADS"),
        "{shown}"
    );
}

#[test]
fn what_the_controller_learns_and_tries_is_checked() {
    for (toml, told) in [
        (
            "controller.time_zone = 'Europe/Berln'",
            "no time zone is called",
        ),
        ("controller.pattern_speed = 0", "from 1 to 10000"),
        ("controller.pattern_speed = 10001", "from 1 to 10000"),
        ("controller.history_h = 0", "from 1 to 168"),
        ("controller.decision_log_bytes = -1", "from 0 to"),
        (
            "pools.echo.shadow = ['treshold']",
            "the nearest is `threshold`",
        ),
        (
            "pools.echo.shadow = ['threshold', 'threshold']",
            "is listed twice",
        ),
        (
            "pools.echo.shadow = ['a', 'b', 'c', 'd', 'e']",
            "there are 5; 4 are the most",
        ),
    ] {
        let faults = Setup::new(toml).faults();
        assert!(
            faults.iter().any(|fault| fault.to_string().contains(told)),
            "{toml}: {faults:?}"
        );
    }
    let settings = Setup::new(
        "controller.time_zone = 'Asia/Tokyo'\nstore.path = 'x'\npools.echo.shadow = ['threshold']",
    )
    .settings();
    assert_eq!(settings.controller.time_zone, "Asia/Tokyo");
    assert!(
        settings
            .controller
            .decision_log
            .dir
            .ends_with("x/decisions")
    );
    assert_eq!(pool(&settings, "echo").shadows[0].name(), "threshold");
}
