//! How often one caller may ask: a token bucket each (GCRA, as the crate `governor` has it).
//!
//! Whoever sends the API token is one caller, else an address is. The number of buckets is
//! bounded: when all are in use, callers that are new share one.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use governor::RateLimiter;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use parking_lot::Mutex;

use super::problem::{Code, Problem};

/// Most callers that have buckets of their own.
const CALLERS_MAX: usize = 10_000;
/// Least time between two searches for buckets that are full again.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What one caller may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// Requests in a minute, in the long run.
    pub per_minute: NonZeroU32,
    /// Requests at once, after a pause.
    pub burst: NonZeroU32,
}

type Bucket = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Caller {
    Token(u64),
    Address(IpAddr),
}

impl Caller {
    /// A household or a server has a whole /64 of IPv6, so that is one caller.
    fn of(token: Option<&HeaderValue>, peer: Option<SocketAddr>) -> Self {
        if let Some(token) = token {
            let mut hasher = DefaultHasher::new();
            token.as_bytes().hash(&mut hasher);
            return Self::Token(hasher.finish());
        }
        let address = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.ip());
        Self::Address(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let network = u128::from(v6) >> 64 << 64;
                IpAddr::V6(Ipv6Addr::from(network))
            }
            v4 => v4,
        })
    }
}

/// What is left to a caller after its request; told with the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    quota_per_minute: u32,
    left: u32,
    /// Time until there is more: the next request when none is left, else all of them.
    reset_s: u64,
}

struct Callers {
    buckets: HashMap<Caller, (Bucket, Instant)>,
    swept: Instant,
}

/// The buckets of all callers.
pub(crate) struct Quotas {
    quota: Quota,
    callers_max: usize,
    callers: Mutex<Callers>,
    others: Bucket,
    clock: DefaultClock,
}

impl Quotas {
    pub(crate) fn new(quota: Quota) -> Self {
        Self::bounded(quota, CALLERS_MAX, Instant::now())
    }

    fn bounded(quota: Quota, callers_max: usize, now: Instant) -> Self {
        let callers = Callers {
            buckets: HashMap::new(),
            swept: now,
        };
        Self {
            quota,
            callers_max,
            callers: Mutex::new(callers),
            others: bucket(quota),
            clock: DefaultClock::default(),
        }
    }

    /// Takes one request from the bucket of whoever sent `token` (already found valid), or of
    /// the address that it came from.
    pub(crate) fn take(
        &self,
        token: Option<&HeaderValue>,
        peer: Option<SocketAddr>,
        now: Instant,
    ) -> (Standing, Result<(), Problem>) {
        let caller = Caller::of(token, peer);
        let mut callers = self.callers.lock();
        if !callers.buckets.contains_key(&caller) && callers.buckets.len() >= self.callers_max {
            if now.saturating_duration_since(callers.swept) < SWEEP_INTERVAL {
                return self.take_from(&self.others);
            }
            let refill = self.refill();
            callers.swept = now;
            callers
                .buckets
                .retain(|_, (_, used)| now.saturating_duration_since(*used) < refill);
            if callers.buckets.len() >= self.callers_max {
                return self.take_from(&self.others);
            }
        }
        let entry = callers.buckets.entry(caller);
        let (bucket, used) = entry.or_insert_with(|| (bucket(self.quota), now));
        *used = now;
        self.take_from(bucket)
    }

    /// Time in which an empty bucket is full again.
    fn refill(&self) -> Duration {
        let per_minute = f64::from(self.quota.per_minute.get());
        Duration::from_secs_f64(f64::from(self.quota.burst.get()) * 60.0 / per_minute)
    }

    fn take_from(&self, bucket: &Bucket) -> (Standing, Result<(), Problem>) {
        let quota_per_minute = self.quota.per_minute.get();
        match bucket.check() {
            Ok(state) => {
                let left = state.remaining_burst_capacity();
                let missing = self.quota.burst.get().saturating_sub(left);
                let reset_s = (u64::from(missing) * 60).div_ceil(u64::from(quota_per_minute));
                let standing = Standing {
                    quota_per_minute,
                    left,
                    reset_s,
                };
                (standing, Ok(()))
            }
            Err(not_until) => {
                let wait = not_until.wait_time_from(self.clock.now());
                let reset_s = (wait.as_secs_f64().ceil() as u64).max(1);
                let standing = Standing {
                    quota_per_minute,
                    left: 0,
                    reset_s,
                };
                let detail = format!("a caller may send {quota_per_minute} requests a minute here");
                let problem = Problem::new(Code::QuotaExceeded, detail);
                (standing, Err(problem.retry_after(reset_s)))
            }
        }
    }
}

fn bucket(quota: Quota) -> Bucket {
    let rate = governor::Quota::per_minute(quota.per_minute).allow_burst(quota.burst);
    RateLimiter::direct(rate).with_middleware::<StateInformationMiddleware>()
}

impl Standing {
    /// Says so as the IETF's draft on RateLimit header fields has it.
    pub(crate) fn tell(self, headers: &mut HeaderMap) {
        let mut insert = |name, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        let policy = format!("\"caller\";q={};w=60", self.quota_per_minute);
        insert(RATELIMIT_POLICY, policy);
        let left = format!("\"caller\";r={};t={}", self.left, self.reset_s);
        insert(RATELIMIT, left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas(burst: u32, callers_max: usize, now: Instant) -> Quotas {
        let quota = Quota {
            per_minute: NonZeroU32::new(1).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
        };
        Quotas::bounded(quota, callers_max, now)
    }

    fn peer(address: &str) -> Option<SocketAddr> {
        Some(SocketAddr::new(address.parse().unwrap(), 1))
    }

    fn allowed(quotas: &Quotas, address: &str, now: Instant) -> bool {
        quotas.take(None, peer(address), now).1.is_ok()
    }

    #[test]
    fn a_caller_gets_its_burst_and_then_is_told_when_to_come_again() {
        let now = Instant::now();
        let quotas = quotas(2, 10, now);
        let (first, _) = quotas.take(None, peer("10.0.0.1"), now);
        assert_eq!((first.left, first.reset_s), (1, 60));
        assert!(allowed(&quotas, "10.0.0.1", now));
        let (standing, refused) = quotas.take(None, peer("10.0.0.1"), now);
        let problem = refused.unwrap_err();
        assert_eq!(problem.code, Code::QuotaExceeded);
        assert_eq!(standing.left, 0);
        assert_eq!(problem.retry_after_s, Some(standing.reset_s));
        assert!((1..=60).contains(&standing.reset_s), "{standing:?}");
        assert!(allowed(&quotas, "10.0.0.2", now), "others are not affected");
    }

    #[test]
    fn a_token_is_one_caller_wherever_it_comes_from_and_so_is_a_network() {
        let now = Instant::now();
        let quotas = quotas(1, 10, now);
        let token = HeaderValue::from_static("Bearer secret");
        assert!(quotas.take(Some(&token), peer("10.0.0.1"), now).1.is_ok());
        assert!(quotas.take(Some(&token), peer("10.0.0.2"), now).1.is_err());
        assert!(allowed(&quotas, "10.0.0.1", now));
        assert!(!allowed(&quotas, "::ffff:10.0.0.1", now));
        assert!(allowed(&quotas, "2001:db8::1", now));
        assert!(!allowed(&quotas, "2001:db8::2", now));
        assert!(allowed(&quotas, "2001:db8:0:1::1", now));
    }

    #[test]
    fn buckets_are_bounded_and_newcomers_share_one() {
        let now = Instant::now();
        let quotas = quotas(1, 2, now);
        assert!(allowed(&quotas, "10.0.0.1", now) && allowed(&quotas, "10.0.0.2", now));
        assert!(allowed(&quotas, "10.0.0.3", now), "the shared bucket");
        assert!(!allowed(&quotas, "10.0.0.4", now), "the same bucket");
        assert!(
            !allowed(&quotas, "10.0.0.1", now),
            "known callers keep theirs"
        );
        assert_eq!(quotas.callers.lock().buckets.len(), 2);
        // A bucket that is full again makes room.
        let later = now + Duration::from_secs(61);
        assert!(allowed(&quotas, "10.0.0.4", later));
        assert_eq!(quotas.callers.lock().buckets.len(), 1);
    }
}
