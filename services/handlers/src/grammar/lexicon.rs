//! The checker's dictionary, the words of our trade that it does not know, and the patience that
//! one request may ask of it.
//!
//! Looking for words that are similar to an unknown one costs milliseconds, far more than all
//! rules together, and a text can consist of unknown words. So suggestions are looked for only
//! within few edits, a bounded number of times for each request, and not after its deadline.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use harper_core::spell::{Dictionary, FstDictionary, FuzzyMatchResult, MutableDictionary, WordId};
use harper_core::{NounData, WordMetadata};
use parking_lot::Mutex;
use tidepool_handler::CallContext;

/// Longest word that is looked for with small differences, in scalar values.
const SIMILAR_LEN_MAX: usize = 32;
/// Shortest word that is looked for with as many edits as [`EDITS_MAX`]; shorter ones would be
/// similar to anything.
const EDITS_MAX_LEN_MIN: usize = 6;
/// Most edits between a word and a suggestion.
const EDITS_MAX: u8 = 3;
/// Most searches for similar words that one request gets; each takes 1 to 5 ms.
pub(super) const SEARCHES_MAX: usize = 1_000;

/// Words that are no mistakes in texts about services, each in the form in which it is written.
const TECHNICAL: &[&str] = &[
    "autoscale",
    "autoscaled",
    "autoscaler",
    "autoscalers",
    "autoscales",
    "autoscaling",
    "backpressure",
    "datalog",
    "MessagePack",
    "mutex",
    "OpenTelemetry",
    "Tidepool",
];

/// Loaded with the first checker and shared by all: some 100 MiB.
static WORDS: LazyLock<Words> = LazyLock::new(Words::load);

struct Words {
    curated: Arc<FstDictionary>,
    technical: MutableDictionary,
}

impl Words {
    fn load() -> Self {
        let noun = WordMetadata {
            noun: Some(NounData::default()),
            ..WordMetadata::default()
        };
        let mut technical = MutableDictionary::new();
        technical.extend_words(
            TECHNICAL
                .iter()
                .map(|word| (word.chars().collect::<Vec<_>>(), noun.clone())),
        );
        Self {
            curated: FstDictionary::curated(),
            technical,
        }
    }
}

/// Curated English and technical words, as one checker sees them.
#[derive(Default)]
pub(super) struct Lexicon {
    request: Mutex<Option<CallContext>>,
    /// Searches asked for in this request, those that were refused included.
    searches: AtomicUsize,
}

impl Lexicon {
    /// Begins to serve a request.
    pub(super) fn serve(&self, request: &CallContext) {
        *self.request.lock() = Some(request.clone());
        self.searches.store(0, Ordering::Relaxed);
    }

    /// Ends serving a request. False when it was refused a search: what the checker remembers of
    /// it would be wrong for others.
    pub(super) fn served(&self) -> bool {
        let request = self.request.lock().take();
        let stopped = request.is_some_and(|request| request.stopped().is_some());
        !stopped && self.searches.load(Ordering::Relaxed) <= SEARCHES_MAX
    }

    fn may_search(&self) -> bool {
        self.searches.fetch_add(1, Ordering::Relaxed) < SEARCHES_MAX
            && self
                .request
                .lock()
                .as_ref()
                .is_none_or(|request| request.stopped().is_none())
    }
}

/// Whether it is sensible to look for a word with so many edits.
fn is_worth_searching(len: usize, edits: u8) -> bool {
    len <= SIMILAR_LEN_MAX && (edits < EDITS_MAX || edits == EDITS_MAX && len >= EDITS_MAX_LEN_MIN)
}

impl Dictionary for Lexicon {
    fn contains_word(&self, word: &[char]) -> bool {
        WORDS.curated.contains_word(word) || WORDS.technical.contains_word(word)
    }

    fn contains_word_str(&self, word: &str) -> bool {
        WORDS.curated.contains_word_str(word) || WORDS.technical.contains_word_str(word)
    }

    fn contains_exact_word(&self, word: &[char]) -> bool {
        WORDS.curated.contains_exact_word(word) || WORDS.technical.contains_exact_word(word)
    }

    fn contains_exact_word_str(&self, word: &str) -> bool {
        WORDS.curated.contains_exact_word_str(word) || WORDS.technical.contains_exact_word_str(word)
    }

    fn fuzzy_match(&self, word: &[char], edits_max: u8, max: usize) -> Vec<FuzzyMatchResult<'_>> {
        if is_worth_searching(word.len(), edits_max) && self.may_search() {
            WORDS.curated.fuzzy_match(word, edits_max, max)
        } else {
            Vec::new()
        }
    }

    fn fuzzy_match_str(&self, word: &str, edits_max: u8, max: usize) -> Vec<FuzzyMatchResult<'_>> {
        let word: Vec<char> = word.chars().collect();
        self.fuzzy_match(&word, edits_max, max)
    }

    fn get_correct_capitalization_of(&self, word: &[char]) -> Option<&'_ [char]> {
        WORDS
            .curated
            .get_correct_capitalization_of(word)
            .or_else(|| WORDS.technical.get_correct_capitalization_of(word))
    }

    fn get_word_metadata(&self, word: &[char]) -> Option<&WordMetadata> {
        WORDS
            .curated
            .get_word_metadata(word)
            .or_else(|| WORDS.technical.get_word_metadata(word))
    }

    fn get_word_metadata_str(&self, word: &str) -> Option<&WordMetadata> {
        WORDS
            .curated
            .get_word_metadata_str(word)
            .or_else(|| WORDS.technical.get_word_metadata_str(word))
    }

    fn words_iter(&self) -> Box<dyn Iterator<Item = &'_ [char]> + Send + '_> {
        Box::new(
            WORDS
                .curated
                .words_iter()
                .chain(WORDS.technical.words_iter()),
        )
    }

    fn word_count(&self) -> usize {
        WORDS.curated.word_count() + WORDS.technical.word_count()
    }

    fn get_word_from_id(&self, id: &WordId) -> Option<&[char]> {
        WORDS
            .curated
            .get_word_from_id(id)
            .or_else(|| WORDS.technical.get_word_from_id(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn technical_words_are_new_to_the_curated_dictionary() {
        let curated = FstDictionary::curated();
        let known: Vec<_> = TECHNICAL
            .iter()
            .filter(|word| curated.contains_exact_word_str(word))
            .collect();
        assert!(known.is_empty(), "{known:?}");
    }

    #[test]
    fn technical_words_are_known() {
        let lexicon = Lexicon::default();
        for word in TECHNICAL {
            assert!(lexicon.contains_exact_word_str(word), "{word}");
        }
        assert!(!lexicon.contains_word_str("grammer"));
    }

    fn request() -> CallContext {
        crate::testing::json_call("{}").context
    }

    fn finds(lexicon: &Lexicon, word: &str) -> bool {
        !lexicon.fuzzy_match_str(word, 2, 10).is_empty()
    }

    #[test]
    fn searches_are_bounded_for_each_request() {
        let lexicon = Lexicon::default();
        lexicon.serve(&request());
        lexicon.searches.store(SEARCHES_MAX - 1, Ordering::Relaxed);
        assert!(finds(&lexicon, "grammer"));
        assert!(!finds(&lexicon, "grammer"));
        assert!(!lexicon.served());
        lexicon.serve(&request());
        assert!(finds(&lexicon, "grammer"));
        assert!(lexicon.served());
    }

    #[test]
    fn nothing_is_searched_for_a_request_that_has_ended() {
        let lexicon = Lexicon::default();
        let request = request();
        lexicon.serve(&request);
        request.cancel();
        assert!(!finds(&lexicon, "grammer"));
        assert!(!lexicon.served());
    }

    #[test]
    fn far_fetched_suggestions_are_not_searched() {
        assert!(is_worth_searching(8, 2) && is_worth_searching(8, 3) && is_worth_searching(3, 2));
        assert!(!is_worth_searching(5, 3) && !is_worth_searching(8, 4));
        assert!(!is_worth_searching(33, 1));
    }
}
