use std::time::Duration;

use harper_core::linting::{LintGroup, Linter};
use harper_core::parsers::PlainEnglish;
use harper_core::spell::FstDictionary;
use harper_core::{Dialect as HarperDialect, Document};
use proptest::prelude::*;
use serde_json::{Value, json};
use tidepool_handler::{Format, Payload};

use super::*;
use crate::testing::{answer, call_within, faults, json_call, run};

fn instance() -> Arc<dyn Instance> {
    grammar().start().unwrap()
}

fn check(text: &str) -> Value {
    answer(&*instance(), &json!({ "text": text }))
}

fn spans(output: &Value) -> Vec<(u64, u64, String)> {
    output["lints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lint| {
            let at = |name: &str| lint[name].as_u64().unwrap();
            (at("start"), at("end"), lint["kind"].to_string())
        })
        .collect()
}

/// Prose with mistakes of several kinds, in paragraphs, with quotations that span some of them.
fn prose() -> String {
    let paragraphs = [
        "The harbour master keeps a book in wich every ship is written down. Each line has a date, \
         a name and a cargo. He told me that it is better then any machine, and I beleive him: the \
         the book has never been wrong. Some ships come twice a month; others came once, a hundred \
         years ago, and nobody remembers what they carried.",
        "“Look here,” he said, “this one was a an old brig with a red sail. She left alot of salt on \
         the quay.\n\nShe did not come back. My father waited for her, and his father to, with a \
         lantern and a dog.” Then he closed the book and we went outside.",
        "it was raining  a little. The gulls did not mind, e.g. they sat on the wall as if nothing \
         had happened, and one of them looked at us with a yellow eye. I could of stayed for hours.",
        "There were 12 boats in the basin, 3 of them new. See https://example.com/boats?page=2 for \
         a list. Prices are in euros. An hour costs 1.50, a day \
         costs 9.75 and a month costs as much as you're willing to pay!",
    ];
    (0..4)
        .map(|n| format!("{}\n\n", paragraphs[n]))
        .collect::<String>()
        .repeat(6)
}

/// What the checker itself says of the whole text.
fn whole(text: &str) -> Vec<(u64, u64, String)> {
    let dictionary = FstDictionary::curated();
    let document = Document::new(text, &PlainEnglish, &dictionary);
    let mut spans: Vec<_> = LintGroup::new_curated(dictionary, HarperDialect::American)
        .lint(&document)
        .into_iter()
        .map(|lint| {
            let at = |at: usize| u64::try_from(at).unwrap();
            let kind = format!("{:?}", lint.lint_kind.to_string_key());
            (at(lint.span.start), at(lint.span.end), kind)
        })
        .collect();
    spans.sort_unstable();
    spans.dedup();
    spans
}

#[test]
fn finds_and_corrects_common_mistakes() {
    let output = check("This sentense has an mistake. It is better then the the other.");
    assert_eq!(
        output["corrected"],
        "This sentence has a mistake. It is better than the other."
    );
    assert_eq!(output["lints"][0]["kind"], "Spelling");
    assert_eq!(output["lints"][0]["suggestions"][0], "sentence");
    assert_eq!(output.get("truncated"), None);
}

#[test]
fn offsets_count_scalar_values() {
    let output = check("Ünïcödé 🦀 is older then an tree.");
    let spans: Vec<_> = spans(&output).into_iter().map(|(s, e, _)| (s, e)).collect();
    assert!(spans.contains(&(19, 23)), "{output}");
    assert!(spans.contains(&(24, 26)), "{output}");
}

#[test]
fn dialects_differ() {
    let instance = instance();
    let count = |dialect: &str| {
        let input = json!({ "text": "The colour of the harbour.", "dialect": dialect });
        answer(&*instance, &input)["lints"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(count("british"), 0);
    assert_eq!(count("canadian"), 0);
    assert_eq!(count("australian"), 0);
    assert_eq!(count("american"), 2);
}

#[test]
fn parts_give_what_the_whole_text_gives() {
    let text = prose();
    let chars: Vec<char> = text.chars().collect();
    assert!(segments::segments(&chars).len() > 6);
    let mut parts = spans(&check(&text));
    parts.sort_unstable();
    parts.dedup();
    assert_eq!(parts, whole(&text));
    assert!(parts.len() > 30, "{}", parts.len());
}

#[test]
fn answers_do_not_depend_on_earlier_requests() {
    let instance = instance();
    let input = json!({ "text": prose() });
    let first = answer(&*instance, &input);
    answer(
        &*instance,
        &json!({ "text": "It was raining a little. He told me the the." }),
    );
    assert_eq!(answer(&*instance, &input), first);
    assert_eq!(check(&prose()), first);
}

#[test]
fn refuses_texts_that_are_too_long() {
    let long = "é".repeat(TEXT_LEN_MAX + 1);
    let found = faults(run(
        &*instance(),
        json_call(json!({ "text": long }).to_string()),
    ));
    assert_eq!(found[0].0, "/text");
    assert!(found[0].1.contains("100000"), "{found:?}");
}

#[test]
fn refuses_what_does_not_fit_with_a_pointer() {
    let handler = grammar();
    let instance = handler.start().unwrap();
    let schema = jsonschema::validator_for(&handler.spec().input_schema).unwrap();
    for (body, pointer) in [
        (r#"{"text":"a","dialect":"klingon"}"#, "/dialect"),
        (r#"{"text":7}"#, "/text"),
        (r#"{"text":"a","language":"en"}"#, "/language"),
        (r"{}", ""),
        (r#"["a"]"#, ""),
        (r#""a""#, ""),
    ] {
        let found = faults(run(&*instance, json_call(body)));
        assert_eq!(found[0].0, pointer, "{body}: {found:?}");
        let input: Value = serde_json::from_str(body).unwrap();
        assert!(!schema.is_valid(&input), "{body}");
    }
    assert!(schema.is_valid(&handler.spec().example));
}

#[test]
fn answers_in_the_format_that_is_wanted() {
    let input = Payload::encode(&json!({ "text": "an mistake" }), Format::MsgPack).unwrap();
    let call = call_within(Format::MsgPack, input.bytes, Duration::from_secs(60));
    let output: Value = run(&*instance(), call).unwrap().decode().unwrap();
    assert_eq!(output["corrected"], "a mistake");
}

#[test]
fn stops_at_the_deadline_and_when_cancelled() {
    let instance = instance();
    let body = json!({ "text": prose() }).to_string();
    let call = call_within(Format::Json, body.clone(), Duration::ZERO);
    assert_eq!(run(&*instance, call), Err(Failure::DeadlineExceeded));
    let call = json_call(body);
    call.context.cancel();
    assert_eq!(run(&*instance, call), Err(Failure::Cancelled));
}

#[test]
fn lists_a_bounded_number_of_findings() {
    let output = check(&"An mistake. ".repeat(8_000));
    assert_eq!(output["lints"].as_array().unwrap().len(), LINTS_MAX);
    assert_eq!(output["truncated"], true);
    assert!(!output["corrected"].as_str().unwrap().contains("An mistake"));
}

#[test]
fn survives_odd_texts_of_full_length() {
    let instance = instance();
    for unit in [
        "a",
        " ",
        "\n",
        "\r",
        "\t",
        "\u{0}",
        "\u{feff}",
        "a ",
        "a. ",
        "1 ",
        "1.",
        "1e",
        "\" ",
        "”“",
        "…",
        "'s ",
        "’",
        "I ",
        "I'",
        "the ",
        "a-",
        "-",
        "@",
        "a@b.c ",
        "http://",
        "://",
        "[a",
        "$1",
        "1%",
        "😀",
        "👩‍👩‍👧 ",
        "مرحبا ",
        "中文 ",
        "e\u{301}",
        "\u{200f}\u{202e}x ",
        "ﬁ ",
        "İ ",
        "ß ",
        "ǅ ",
        "½ ",
        "٣ ",
        "1st ",
        "0x1g ",
        "1990s ",
        "e.g. ",
        "etc. ",
        "A.B.C. ",
        ".txt ",
        "et al. ",
    ] {
        let text: String = unit.chars().cycle().take(TEXT_LEN_MAX / 10).collect();
        answer(&*instance, &json!({ "text": text }));
    }
    answer(&*instance, &json!({ "text": "" }));
    answer(&*instance, &json!({ "text": "a".repeat(TEXT_LEN_MAX) }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn survives_any_text(
        text in "(\\PC|[a-zA-Z]{1,8}|[ \n\t]|[.,;:!?\"'’“”()\\[\\]0-9%$@#&*/_-]|the |an |I |of |is |\\p{Any}){0,60}"
    ) {
        let instance = SHARED.get_or_init(instance);
        let output = answer(&**instance, &json!({ "text": text }));
        let len = u64::try_from(text.chars().count()).unwrap();
        for (start, end, _) in spans(&output) {
            prop_assert!(start <= end && end <= len);
        }
    }
}

static SHARED: std::sync::OnceLock<Arc<dyn Instance>> = std::sync::OnceLock::new();
