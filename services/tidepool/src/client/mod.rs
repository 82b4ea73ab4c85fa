//! Commands that ask or order a running process, over its operator API.

mod address;
mod events;
pub(crate) mod load;
mod operator;
mod orders;
mod pattern;
mod referral;
mod sse;
mod views;

use std::io::Write;

use anyhow::Context;
use jiff::tz::TimeZone;
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidepool_core::status::Referral;

use crate::cli::{EventsArgs, GlobalArgs, Output, PatternArgs};
use crate::config_command::refuse;
use crate::exit::{Exit, complain};
use crate::settings;
use crate::terminal::{Printer, stdout};
use operator::{CallError, Operator};
pub(crate) use orders::Order;

/// What to ask or order.
#[derive(Debug)]
pub(crate) enum Call {
    /// What happened.
    Events(EventsArgs),
    /// Why a pool, or every pool, has the size it has.
    Explain(Option<String>),
    /// The pools.
    Pools,
    /// The workers.
    Workers,
    /// Change what operators ask of a pool.
    Order(Order),
    /// What was learned of a pool.
    Pattern(PatternArgs),
    /// The nodes.
    Nodes,
    /// Drain this worker or node, or undo that of a node.
    Drain {
        /// Its name.
        id: String,
        /// Whether to let the node work again.
        undo: bool,
    },
    /// Whether the process is ready.
    Health,
}

/// Calls the process that command line and configuration name.
pub(crate) fn run(global: &GlobalArgs, call: &Call) -> Exit {
    let inputs = global.calling(std::env::vars_os().collect());
    match settings::load(&inputs) {
        Ok(loaded) => Exit::of(call_with(global, call, &loaded.settings)),
        Err(invalid) => refuse(&invalid),
    }
}

fn call_with(
    global: &GlobalArgs,
    call: &Call,
    settings: &settings::Settings,
) -> anyhow::Result<()> {
    let operator = Operator::new(global.operator_addr.as_deref(), settings)?;
    let mut printer = stdout(global.output);
    runtime()?.block_on(perform(&operator, call, &mut printer))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

async fn perform<W: Write>(
    operator: &Operator,
    call: &Call,
    printer: &mut Printer<W>,
) -> anyhow::Result<()> {
    let zone = TimeZone::system();
    match call {
        Call::Events(args) if args.follow => events::follow(operator, args, printer).await,
        Call::Events(args) => events::list(operator, args, printer).await,
        Call::Explain(pool) => explain(operator, pool.as_deref(), &zone, printer).await,
        Call::Pools => {
            let items = items(operator, "pools").await?;
            print_items(operator, &items, printer, |pools, p| {
                views::pools(pools, &zone, p)
            })
        }
        Call::Workers => {
            let items = of_the_fleet(operator, "workers").await?;
            print_items(operator, &items, printer, |workers, p| {
                views::workers(workers, &zone, p)
            })
        }
        Call::Order(order) => orders::give(operator, order, &zone, printer).await,
        Call::Pattern(args) => pattern::run(operator, args, printer).await,
        Call::Nodes => {
            let items = of_the_fleet(operator, "nodes").await?;
            print_items(operator, &items, printer, views::nodes)
        }
        Call::Drain { id, undo: false } => drain(operator, id, printer).await,
        Call::Drain { id, undo: true } => undrain(operator, id, printer).await,
        Call::Health => health(operator, printer).await,
    }
}

/// The items of a collection of the whole fleet. Where only its own are known to the process that is
/// called, the one it names is asked; and if that fails, its own are better than none.
async fn of_the_fleet(operator: &Operator, collection: &str) -> Result<Vec<Value>, CallError> {
    let answer = operator.get(&["v1", collection], &[]).await?;
    let referral = answer.get("elsewhere").map(Referral::deserialize);
    let own = listed(operator, answer, collection)?;
    let Some(referral) = referral else {
        return Ok(own);
    };
    let referral = referral.map_err(|_| operator.foreign())?;
    match follow_for(operator, collection, &referral).await {
        Err(error) if !own.is_empty() => {
            let told = format!("{error}; these {collection} are those of the process called");
            complain(&told);
            Ok(own)
        }
        answered => answered,
    }
}

async fn follow_for(
    operator: &Operator,
    collection: &str,
    referral: &Referral,
) -> Result<Vec<Value>, CallError> {
    operator.follow(referral)?;
    let answer = operator.get(&["v1", collection], &[]).await?;
    // One that knows no more than its own either refers to somebody else, who is not asked.
    if let Some(referral) = answer.get("elsewhere") {
        let referral = Referral::deserialize(referral).map_err(|_| operator.foreign())?;
        operator.follow(&referral)?;
    }
    listed(operator, answer, collection)
}

/// The items of a collection: the answer itself, or its member of that name.
async fn items(operator: &Operator, collection: &str) -> Result<Vec<Value>, CallError> {
    let answer = operator.get(&["v1", collection], &[]).await?;
    listed(operator, answer, collection)
}

fn listed(operator: &Operator, answer: Value, collection: &str) -> Result<Vec<Value>, CallError> {
    match answer {
        Value::Array(items) => Ok(items),
        Value::Object(mut object) => match object.remove(collection) {
            Some(Value::Array(items)) => Ok(items),
            _ => Err(operator.foreign()),
        },
        _ => Err(operator.foreign()),
    }
}

fn print_items<W: Write, T: DeserializeOwned>(
    operator: &Operator,
    items: &[Value],
    printer: &mut Printer<W>,
    print: impl FnOnce(&[T], &mut Printer<W>) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    if printer.form != Output::Text {
        return Ok(printer.json_items(items)?);
    }
    let typed: Result<Vec<T>, _> = items.iter().map(T::deserialize).collect();
    Ok(print(&typed.map_err(|_| operator.foreign())?, printer)?)
}

async fn explain<W: Write>(
    operator: &Operator,
    pool: Option<&str>,
    zone: &TimeZone,
    printer: &mut Printer<W>,
) -> anyhow::Result<()> {
    if let Some(pool) = pool {
        let answer = operator.get(&["v1", "pools", pool, "explain"], &[]).await?;
        if printer.form != Output::Text {
            return Ok(printer.json(&answer)?);
        }
        let explanation = serde_json::from_value(answer).map_err(|_| operator.foreign())?;
        return Ok(views::explanation(&explanation, zone, printer)?);
    }
    let mut answers = Vec::new();
    for item in items(operator, "pools").await? {
        let pool = item["pool"].as_str().ok_or_else(|| operator.foreign())?;
        answers.push(operator.get(&["v1", "pools", pool, "explain"], &[]).await?);
    }
    print_items(operator, &answers, printer, |explanations, p| {
        explanations
            .iter()
            .try_for_each(|explanation| views::explanation(explanation, zone, p))
    })
}

async fn drain<W: Write>(
    operator: &Operator,
    id: &str,
    printer: &mut Printer<W>,
) -> anyhow::Result<()> {
    let answer = match operator.post(&["v1", "workers", id, "drain"]).await {
        Err(CallError::Problem { status, .. }) if status == StatusCode::NOT_FOUND => {
            let answer = operator.post(&["v1", "nodes", id, "drain"]).await;
            answer.map_err(|error| neither(error, id))?
        }
        answer => answer?,
    };
    if printer.form != Output::Text {
        return Ok(printer.json(&answer)?);
    }
    let promise = "is draining: it finishes what it has and gets nothing new";
    Ok(printer.line(&format!("{} {promise}", crate::terminal::harmless(id)))?)
}

/// Told when an id names neither a worker nor a node.
fn neither(error: CallError, id: &str) -> CallError {
    match error {
        CallError::Problem { status, .. } if status == StatusCode::NOT_FOUND => {
            let id = crate::terminal::harmless(id);
            let detail = format!("there is no worker '{id}', and no node of that name");
            CallError::Problem { status, detail }
        }
        error => error,
    }
}

async fn undrain<W: Write>(
    operator: &Operator,
    id: &str,
    printer: &mut Printer<W>,
) -> anyhow::Result<()> {
    let answer = operator.delete(&["v1", "nodes", id, "drain"]).await?;
    if printer.form != Output::Text {
        return Ok(printer.json(&answer)?);
    }
    let promise = "takes workers again";
    Ok(printer.line(&format!("{} {promise}", crate::terminal::harmless(id)))?)
}

async fn health<W: Write>(operator: &Operator, printer: &mut Printer<W>) -> anyhow::Result<()> {
    operator.probe("readyz").await.context("not ready")?;
    if printer.form != Output::Text {
        return Ok(printer.json(&serde_json::json!({ "ready": true }))?);
    }
    Ok(printer.line("ready")?)
}
