//! What a document has hundreds of, as rows: values in order, without names. A pool's report takes
//! some 80 bytes instead of 240, so that a thousand pools are told within what the store takes.
//!
//! A reader takes rows and maps with names alike, because derived readers do; and it skips what a
//! later release appends to a row. A row is never given another order, and what is appended needs a
//! default in its type.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeStruct, SerializeTuple};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidepool_core::{PoolReport, WorkerReport};

use crate::documents::{BalancerDocument, BalancerStanding, NumberedReports};

/// How exact the histograms of a window are, in leading digits of a value: as exact as it fits.
const EXACTNESS: [Option<u32>; 5] = [None, Some(5), Some(3), Some(1), Some(0)];

/// The document with as many of its last windows as `bytes_max` has room for. The newer one is, the
/// more exact are its histograms; all else is as it was reported. Nothing is left out of a window.
pub(crate) fn fitting(document: &BalancerDocument, bytes_max: usize) -> Option<Bytes> {
    let mut told = Told {
        name: &document.name,
        version: &document.version,
        operator_addr: &document.operator_addr,
        standing: document.standing,
        windows: Vec::new(),
    };
    let mut room = bytes_max.saturating_sub(encoded(&told)?.len());
    for window in document.windows.iter().rev() {
        let as_exact_as_fits = EXACTNESS.into_iter().find_map(|bits| {
            let window = Window { window, bits };
            let size = encoded(&window)?.len();
            (size <= room).then_some((window, size))
        });
        let Some((window, size)) = as_exact_as_fits else {
            break;
        };
        room -= size;
        told.windows.push(window);
    }
    told.windows.reverse();
    encoded(&told).map(Bytes::from)
}

fn encoded(what: &impl Serialize) -> Option<Vec<u8>> {
    rmp_serde::to_vec_named(what).ok()
}

/// A balancer's document as it is written.
#[derive(Serialize)]
struct Told<'a> {
    name: &'a str,
    version: &'a str,
    operator_addr: &'a str,
    standing: BalancerStanding,
    windows: Vec<Window<'a>>,
}

struct Window<'a> {
    window: &'a NumberedReports,
    bits: Option<u32>,
}

impl Serialize for Window<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let NumberedReports { number, reports } = self.window;
        let mut fields = serializer.serialize_struct("NumberedReports", 2)?;
        fields.serialize_field("number", number)?;
        let bits = self.bits;
        let row = |report| PoolRow { report, bits };
        let reports: Vec<_> = reports.iter().map(row).collect();
        fields.serialize_field("reports", &reports)?;
        fields.end()
    }
}

struct PoolRow<'a> {
    report: &'a PoolReport,
    bits: Option<u32>,
}

impl Serialize for PoolRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // As they are declared: that is the order in which they are read.
        let PoolReport {
            pool,
            at,
            window,
            arrivals,
            completed,
            refused,
            deadline_missed,
            cancelled,
            failed,
            queued,
            queued_bytes,
            oldest_wait,
            busy_slots,
            ready_slots,
            busy_slot_s,
            wait,
            work,
        } = self.report;
        let mut row = serializer.serialize_tuple(17)?;
        row.serialize_element(pool)?;
        row.serialize_element(at)?;
        row.serialize_element(&time(*window))?;
        for count in [
            arrivals,
            completed,
            refused,
            deadline_missed,
            cancelled,
            failed,
        ] {
            row.serialize_element(count)?;
        }
        row.serialize_element(queued)?;
        row.serialize_element(queued_bytes)?;
        row.serialize_element(&time(*oldest_wait))?;
        row.serialize_element(busy_slots)?;
        row.serialize_element(ready_slots)?;
        row.serialize_element(busy_slot_s)?;
        row.serialize_element(&wait.counted(self.bits))?;
        row.serialize_element(&work.counted(self.bits))?;
        row.end()
    }
}

/// A duration as its reader takes it, without names.
fn time(duration: Duration) -> (u64, u32) {
    (duration.as_secs(), duration.subsec_nanos())
}

struct WorkerRow<'a>(&'a WorkerReport);

impl Serialize for WorkerRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // As they are declared.
        let WorkerReport {
            id,
            pool,
            node,
            state,
            slots,
            busy,
            started_at,
            startup,
            completed,
            panics,
            cpu_cores,
        } = self.0;
        let mut row = serializer.serialize_tuple(11)?;
        row.serialize_element(id)?;
        row.serialize_element(pool)?;
        row.serialize_element(node)?;
        row.serialize_element(state)?;
        row.serialize_element(slots)?;
        row.serialize_element(busy)?;
        row.serialize_element(started_at)?;
        row.serialize_element(&startup.map(time))?;
        row.serialize_element(completed)?;
        row.serialize_element(panics)?;
        row.serialize_element(cpu_cores)?;
        row.end()
    }
}

fn write_workers<S: Serializer>(rows: &[WorkerReport], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(rows.iter().map(WorkerRow))
}

/// What a row was written from, or a map with names. More than is known is skipped.
struct Row<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Row<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

struct Reader<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
    type Value = Row<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row or a map")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let read = T::deserialize(SeqAccessDeserializer::new(&mut seq))?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Row(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Row)
    }
}

fn read<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let rows = Vec::<Row<T>>::deserialize(deserializer)?;
    Ok(rows.into_iter().map(|Row(read)| read).collect())
}

/// Reads the reports of a window.
pub(crate) fn read_pools<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<PoolReport>, D::Error> {
    read(d)
}

/// A node's report, its workers as rows.
pub(crate) mod node_report {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use tidepool_core::{NodeId, NodeReport, Timestamp, WorkerReport};

    #[derive(Serialize, Deserialize)]
    #[serde(remote = "NodeReport")]
    struct Written {
        node: NodeId,
        at: Timestamp,
        process_cpu_cores: Option<f64>,
        machine_cpu_cores: Option<f64>,
        cores: u32,
        memory_bytes: Option<u64>,
        memory_limit_bytes: Option<u64>,
        memory_used_bytes: Option<u64>,
        #[serde(
            serialize_with = "super::write_workers",
            deserialize_with = "super::read"
        )]
        workers: Vec<WorkerReport>,
    }

    #[derive(Serialize)]
    struct Borrowed<'a>(#[serde(with = "Written")] &'a NodeReport);

    #[derive(Deserialize)]
    struct Owned(#[serde(with = "Written")] NodeReport);

    pub(crate) fn serialize<S: Serializer>(
        report: &Option<NodeReport>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        report.as_ref().map(Borrowed).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<NodeReport>, D::Error> {
        let read = Option::<Owned>::deserialize(deserializer)?;
        Ok(read.map(|Owned(report)| report))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidepool_core::ids::NAME_LEN_MAX;
    use tidepool_core::{
        LatencyHistogram, NodeId, NodeReport, PoolName, Timestamp, WorkerId, WorkerState,
    };
    use tidepool_store::DOCUMENT_BYTES_MAX;

    use super::*;
    use crate::{Document, NodeDocument, NodeStanding};

    /// A busy pool: so many durations of each kind, over so many octaves of time.
    fn report(n: usize, name_len: usize, counted: u64, octaves: u32) -> PoolReport {
        let mut wait = LatencyHistogram::new();
        let mut work = LatencyHistogram::new();
        for k in 0..counted {
            let us = 1_000 + (k * 7_919 + n as u64) % (1_000 << octaves);
            wait.record(Duration::from_micros(us));
            work.record(Duration::from_micros(us / 2));
        }
        let pool = format!("p{n:0>width$}", width = name_len.max(5) - 1);
        PoolReport {
            pool: PoolName::new(&pool).unwrap(),
            at: Timestamp(1_700_000_000_000 + n as u64),
            window: Duration::from_micros(1_000_123),
            arrivals: counted,
            completed: counted + 1,
            refused: 2,
            deadline_missed: 3,
            cancelled: 4,
            failed: 5,
            queued: 6,
            queued_bytes: 7_000,
            oldest_wait: Duration::from_micros(8_001),
            busy_slots: 9,
            ready_slots: 10,
            busy_slot_s: 11.25,
            wait: wait.counts(),
            work: work.counts(),
        }
    }

    fn balancer(windows: Vec<NumberedReports>) -> BalancerDocument {
        BalancerDocument {
            name: "b".to_owned(),
            version: "1".to_owned(),
            operator_addr: "h:1".to_owned(),
            standing: BalancerStanding::Stopping,
            windows,
        }
    }

    /// Everything but the histograms, which say how often they counted.
    fn facts(report: &PoolReport) -> String {
        let mut bare = report.clone();
        let counts = (bare.wait.count(), bare.work.count());
        (bare.wait, bare.work) = Default::default();
        format!("{bare:?} {counts:?}")
    }

    /// All of it, the histograms as their counts.
    fn exactly(reports: &[PoolReport]) -> Vec<String> {
        let counts = |report: &PoolReport| (report.wait.counted(None), report.work.counted(None));
        let told = |report| format!("{} {:?}", facts(report), counts(report));
        reports.iter().map(told).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]
        #[test]
        fn the_last_windows_of_a_thousand_pools_fit_and_the_newest_is_whole(
            name_len in 5..NAME_LEN_MAX, counted in 0_u64..120, octaves in 1_u32..18,
            early in 0_usize..4,
        ) {
            let full = |number| NumberedReports {
                number,
                reports: (0..1_000).map(|n| report(n, name_len, counted, octaves)).collect(),
            };
            let mut windows = vec![full(1), full(2)];
            // A few pools that queue up report in between.
            windows.extend((0..early).map(|n| NumberedReports {
                number: 3 + n as u64,
                reports: vec![report(n, name_len, 3, 2)],
            }));
            let document = balancer(windows);
            let bytes = document.to_bytes().unwrap();
            prop_assert!(bytes.len() <= DOCUMENT_BYTES_MAX, "{}", bytes.len());
            let read = BalancerDocument::from_bytes(&bytes).unwrap();
            prop_assert_eq!(read.standing, BalancerStanding::Stopping);
            prop_assert!(read.windows.len() > early, "the last whole window is there");
            let kept = &document.windows[document.windows.len() - read.windows.len()..];
            for (read, written) in read.windows.iter().zip(kept) {
                prop_assert_eq!(read.number, written.number);
                let facts_of = |window: &NumberedReports| {
                    window.reports.iter().map(facts).collect::<Vec<_>>()
                };
                prop_assert_eq!(facts_of(read), facts_of(written));
            }
        }
    }

    #[test]
    fn what_fits_is_exact_and_idle_pools_are_repeated() {
        let windows = (1..=8).map(|number| NumberedReports {
            number,
            reports: (0..20).map(|n| report(n, 9, 40, 4)).collect(),
        });
        let document = balancer(windows.collect());
        let read = BalancerDocument::from_bytes(&document.to_bytes().unwrap()).unwrap();
        assert_eq!(read.windows.len(), document.windows.len());
        for (read, written) in read.windows.iter().zip(&document.windows) {
            assert_eq!(exactly(&read.reports), exactly(&written.reports));
        }
        let idle = NumberedReports {
            number: 1,
            reports: (0..1_000).map(|n| report(n, 9, 0, 1)).collect(),
        };
        let document = balancer(vec![idle; 8]);
        let read = BalancerDocument::from_bytes(&document.to_bytes().unwrap()).unwrap();
        assert!(read.windows.len() >= 2, "{}", read.windows.len());
    }

    #[test]
    fn the_release_before_and_the_one_after_are_understood() {
        /// As the release before declares and reads it.
        #[derive(Serialize, Deserialize)]
        struct Before {
            name: String,
            windows: Vec<WindowBefore>,
        }
        #[derive(Serialize, Deserialize)]
        struct WindowBefore {
            number: u64,
            reports: Vec<PoolReport>,
        }
        let window = NumberedReports {
            number: 7,
            reports: vec![report(1, 9, 30, 5)],
        };
        let document = balancer(vec![window.clone()]);
        let bytes = document.to_bytes().unwrap();
        let read: Before = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(exactly(&read.windows[0].reports), exactly(&window.reports));
        // Its own words are maps with names.
        let theirs = rmp_serde::to_vec_named(&read).unwrap();
        let read = BalancerDocument::from_bytes(&theirs).unwrap();
        assert_eq!(read.standing, BalancerStanding::Serving);
        assert_eq!(exactly(&read.windows[0].reports), exactly(&window.reports));
        // A later one has appended something.
        let row = rmp_serde::to_vec(&((1, (2, 3)), "later")).unwrap();
        let Row(read): Row<((u8, (u8, u8)),)> = rmp_serde::from_slice(&row).unwrap();
        assert_eq!(read.0, (1, (2, 3)));
    }

    #[test]
    fn a_node_tells_of_thousands_of_workers() {
        let (pool, node) = (
            PoolName::new("grammar").unwrap(),
            NodeId::new("n-1").unwrap(),
        );
        let worker = |n: u64| WorkerReport {
            id: WorkerId::on_node(&pool, n, &node),
            pool: pool.clone(),
            node: node.clone(),
            state: WorkerState::Ready,
            slots: 4,
            busy: 3,
            started_at: Timestamp(1_700_000_000_000),
            startup: Some(Duration::from_micros(20_001)),
            completed: 1_000_000,
            panics: 0,
            cpu_cores: Some(0.1),
        };
        let document = NodeDocument {
            name: node.to_string(),
            version: "1".to_owned(),
            link_addr: "h:1".to_owned(),
            operator_addr: String::new(),
            standing: NodeStanding::Ready,
            workers_max: 3_000,
            report: Some(NodeReport {
                node: node.clone(),
                at: Timestamp(6),
                process_cpu_cores: Some(1.5),
                machine_cpu_cores: None,
                cores: 2,
                memory_bytes: Some(1),
                memory_limit_bytes: None,
                memory_used_bytes: None,
                workers: (0..3_000).map(worker).collect(),
            }),
        };
        let bytes = document.to_bytes().unwrap();
        assert!(bytes.len() <= DOCUMENT_BYTES_MAX, "{}", bytes.len());
        let read = NodeDocument::from_bytes(&bytes).unwrap();
        assert_eq!(format!("{read:?}"), format!("{document:?}"));
        // As the release before reads it.
        #[derive(Serialize, Deserialize)]
        struct Before {
            name: String,
            version: String,
            link_addr: String,
            workers_max: u32,
            report: Option<NodeReport>,
        }
        let read: Before = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(
            format!("{:?}", read.report),
            format!("{:?}", document.report)
        );
        let theirs = rmp_serde::to_vec_named(&read).unwrap();
        let read = NodeDocument::from_bytes(&theirs).unwrap();
        assert_eq!(format!("{read:?}"), format!("{document:?}"));
    }
}
