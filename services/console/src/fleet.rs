//! What the fleet looks like: status, pools, workers; and the order to drain one of these.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};
use tidepool_core::status::{
    ComponentHealth, DrainError, Explanation, Hearsay, NodeOrderError, PoolStatus,
};
use tidepool_core::{NodeId, PoolName, WorkerId};
use tidepool_keda::NoAdvice;

use crate::Shared;
use crate::order::author;
use crate::problem::{Code, Problem};

/// Longest worker id that is looked up, in bytes.
const WORKER_ID_LEN_MAX: usize = 128;
/// Advice to a caller whose order could not be taken, in seconds.
const RETRY_AFTER_S: u32 = 1;

pub(crate) fn document(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(body)
}

/// All parts and how they are: those of the fleet, and the feed.
pub(crate) fn components(shared: &Shared) -> Vec<ComponentHealth> {
    let mut components = shared.fleet.health();
    components.push(shared.feed.health());
    components
}

pub(crate) async fn status(shared: web::Data<Shared>) -> HttpResponse {
    let identity = &shared.identity;
    let brief = |pool: &PoolStatus| {
        json!({
            "pool": pool.pool, "ready": pool.ready, "starting": pool.starting,
            "draining": pool.draining, "target": pool.target, "queued": pool.queued,
            "score": pool.score, "paused": pool.paused,
        })
    };
    let pools: Vec<_> = shared.fleet.pools().iter().map(brief).collect();
    document(&json!({
        "version": identity.version,
        "commit": identity.commit,
        "uptime_s": identity.started.elapsed().as_secs_f64(),
        "role": identity.role,
        "leader": identity.leader.clone().or_else(|| shared.fleet.leader()),
        "draining": shared.is_draining(),
        "addresses": identity.addresses,
        "pools": pools,
        "told_by": shared.fleet.told_by(),
        "components": components(&shared),
    }))
}

pub(crate) async fn pools(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let told_by = heard(&request, &shared)?;
    let mut body = json!({ "pools": shared.fleet.pools() });
    add_source(&mut body, told_by);
    Ok(document(&body))
}

/// Whose word it is what this process says of pools, if not its own. Only who decides about them,
/// or has heard from who does, can tell of them.
fn heard(request: &HttpRequest, shared: &Shared) -> Result<Option<Hearsay>, Problem> {
    match shared.fleet.told_by() {
        Some(told_by) => Ok(Some(told_by)),
        None => leading(request, shared).map(|()| None),
    }
}

/// What is passed on names who said it, and how long ago.
fn add_source(body: &mut Value, told_by: Option<Hearsay>) {
    if let Some(told_by) = told_by {
        body["told_by"] = json!(told_by);
    }
}

/// Only who decides about pools takes orders about them, and knows why they are as they are.
pub(crate) fn leading(request: &HttpRequest, shared: &Shared) -> Result<(), Problem> {
    match shared.fleet.not_leading() {
        Some(referral) => Err(Problem::new(Code::NotLeader, referral.detail, request)
            .refer_to(referral.operator_addr)
            .retry_after(RETRY_AFTER_S)),
        None => Ok(()),
    }
}

pub(crate) async fn pool(
    request: HttpRequest,
    shared: web::Data<Shared>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let told_by = heard(&request, &shared)?;
    let mut body = json!(known(&request, &shared, &name)?);
    add_source(&mut body, told_by);
    Ok(document(&body))
}

pub(crate) async fn explain(
    request: HttpRequest,
    shared: web::Data<Shared>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let pool = find(&request, &shared, &name)?;
    let explanation = shared.fleet.explain(&pool.pool);
    Ok(document(
        &explanation.unwrap_or_else(|| undecided(pool.pool)),
    ))
}

/// The document of KEDA's `metrics-api` scaler. What is not known is a 503, so that its fallback
/// begins; a number would be believed.
pub(crate) async fn keda(
    request: HttpRequest,
    shared: web::Data<Shared>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    heard(&request, &shared)?;
    let advice = shared.advisor.advise(&name);
    advice.map(|advice| document(&advice)).map_err(|fault| {
        let detail = fault.to_string();
        match fault {
            NoAdvice::UnknownPool { .. } => Problem::new(Code::UnknownPool, detail, &request),
            _ => Problem::new(Code::NoNumber, detail, &request)
                .retry_after(tidepool_keda::RETRY_AFTER_S),
        }
    })
}

/// A pool exists before anything has been decided about it.
fn undecided(pool: PoolName) -> Explanation {
    Explanation {
        sentence: format!(
            "Nothing has been decided about {pool} yet: the first decision follows the first \
             measurement."
        ),
        pool,
        decision: json!({}),
        blocked_by: None,
        earliest_change: None,
        counterfactual: None,
        shadows: Vec::new(),
        shadow_note: None,
    }
}

/// The pool of that name, where it is decided about.
pub(crate) fn find(
    request: &HttpRequest,
    shared: &Shared,
    name: &str,
) -> Result<PoolStatus, Problem> {
    leading(request, shared)?;
    known(request, shared, name)
}

fn known(request: &HttpRequest, shared: &Shared, name: &str) -> Result<PoolStatus, Problem> {
    let mut pools = shared.fleet.pools().into_iter();
    pools
        .find(|pool| pool.pool.as_str() == name)
        .ok_or_else(|| {
            let name: String = name.chars().take(80).collect();
            let detail = format!("there is no pool '{name}'");
            Problem::new(Code::UnknownPool, detail, request)
        })
}

pub(crate) async fn workers(shared: web::Data<Shared>) -> HttpResponse {
    let mut body = json!({ "workers": shared.fleet.workers() });
    add_referral(&mut body, &shared);
    document(&body)
}

pub(crate) async fn drain(
    request: HttpRequest,
    shared: web::Data<Shared>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let id: String = id.chars().take(WORKER_ID_LEN_MAX).collect();
    let worker = WorkerId::from_text(&id);
    match shared.fleet.drain(&worker) {
        Ok(()) => {
            tracing::info!(worker = %id, "an operator drains a worker");
            Ok(HttpResponse::Accepted().json(json!({"worker": worker, "state": "draining"})))
        }
        Err(error @ DrainError::Unknown(_)) => Err(Problem::new(
            Code::UnknownWorker,
            error.to_string(),
            &request,
        )),
        Err(error @ DrainError::Busy) => {
            let problem = Problem::new(Code::NodeBusy, error.to_string(), &request);
            Err(problem.retry_after(RETRY_AFTER_S))
        }
        Err(
            ref error @ DrainError::Elsewhere {
                ref operator_addr, ..
            },
        ) => {
            let problem = Problem::new(Code::NotHere, error.to_string(), &request);
            Err(problem.refer_to(Some(operator_addr.clone())))
        }
    }
}

pub(crate) async fn nodes(shared: web::Data<Shared>) -> HttpResponse {
    let mut body = json!({ "nodes": shared.fleet.nodes() });
    add_referral(&mut body, &shared);
    document(&body)
}

/// A list that is not of the whole fleet says so, and who has it.
fn add_referral(body: &mut Value, shared: &Shared) {
    if let Some(referral) = shared.fleet.knows_only_its_own() {
        body["elsewhere"] = json!(referral);
    }
}

pub(crate) async fn drain_node(
    request: HttpRequest,
    shared: web::Data<Shared>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    order_node(&request, &shared, &name, true).await
}

pub(crate) async fn undrain_node(
    request: HttpRequest,
    shared: web::Data<Shared>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    order_node(&request, &shared, &name, false).await
}

async fn order_node(
    request: &HttpRequest,
    shared: &Shared,
    name: &str,
    drain: bool,
) -> Result<HttpResponse, Problem> {
    leading(request, shared)?;
    let node = NodeId::new(name)
        .map_err(|error| Problem::new(Code::UnknownNode, error.to_string(), request))?;
    let ordered = shared.fleet.drain_node(&node, drain, author(request)).await;
    ordered.map_err(|error| {
        let code = match error {
            NodeOrderError::Unknown(_) => Code::UnknownNode,
            NodeOrderError::NotHere => Code::NotHere,
            NodeOrderError::TooMany(_) => Code::Invalid,
            NodeOrderError::Unavailable(_) => Code::StoreUnavailable,
        };
        let problem = Problem::new(code, error.to_string(), request);
        if code.is_retryable() {
            problem.retry_after(RETRY_AFTER_S)
        } else {
            problem
        }
    })?;
    let state = if drain { "draining" } else { "ready" };
    Ok(HttpResponse::Accepted().json(json!({"node": node, "state": state})))
}
