//! A full-text index in memory that grows by batches: a few immutable runs, each a tantivy segment.
//!
//! tantivy's own writer would keep threads and buffers for every namespace and take milliseconds
//! to make a single new passage visible. A run is built in place instead, from a batch and the
//! runs before it that are not much larger, so that there are few runs and each passage is indexed
//! a few times. Scores are as if all runs were one, because they share their statistics.

use tantivy::query::{Bm25StatisticsProvider, BooleanQuery, EnableScoring, Query, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::{
    DocSet, Index, ReloadPolicy, Searcher, TERMINATED, TantivyDocument, Term,
    directory::RamDirectory,
};
use tidepool_handler::{CallContext, Failure, Stop};

use super::terms;

/// Name of the analyzer inside of the index.
const ANALYZER: &str = "passage";
/// A run before a batch becomes part of it unless it is this many times as large.
const MERGE_FACTOR: usize = 4;
/// Most passages of a batch, and of a run that is made by merging, because both take time.
pub(super) const BATCH_LEN_MAX: usize = 50_000;
/// Memory for the term table of a new run; it grows when that is not enough.
const BUILD_BYTES: usize = 3_000_000;
/// Candidates scored between two looks at whether to stop.
const STOP_CHECK_EVERY: usize = 1_024;

/// Why the index could not do something.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    /// The engine's.
    #[error(transparent)]
    Engine(#[from] tantivy::TantivyError),
    /// The request ended first.
    #[error("stopped")]
    Stopped(Stop),
}

impl From<IndexError> for Failure {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Engine(error) => Self::Internal {
                cause: format!("memory index: {error}"),
            },
            IndexError::Stopped(stop) => stop.into(),
        }
    }
}

/// Passages by their keys. Keys grow: a batch has higher ones than all batches before.
#[derive(Default)]
pub(super) struct TextIndex {
    runs: Vec<Run>,
}

struct Run {
    searcher: Searcher,
    text: Field,
    /// Key of each document, ascending.
    keys: Vec<u64>,
    /// Documents whose passages are gone.
    dead: usize,
}

impl Run {
    fn live(&self) -> usize {
        self.keys.len() - self.dead
    }
}

impl TextIndex {
    /// The highest key that was indexed.
    pub(super) fn last_key(&self) -> Option<u64> {
        self.runs.last().and_then(|run| run.keys.last()).copied()
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.runs.clear();
    }

    /// Notes that the passage of a key is gone. It must be one that was there.
    pub(super) fn note_gone(&mut self, key: u64) {
        let at = self
            .runs
            .partition_point(|run| run.keys.last() < Some(&key));
        if let Some(run) = self.runs.get_mut(at) {
            run.dead += 1;
        }
    }

    /// Adds a batch of at most [`BATCH_LEN_MAX`] keys. `text` gives the text of a key, or nothing
    /// when its passage is gone.
    pub(super) fn add<'a>(
        &mut self,
        batch: &[u64],
        text: impl Fn(u64) -> Option<&'a str>,
    ) -> Result<(), IndexError> {
        let kept = self.kept_beside(batch.len());
        let absorbed = self.runs[kept..].iter().flat_map(|run| &run.keys);
        let run = build(absorbed.chain(batch), &text)?;
        self.runs.truncate(kept);
        self.runs.extend(run);
        for run in &mut self.runs {
            if run.dead * 2 > run.keys.len()
                && let Some(smaller) = build(run.keys.iter(), &text)?
            {
                *run = smaller;
            }
        }
        self.runs.retain(|run| run.live() > 0);
        Ok(())
    }

    /// How many runs stay as they are when a batch of `len` comes: the last ones that are not much
    /// larger become part of it.
    fn kept_beside(&self, mut len: usize) -> usize {
        let mut kept = self.runs.len();
        while let Some(run) = kept.checked_sub(1).and_then(|at| self.runs.get(at)) {
            if run.live() > len * MERGE_FACTOR || len + run.live() > BATCH_LEN_MAX {
                break;
            }
            len += run.live();
            kept -= 1;
        }
        kept
    }

    /// Shows every passage with at least one of the terms, and its BM25 score, in no particular
    /// order.
    pub(super) fn search(
        &self,
        terms: &[String],
        context: &CallContext,
        mut show: impl FnMut(u64, f32),
    ) -> Result<(), IndexError> {
        let mut shown = 0_usize;
        for run in &self.runs {
            let scoring = EnableScoring::enabled_from_statistics_provider(self, &run.searcher);
            let weight = query(run.text, terms).weight(scoring)?;
            for segment in run.searcher.segment_readers() {
                let mut scorer = weight.scorer(segment, 1.0)?;
                let mut doc = scorer.doc();
                while doc != TERMINATED {
                    if shown.is_multiple_of(STOP_CHECK_EVERY)
                        && let Some(stop) = context.stopped()
                    {
                        return Err(IndexError::Stopped(stop));
                    }
                    if let Some(&key) = run.keys.get(doc as usize) {
                        show(key, scorer.score());
                    }
                    shown += 1;
                    doc = scorer.advance();
                }
            }
        }
        Ok(())
    }
}

fn query(field: Field, terms: &[String]) -> BooleanQuery {
    let clauses = terms.iter().map(|term| {
        let term = Term::from_field_text(field, term);
        Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs)) as Box<dyn Query>
    });
    BooleanQuery::union(clauses.collect())
}

/// A run of those passages that are still there, or nothing when none are.
fn build<'a, 'k>(
    keys: impl Iterator<Item = &'k u64>,
    text_of: impl Fn(u64) -> Option<&'a str>,
) -> Result<Option<Run>, IndexError> {
    let mut schema = Schema::builder();
    let indexing = TextFieldIndexing::default()
        .set_tokenizer(ANALYZER)
        .set_index_option(IndexRecordOption::WithFreqs);
    let text = schema.add_text_field(
        "text",
        TextOptions::default().set_indexing_options(indexing),
    );
    let tokenizers = tantivy::tokenizer::TokenizerManager::default();
    tokenizers.register(ANALYZER, terms::analyzer());
    let mut writer = Index::builder()
        .schema(schema.build())
        .tokenizers(tokenizers)
        .single_segment_index_writer::<TantivyDocument>(RamDirectory::create(), BUILD_BYTES)?;
    let mut live = Vec::new();
    for &key in keys {
        if let Some(passage) = text_of(key) {
            let mut document = TantivyDocument::new();
            document.add_text(text, passage);
            writer.add_document(document)?;
            live.push(key);
        }
    }
    if live.is_empty() {
        return Ok(None);
    }
    let reader = writer
        .finalize()?
        .reader_builder()
        .reload_policy(ReloadPolicy::Manual)
        .try_into()?;
    Ok(Some(Run {
        searcher: reader.searcher(),
        text,
        keys: live,
        dead: 0,
    }))
}

/// Statistics over all runs. Passages that are gone still count until their run is built anew.
impl Bm25StatisticsProvider for TextIndex {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        self.sum(|run| run.searcher.total_num_tokens(field))
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        self.sum(|run| run.searcher.total_num_docs())
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        self.sum(|run| run.searcher.doc_freq(term))
    }
}

impl TextIndex {
    fn sum(&self, of: impl Fn(&Run) -> tantivy::Result<u64>) -> tantivy::Result<u64> {
        self.runs.iter().map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(key: u64) -> &'static str {
        ["red ship", "blue ship", "red lantern", "old quay wall"][key as usize % 4]
    }

    fn found(index: &TextIndex, term: &str) -> Vec<u64> {
        let context = crate::testing::json_call("{}").context;
        let mut keys = Vec::new();
        index
            .search(&[term.to_owned()], &context, |key, _| keys.push(key))
            .unwrap();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn runs_stay_few_when_passages_come_one_by_one() {
        let mut index = TextIndex::default();
        for key in 0..300 {
            index.add(&[key], |key| Some(passage(key))).unwrap();
            assert!(index.runs.len() <= 8, "{}", index.runs.len());
        }
        assert_eq!(found(&index, "lantern").len(), 75);
    }

    #[test]
    fn scores_do_not_depend_on_how_the_passages_came() {
        let context = crate::testing::json_call("{}").context;
        let keys: Vec<u64> = (0..100).collect();
        let scores = |batches: &[&[u64]]| {
            let mut index = TextIndex::default();
            for batch in batches {
                index.add(batch, |key| Some(passage(key))).unwrap();
            }
            let mut scores = Vec::new();
            let terms = ["red".to_owned(), "ship".to_owned()];
            index
                .search(&terms, &context, |key, score| {
                    scores.push((key, score.to_bits()));
                })
                .unwrap();
            scores.sort_unstable();
            (index.runs.len(), scores)
        };
        let (one_run, at_once) = scores(&[&keys]);
        let (several_runs, in_parts) = scores(&[&keys[..80], &keys[80..98], &keys[98..]]);
        assert!(one_run == 1 && several_runs > 1);
        assert_eq!(at_once, in_parts);
    }

    #[test]
    fn runs_of_passages_that_are_gone_are_given_up() {
        let mut index = TextIndex::default();
        let keys: Vec<u64> = (0..100).collect();
        index.add(&keys, |key| Some(passage(key))).unwrap();
        for key in 0..99 {
            index.note_gone(key);
        }
        let live = |key: u64| (key >= 99).then(|| passage(key));
        index.add(&[100], live).unwrap();
        assert_eq!(
            index.runs.iter().map(|run| run.keys.len()).sum::<usize>(),
            2
        );
        for key in [99, 100] {
            index.note_gone(key);
        }
        index
            .add(&[101], |key| (key > 100).then(|| passage(key)))
            .unwrap();
        assert_eq!(index.last_key(), Some(101));
        assert_eq!(found(&index, "ship"), [101]);
    }

    #[test]
    fn large_runs_are_left_alone() {
        let run = |len: u64| Run {
            keys: (0..len).collect(),
            ..build([0].iter(), |_| Some("text")).unwrap().unwrap()
        };
        let index = TextIndex {
            runs: vec![run(40_000), run(4_000), run(30)],
        };
        assert_eq!(index.kept_beside(1), 3);
        assert_eq!(index.kept_beside(10), 2);
        assert_eq!(index.kept_beside(2_000), 1);
        assert_eq!(index.kept_beside(9_000), 1);
        assert_eq!(index.kept_beside(BATCH_LEN_MAX), 3);
    }

    #[test]
    fn a_search_ends_when_nobody_waits_for_it() {
        let mut index = TextIndex::default();
        index.add(&[0], |key| Some(passage(key))).unwrap();
        let context = crate::testing::json_call("{}").context;
        context.cancel();
        let result = index.search(&["red".into()], &context, |_, _| {});
        assert!(matches!(result, Err(IndexError::Stopped(_))));
    }
}
