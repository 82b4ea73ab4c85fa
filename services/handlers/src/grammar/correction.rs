//! A text with the most important findings corrected.

use super::Finding;

/// The text in which the first suggestion of each finding has taken its place. The more important
/// of two overlapping ones wins (lower priority number; then the earlier, then the longer);
/// findings without a suggestion change nothing and stand in nobody's way.
pub(super) fn corrected(text: &[char], findings: &[Finding]) -> String {
    let mut edits: Vec<&Finding> = findings
        .iter()
        .filter(|finding| !finding.suggestions.is_empty())
        .collect();
    edits.sort_by_key(|edit| (edit.priority, edit.start, std::cmp::Reverse(edit.end)));
    let chosen = without_overlaps(edits);

    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let mut at = 0;
    for edit in chosen {
        out.extend(&text[at..edit.start]);
        out.push_str(&edit.suggestions[0]);
        at = edit.end;
    }
    out.extend(&text[at..]);
    out
}

/// Those that overlap none before them, in the order of the text.
fn without_overlaps(edits: Vec<&Finding>) -> Vec<&Finding> {
    let mut chosen = std::collections::BTreeMap::<usize, &Finding>::new();
    for edit in edits {
        let before = chosen.range(..=edit.start).next_back();
        let after = chosen.range(edit.start..).next();
        let free_before =
            before.is_none_or(|(&start, b)| b.end <= edit.start && start < edit.start);
        let free_after = after.is_none_or(|(&start, _)| edit.end <= start && start > edit.start);
        if free_before && free_after {
            chosen.insert(edit.start, edit);
        }
    }
    chosen.into_values().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn finding(start: usize, end: usize, priority: u8, suggestions: &[&str]) -> Finding {
        Finding {
            start,
            end,
            kind: "Spelling".into(),
            message: String::new(),
            suggestions: suggestions.iter().map(ToString::to_string).collect(),
            priority,
        }
    }

    fn correct(text: &str, findings: &[Finding]) -> String {
        corrected(&text.chars().collect::<Vec<_>>(), findings)
    }

    #[test]
    fn first_suggestions_take_their_places() {
        let findings = [finding(4, 7, 9, &["new", "odd"]), finding(0, 3, 9, &["A"])];
        assert_eq!(correct("The old é", &findings), "A new é");
    }

    #[test]
    fn the_more_important_of_overlapping_ones_wins() {
        let findings = [finding(0, 7, 50, &["long"]), finding(4, 7, 10, &["new"])];
        assert_eq!(correct("the old", &findings), "the new");
        let findings = [finding(0, 3, 10, &["a"]), finding(0, 7, 10, &["long"])];
        assert_eq!(correct("the old", &findings), "long");
    }

    #[test]
    fn findings_without_suggestions_stand_in_nobodys_way() {
        let findings = [finding(0, 7, 1, &[]), finding(4, 7, 99, &["new"])];
        assert_eq!(correct("the old", &findings), "the new");
    }

    #[test]
    fn neighbours_do_not_overlap() {
        let findings = [
            finding(0, 3, 1, &["a"]),
            finding(3, 4, 1, &[""]),
            finding(4, 7, 1, &["b"]),
        ];
        assert_eq!(correct("the old", &findings), "ab");
    }

    proptest! {
        #[test]
        fn removing_everything_found_leaves_what_was_not(
            spans in proptest::collection::vec((0_usize..60, 1_usize..9, 0_u8..4), 0..12)
        ) {
            let text: Vec<char> = ('0'..='z').collect();
            let findings: Vec<_> = spans
                .iter()
                .map(|&(start, len, priority)| finding(start, start + len, priority, &[""]))
                .collect();
            let left = corrected(&text, &findings);
            let untouched = |at: usize| findings.iter().all(|f| !(f.start..f.end).contains(&at));
            for (at, c) in text.iter().enumerate() {
                prop_assert!(!untouched(at) || left.contains(*c));
            }
            if let Some(best) = findings.iter().min_by_key(|f| (f.priority, f.start, usize::MAX - f.end)) {
                prop_assert!(text[best.start..best.end].iter().all(|c| !left.contains(*c)));
            }
        }
    }
}
