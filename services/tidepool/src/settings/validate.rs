//! Turns what was written into what the program works with, and finds what only shows when keys
//! are seen together or their texts are read.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidepool_balancer::Quota;
use tidepool_core::{Kind, PoolName};

use super::fault::{Fault, Origin, abridge};
use super::layers::{Layers, read_text};
use super::pools::BUILT_IN_KINDS;
use super::raw::{RawHttp, RawPool, RawSettings, RawStore, RawTelemetry, StoreKind};
use super::secret::{RedisUrl, Secret};
use super::structure::nearest;
use super::{Http, Pool, Settings, Store, Telemetry};
use super::{cluster, controller, provisioner};

/// Largest token file, in bytes.
const TOKEN_BYTES_MAX: u64 = 4096;

/// Names of log levels.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// One pass over a configuration; faults gather as it goes.
pub(crate) struct Validation<'a> {
    layers: &'a Layers,
    faults: &'a mut Vec<Fault>,
}

impl<'a> Validation<'a> {
    /// A pass that adds to what has been found.
    pub(crate) fn new(layers: &'a Layers, faults: &'a mut Vec<Fault>) -> Self {
        Self { layers, faults }
    }

    /// The settings, unless a part of them is unusable. `cores` is what the machine has.
    pub(crate) fn settings(&mut self, raw: &RawSettings, cores: usize) -> Option<Settings> {
        let http = self.http(&raw.http, cores);
        let cluster = cluster::cluster(self, &raw.cluster);
        let node = cluster::node(self, raw, cluster.as_ref(), cores);
        let keda_addr = self.keda_addr(raw.keda.addr.as_deref(), http.as_ref());
        let store = self.store(&raw.store);
        let telemetry = self.telemetry(&raw.telemetry);
        let controller = controller::controller(self, &raw.controller, &raw.store.path);
        let provisioner = provisioner::provisioner(self, raw);
        let pools = self.pools(&raw.pools);
        Some(Settings {
            http: http?,
            cluster: cluster?,
            node: node?,
            keda_addr,
            store: store?,
            telemetry: telemetry?,
            controller: controller?,
            provisioner: provisioner?,
            pools,
        })
    }

    pub(super) fn fault(&mut self, key: &str, value: Option<&str>, problem: impl Into<String>) {
        self.faults.push(Fault {
            key: key.to_owned(),
            value: value.map(|value| format!("\"{}\"", abridge(value))),
            origin: self.layers.origin(key).cloned(),
            problem: problem.into(),
        });
    }

    /// The file that is read, if any.
    pub(super) fn file(&self) -> Option<&Path> {
        self.layers.file.as_deref()
    }

    /// Where a key was set, if anywhere.
    pub(super) fn origin(&self, key: &str) -> Option<&Origin> {
        self.layers.origin(key)
    }

    /// Whether a key has a fault already, so that its default stands in and nothing more can be
    /// said of it.
    pub(super) fn is_faulty(&self, key: &str) -> bool {
        self.faults.iter().any(|fault| fault.key == key)
    }

    fn http(&mut self, raw: &RawHttp, cores: usize) -> Option<Http> {
        let api_addr = self.addr("http.api_addr", &raw.api_addr);
        let operator_addr = self.addr("http.operator_addr", &raw.operator_addr);
        let api_token = self.token(
            "http.api_token",
            raw.api_token.as_ref(),
            raw.api_token_file.as_deref(),
        );
        let operator_token = self.token(
            "http.operator_token",
            raw.operator_token.as_ref(),
            raw.operator_token_file.as_deref(),
        );
        self.guarded(
            "http.api_addr",
            api_addr,
            "http.api_token",
            api_token.is_some(),
        );
        self.guarded(
            "http.operator_addr",
            operator_addr,
            "http.operator_token",
            operator_token.is_some(),
        );
        let (api_addr, operator_addr) = (api_addr?, operator_addr?);
        if collide(api_addr, operator_addr) {
            self.fault(
                "http.operator_addr",
                Some(&raw.operator_addr),
                format!("is taken by http.api_addr ({api_addr}); choose another port"),
            );
        }
        let advertised = &raw.operator_advertise_addr;
        if let Some(advertised) = advertised {
            cluster::host_and_port(self, "http.operator_advertise_addr", advertised);
        }
        Some(Http {
            api_addr,
            operator_addr,
            operator_advertise_addr: advertised.clone(),
            threads: match raw.threads {
                0 => (cores / 2).max(1),
                threads => usize_of(threads.into()),
            },
            body_bytes_max: usize_of(raw.max_body_bytes),
            body_read_timeout: Duration::from_millis(raw.body_read_timeout_ms),
            connections_max: usize_of(raw.max_connections.into()),
            request_head_timeout: Duration::from_millis(raw.request_head_timeout_ms),
            keep_alive: Duration::from_secs(raw.keep_alive_s),
            shutdown_grace: Duration::from_secs(raw.shutdown_grace_s),
            quota: self.quota(raw),
            api_token,
            operator_token,
        })
    }

    fn quota(&mut self, raw: &RawHttp) -> Option<Quota> {
        let whole = |number: Option<u32>| number.and_then(NonZeroU32::new);
        let Some(per_minute) = whole(raw.quota_per_minute) else {
            if let Some(burst) = raw.quota_burst {
                let problem = "needs http.quota_per_minute beside it";
                self.fault("http.quota_burst", Some(&burst.to_string()), problem);
            }
            return None;
        };
        Some(Quota {
            per_minute,
            burst: whole(raw.quota_burst).unwrap_or(per_minute),
        })
    }

    /// Where KEDA calls. It is guarded as the operators' address is, by the same token.
    fn keda_addr(&mut self, text: Option<&str>, http: Option<&Http>) -> Option<SocketAddr> {
        let key = "keda.addr";
        let addr = self.addr(key, text?)?;
        let http = http?;
        let has_token = http.operator_token.is_some();
        self.guarded(key, Some(addr), "http.operator_token", has_token);
        let others = [
            ("http.api_addr", http.api_addr),
            ("http.operator_addr", http.operator_addr),
        ];
        if let Some((other, at)) = others.iter().find(|(_, other)| collide(addr, *other)) {
            let problem = format!("is taken by {other} ({at}); choose another port");
            self.fault(key, text, problem);
        }
        Some(addr)
    }

    pub(super) fn addr(&mut self, key: &str, text: &str) -> Option<SocketAddr> {
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        // Resolving names would make a start depend on a name server; this one is known.
        let addr = match host {
            "localhost" => format!("127.0.0.1:{port}").parse(),
            _ => text.parse(),
        };
        if addr.is_err() {
            let problem = "must be IP:PORT, such as 127.0.0.1:8700 or [::1]:8700";
            self.fault(key, Some(text), problem);
        }
        addr.ok()
    }

    fn guarded(
        &mut self,
        addr_key: &str,
        addr: Option<SocketAddr>,
        token_key: &str,
        has_token: bool,
    ) {
        let file_key = format!("{token_key}_file");
        let Some(addr) = addr.filter(|addr| !is_loopback(addr.ip())) else {
            return;
        };
        if !has_token && !self.is_faulty(token_key) && !self.is_faulty(&file_key) {
            self.fault(
                addr_key,
                Some(&addr.to_string()),
                format!(
                    "is reachable from other machines, and nobody would have to show a token: \
                     set {file_key} (or {token_key}), or bind to 127.0.0.1:{}",
                    addr.port()
                ),
            );
        }
    }

    pub(super) fn token(
        &mut self,
        key: &str,
        token: Option<&Secret>,
        file: Option<&str>,
    ) -> Option<Secret> {
        let file_key = format!("{key}_file");
        match (token, file) {
            (None, None) => None,
            (Some(_), Some(_)) => {
                self.fault(
                    &file_key,
                    None,
                    format!("{key} is set too; set one of them"),
                );
                None
            }
            (Some(token), None) => self.usable_token(key, token.expose()),
            (None, Some(file)) => match read_text(Path::new(file), TOKEN_BYTES_MAX) {
                Ok(text) => self.usable_token(&file_key, text.trim_end_matches(['\r', '\n'])),
                Err(error) => {
                    self.fault(&file_key, Some(file), format!("cannot be read: {error}"));
                    None
                }
            },
        }
    }

    fn usable_token(&mut self, key: &str, token: &str) -> Option<Secret> {
        if token.is_empty() {
            self.fault(key, None, "the token is empty");
            None
        } else if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let problem =
                "the token must be printable ASCII without spaces: it travels in a header";
            self.fault(key, None, problem);
            None
        } else {
            Some(Secret::new(token))
        }
    }

    fn store(&mut self, raw: &RawStore) -> Option<Store> {
        match raw.kind {
            StoreKind::Embedded => Some(Store::Embedded {
                path: PathBuf::from(&raw.path),
            }),
            StoreKind::Redis => Some(Store::Redis {
                url: self.redis_url(raw)?,
            }),
        }
    }

    /// The address of Redis, from where it is set.
    fn redis_url(&mut self, raw: &RawStore) -> Option<RedisUrl> {
        let (key, file_key) = ("store.redis_url", "store.redis_url_file");
        let (key, url) = match (&raw.redis_url, &raw.redis_url_file) {
            (Some(_), Some(_)) => {
                self.fault(file_key, None, format!("{key} is set too; set one of them"));
                return None;
            }
            (Some(url), None) => (key, url.clone()),
            (None, Some(file)) => match read_text(Path::new(file), TOKEN_BYTES_MAX) {
                Ok(text) => (file_key, RedisUrl::new(text.trim())),
                Err(error) => {
                    self.fault(file_key, Some(file), format!("cannot be read: {error}"));
                    return None;
                }
            },
            (None, None) => {
                if !self.is_faulty(key) && !self.is_faulty(file_key) {
                    let problem = "is needed because store.kind is redis; store.redis_url_file and \
                                   REDIS_URL set it too";
                    self.fault(key, None, problem);
                }
                return None;
            }
        };
        let is_redis = ["redis://", "rediss://", "redis+unix://", "unix://"]
            .iter()
            .any(|scheme| url.expose().starts_with(scheme))
            && reqwest::Url::parse(url.expose()).is_ok();
        if !is_redis {
            let problem = "must be redis://[USER:PASSWORD@]HOST[:PORT][/DB] or \
                           redis+unix:///PATH[?db=DB]";
            self.fault(key, None, problem);
        }
        Some(url)
    }

    fn telemetry(&mut self, raw: &RawTelemetry) -> Option<Telemetry> {
        let otlp_endpoint = match raw.otlp_endpoint.as_deref() {
            Some(endpoint) => Some(self.endpoint(endpoint)?),
            None => None,
        };
        if !raw.log_level.split(',').all(is_log_directive) {
            let problem = format!(
                "must be one of {}, also for single modules as in `info,tidepool_balancer=debug`",
                LEVELS.join(", ")
            );
            self.fault("telemetry.log_level", Some(&raw.log_level), problem);
        }
        let ratio_default = if otlp_endpoint.is_some() { 1.0 } else { 0.0 };
        Some(Telemetry {
            otlp_endpoint,
            sample_ratio: raw.sample_ratio.unwrap_or(ratio_default),
            slow: Duration::from_millis(raw.slow_ms),
            log_format: raw.log_format,
            log_level: raw.log_level.clone(),
        })
    }

    fn endpoint(&mut self, text: &str) -> Option<String> {
        let key = "telemetry.otlp_endpoint";
        match reqwest::Url::parse(text) {
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                let problem = "must not hold credentials; send them by OTEL_EXPORTER_OTLP_HEADERS";
                self.fault(key, None, problem);
                None
            }
            Ok(url) if url.scheme() == "http" && url.has_host() => {
                Some(text.trim_end_matches('/').to_owned())
            }
            _ => {
                let problem = "must be an http:// URL, such as http://127.0.0.1:4318";
                self.fault(key, Some(text), problem);
                None
            }
        }
    }

    fn pools(&mut self, raw: &BTreeMap<String, RawPool>) -> Vec<Pool> {
        let mut homes = BTreeMap::new();
        let pools = raw
            .iter()
            .filter_map(|(name, pool)| self.pool(name, pool, &mut homes))
            .filter(|pool| pool.max > 0);
        pools.collect()
    }

    fn pool<'p>(
        &mut self,
        name: &'p str,
        raw: &'p RawPool,
        homes: &mut BTreeMap<&'p str, &'p str>,
    ) -> Option<Pool> {
        let key = |part: &str| format!("pools.{name}.{part}");
        let valid_name = PoolName::new(name);
        if let Err(error) = &valid_name {
            self.fault(&format!("pools.{name}"), None, error.to_string());
        }
        let kinds = self.kinds(name, &raw.kinds, homes);
        let bounds_are_known = !self.is_faulty(&key("min")) && !self.is_faulty(&key("max"));
        if bounds_are_known && raw.max > 0 && raw.min > raw.max {
            // Told at the key that somebody set; either may be a default.
            let culprit = ["min", "max"]
                .map(key)
                .into_iter()
                .find(|key| self.is_set(key));
            let problem = format!(
                "min is {} and max is {}: min must not exceed max",
                raw.min, raw.max
            );
            self.fault(&culprit.unwrap_or_else(|| key("min")), None, problem);
        }
        controller::spend(self, name, raw);
        let shadows = controller::shadows(self, name, raw);
        Some(Pool {
            name: valid_name.ok()?,
            kinds,
            min: raw.min,
            max: raw.max,
            slots: raw.slots,
            slo: Duration::from_millis(raw.slo_ms),
            policy: raw.policy,
            shadows,
            cooldown: Duration::from_secs(raw.cooldown_s),
            spend_worker_h: raw.spend_worker_h,
            queue_len_max: usize_of(raw.queue_len.into()),
            queue_bytes_max: usize_of(raw.queue_bytes),
            deadline: Duration::from_millis(raw.deadline_ms),
        })
    }

    fn is_set(&self, key: &str) -> bool {
        self.layers.origins.contains_key(key)
    }

    fn kinds<'p>(
        &mut self,
        pool: &'p str,
        listed: &'p [String],
        homes: &mut BTreeMap<&'p str, &'p str>,
    ) -> Vec<Kind> {
        let key = format!("pools.{pool}.kinds");
        let known = BUILT_IN_KINDS.map(str::to_owned);
        let suggest = |name: &str| {
            let nearest = nearest(name, &known).unwrap_or_default();
            format!(
                "the nearest is `{nearest}`, and there are {}",
                known.join(", ")
            )
        };
        if listed.is_empty() && !self.is_faulty(&key) && !self.is_faulty(&format!("pools.{pool}")) {
            let problem = format!("is needed: no kind is called `{pool}` ({})", suggest(pool));
            self.fault(&key, None, problem);
        }
        let mut kinds = Vec::new();
        for name in listed {
            if let Some(home) = homes.insert(name, pool) {
                let problem = format!("the kind is listed in pools.{home}.kinds too; list it once");
                self.fault(&key, Some(name), problem);
            }
            match Kind::new(name) {
                Ok(kind) if known.contains(name) => kinds.push(kind),
                _ => self.fault(
                    &key,
                    Some(name),
                    format!("there is no such kind; {}", suggest(name)),
                ),
            }
        }
        kinds
    }
}

pub(super) fn usize_of(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

pub(super) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Whether two listeners want the same port of the same interface.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let overlap = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && overlap
}

/// Whether a text is `LEVEL` or `MODULE=LEVEL`.
fn is_log_directive(text: &str) -> bool {
    let (module, level) = text.rsplit_once('=').unwrap_or(("_", text));
    let is_module = !module.is_empty()
        && module
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
    is_module && LEVELS.contains(&level.trim().to_ascii_lowercase().as_str())
}
