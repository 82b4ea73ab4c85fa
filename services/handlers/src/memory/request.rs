//! Inputs of `memory`: read by operation, so that a fault names its place, and checked as a whole.

use jiff::Timestamp;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tidepool_handler::{Call, Failure, Fault};
use uuid::Uuid;

use super::operation::{Item, STORE_BYTES_MAX, encoded_bytes};
use super::recall::Wanted;
use crate::input::Object;

/// Longest name of a namespace.
pub(super) const NAMESPACE_LEN_MAX: usize = 128;
/// Most passages of one store.
pub(super) const ITEMS_MAX: usize = 1_000;
/// Longest text of a passage, in Unicode scalar values.
pub(super) const TEXT_LEN_MAX: usize = 32_768;
/// Most tags of a passage or a recall.
pub(super) const TAGS_MAX: usize = 16;
/// Longest tag, in Unicode scalar values.
pub(super) const TAG_LEN_MAX: usize = 64;
/// Longest id, in Unicode scalar values.
pub(super) const ID_LEN_MAX: usize = 128;
/// Most ids of one forget.
pub(super) const IDS_MAX: usize = 1_000;
/// Longest query, in Unicode scalar values.
pub(super) const QUERY_LEN_MAX: usize = 4_096;
/// Most passages of one recall.
pub(super) const LIMIT_MAX: usize = 100;
/// Passages of a recall that names no limit.
const LIMIT_DEFAULT: usize = 10;

/// A checked input.
pub(super) struct Request {
    pub(super) namespace: String,
    pub(super) action: Action,
}

/// What is to be done.
pub(super) enum Action {
    Store(Vec<Item>),
    Recall(Wanted),
    /// By id, or everything.
    Forget(Option<Vec<String>>),
    Stats,
}

#[derive(Deserialize)]
struct Head {
    op: Op,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Store,
    Recall,
    Forget,
    Stats,
}

/// Adds passages; one with an id that is there already replaces it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StoreInput {
    #[serde(rename = "op")]
    #[schemars(with = "String", extend("const" = "store"))]
    _op: IgnoredAny,
    #[schemars(with = "NamespaceName")]
    namespace: String,
    #[schemars(with = "Vec<ItemInput>", length(min = 1, max = 1_000))]
    items: Vec<Object<ItemInput>>,
}

/// A passage to store.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ItemInput {
    /// Unique in its namespace; minted unless given.
    #[schemars(with = "Option<Id>")]
    id: Option<String>,
    #[schemars(length(min = 1, max = 32_768))]
    text: String,
    #[schemars(with = "Option<Vec<Tag>>", length(max = 16))]
    tags: Option<Vec<String>>,
    /// When it was (RFC 3339); now unless given.
    #[schemars(with = "Option<Time>")]
    at: Option<Timestamp>,
}

/// Finds passages by their words, or the newest when the query has none.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RecallInput {
    #[serde(rename = "op")]
    #[schemars(with = "String", extend("const" = "recall"))]
    _op: IgnoredAny,
    #[schemars(with = "NamespaceName")]
    namespace: String,
    /// Words in any order; there is no query syntax.
    #[schemars(length(max = 4_096))]
    query: String,
    /// Most matches; 10 unless given.
    #[schemars(range(min = 1, max = 100))]
    limit: Option<usize>,
    /// Tags that a match must have, all of them.
    #[schemars(with = "Option<Vec<Tag>>", length(max = 16))]
    tags: Option<Vec<String>>,
    /// A match must be at least as new (RFC 3339).
    #[schemars(with = "Option<Time>")]
    since: Option<Timestamp>,
    /// A match must be at most as new (RFC 3339).
    #[schemars(with = "Option<Time>")]
    until: Option<Timestamp>,
}

/// Removes passages: either those of some `ids`, or `all`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["ids"] },
    { "required": ["all"], "properties": { "all": { "const": true } } },
]))]
struct ForgetInput {
    #[serde(rename = "op")]
    #[schemars(with = "String", extend("const" = "forget"))]
    _op: IgnoredAny,
    #[schemars(with = "NamespaceName")]
    namespace: String,
    #[schemars(with = "Option<Vec<Id>>", length(min = 1, max = 1_000))]
    ids: Option<Vec<String>>,
    all: Option<bool>,
}

/// Counts what a namespace holds.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StatsInput {
    #[serde(rename = "op")]
    #[schemars(with = "String", extend("const" = "stats"))]
    _op: IgnoredAny,
    #[schemars(with = "NamespaceName")]
    namespace: String,
}

/// Letters, digits and `.`, `_`, `:`, `-`.
#[derive(JsonSchema)]
#[schemars(inline)]
struct NamespaceName(
    #[expect(dead_code, reason = "only describes")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9._:-]{1,128}$"))]
    String,
);

#[derive(JsonSchema)]
#[schemars(inline)]
struct Id(
    #[expect(dead_code, reason = "only describes")]
    #[schemars(length(min = 1, max = 128))]
    String,
);

#[derive(JsonSchema)]
#[schemars(inline)]
struct Tag(
    #[expect(dead_code, reason = "only describes")]
    #[schemars(length(min = 1, max = 64))]
    String,
);

#[derive(JsonSchema)]
#[schemars(inline)]
struct Time(
    #[expect(dead_code, reason = "only describes")]
    #[schemars(extend("format" = "date-time"))]
    String,
);

impl Request {
    /// Reads and checks an input. Passages without a time get `now`.
    ///
    /// # Errors
    /// [`Failure::Malformed`], or [`Failure::Invalid`] with each fault that was found.
    pub(super) fn read(call: &Call, now: Timestamp) -> Result<Self, Failure> {
        let Object(Head { op }) = call.decode()?;
        let mut faults = Faults::default();
        let request = match op {
            Op::Store => store(call.decode::<Object<StoreInput>>()?.0, now, &mut faults),
            Op::Recall => recall(call.decode::<Object<RecallInput>>()?.0, &mut faults),
            Op::Forget => forget(call.decode::<Object<ForgetInput>>()?.0, &mut faults),
            Op::Stats => Self {
                namespace: call.decode::<Object<StatsInput>>()?.0.namespace,
                action: Action::Stats,
            },
        };
        faults.check_namespace(&request.namespace);
        faults.none_or(request)
    }
}

fn store(input: StoreInput, now: Timestamp, faults: &mut Faults) -> Request {
    faults.check_count("/items", input.items.len(), 1, ITEMS_MAX);
    let mut items = Vec::with_capacity(input.items.len().min(ITEMS_MAX));
    for (at, Object(item)) in input.items.into_iter().enumerate() {
        items.push(checked_item(&format!("/items/{at}"), item, now, faults));
    }
    if encoded_bytes(&items) > STORE_BYTES_MAX {
        faults.add(
            "/items",
            format!("must have at most {STORE_BYTES_MAX} bytes in all: store them in parts"),
        );
    }
    Request {
        namespace: input.namespace,
        action: Action::Store(items),
    }
}

fn checked_item(pointer: &str, input: ItemInput, now: Timestamp, faults: &mut Faults) -> Item {
    faults.check_length(format!("{pointer}/text"), &input.text, 1, TEXT_LEN_MAX);
    if let Some(id) = &input.id {
        faults.check_length(format!("{pointer}/id"), id, 1, ID_LEN_MAX);
    }
    let tags = checked_tags(&format!("{pointer}/tags"), input.tags, faults);
    Item {
        id: input.id.unwrap_or_else(|| Uuid::now_v7().to_string()),
        text: input.text,
        tags,
        at_us: input.at.unwrap_or(now).as_microsecond(),
    }
}

/// Tags without repetitions.
fn checked_tags(pointer: &str, tags: Option<Vec<String>>, faults: &mut Faults) -> Vec<String> {
    let tags = tags.unwrap_or_default();
    faults.check_count(pointer, tags.len(), 0, TAGS_MAX);
    let mut unique: Vec<String> = Vec::with_capacity(tags.len().min(TAGS_MAX));
    for (at, tag) in tags.into_iter().enumerate().take(TAGS_MAX) {
        faults.check_length(format!("{pointer}/{at}"), &tag, 1, TAG_LEN_MAX);
        if !unique.contains(&tag) {
            unique.push(tag);
        }
    }
    unique
}

fn recall(input: RecallInput, faults: &mut Faults) -> Request {
    faults.check_length("/query", &input.query, 0, QUERY_LEN_MAX);
    let limit = input.limit.unwrap_or(LIMIT_DEFAULT);
    if limit == 0 || limit > LIMIT_MAX {
        faults.add("/limit", format!("must be 1 to {LIMIT_MAX}"));
    }
    Request {
        namespace: input.namespace,
        action: Action::Recall(Wanted {
            query: input.query,
            limit,
            tags: checked_tags("/tags", input.tags, faults),
            since_us: input.since.map(Timestamp::as_microsecond),
            until_us: input.until.map(Timestamp::as_microsecond),
        }),
    }
}

fn forget(input: ForgetInput, faults: &mut Faults) -> Request {
    match (&input.ids, input.all) {
        (Some(ids), None | Some(false)) => {
            faults.check_count("/ids", ids.len(), 1, IDS_MAX);
            for (at, id) in ids.iter().enumerate().take(IDS_MAX) {
                faults.check_length(format!("/ids/{at}"), id, 1, ID_LEN_MAX);
            }
        }
        (None, Some(true)) => {}
        (Some(_), Some(true)) => faults.add("/all", "must not be given together with `ids`"),
        (None, _) => faults.add("", "must have either `ids` or `\"all\": true`"),
    }
    Request {
        namespace: input.namespace,
        action: Action::Forget(input.ids),
    }
}

/// What is wrong with an input.
#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.0.push(Fault::at(pointer, message));
    }

    fn check_length(&mut self, pointer: impl Into<String>, text: &str, min: usize, max: usize) {
        let len = text.chars().count();
        if len < min || len > max {
            self.add(
                pointer,
                format!("must have {min} to {max} characters, has {len}"),
            );
        }
    }

    fn check_count(&mut self, pointer: &str, len: usize, min: usize, max: usize) {
        if len < min || len > max {
            self.add(
                pointer,
                format!("must have {min} to {max} items, has {len}"),
            );
        }
    }

    fn check_namespace(&mut self, name: &str) {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
        if name.is_empty() || name.len() > NAMESPACE_LEN_MAX || !name.bytes().all(is_allowed) {
            let message = format!(
                "must have 1 to {NAMESPACE_LEN_MAX} letters, digits or any of '.', '_', ':', '-'"
            );
            self.add("/namespace", message);
        }
    }

    fn none_or<T>(self, value: T) -> Result<T, Failure> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(Failure::Invalid { faults: self.0 })
        }
    }
}

/// JSON Schema of the input: which operation it is decides which schema holds, so that a fault is
/// found at its place and not in all alternatives.
pub(super) fn input_schema() -> Value {
    let then = |op: &str, schema: Value| {
        json!({
            "if": { "required": ["op"], "properties": { "op": { "const": op } } },
            "then": schema,
        })
    };
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "MemoryInput",
        "type": "object",
        "required": ["op", "namespace"],
        "properties": { "op": { "enum": ["store", "recall", "forget", "stats"] } },
        "allOf": [
            then("store", schema_of::<StoreInput>()),
            then("recall", schema_of::<RecallInput>()),
            then("forget", schema_of::<ForgetInput>()),
            then("stats", schema_of::<StatsInput>()),
        ],
    })
}

/// A schema that stands for itself, without references.
fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    Schema::to_value(settings.into_generator().into_root_schema_for::<T>())
}
