//! The gRPC service: what KEDA asks, answered from the advisor.

use std::collections::HashMap;
use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use tidepool_core::PoolName;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::activity::Activity;
use crate::advice::{Advice, NoAdvice};
use crate::advisor::Advisor;
use crate::proto::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec,
    MetricValue, ScaledObjectRef,
};
use crate::token::Guard;

#[allow(
    unreachable_pub,
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "written by the build script for this crate alone"
)]
mod generated {
    include!(concat!(
        env!("OUT_DIR"),
        "/externalscaler.ExternalScaler.rs"
    ));
}

pub(crate) use generated::external_scaler_server::{ExternalScaler, ExternalScalerServer};

/// Key of the scaler's metadata that names the pool.
const POOL_KEY: &str = "pool";
/// Workers that one replica stands for.
const TARGET: u8 = 1;

impl From<NoAdvice> for Status {
    fn from(fault: NoAdvice) -> Self {
        match fault {
            NoAdvice::UnknownPool { .. } => Self::not_found(fault.to_string()),
            NoAdvice::Undecided(_) | NoAdvice::Silent { .. } | NoAdvice::Blind(_) => {
                Self::unavailable(fault.to_string())
            }
        }
    }
}

/// The service.
pub(crate) struct Scaler {
    pub(crate) advisor: Advisor,
    pub(crate) activity: Activity,
    pub(crate) guard: Guard,
}

impl Scaler {
    /// The pool that a caller who may ask names.
    fn pool(&self, headers: &MetadataMap, object: &ScaledObjectRef) -> Result<PoolName, Status> {
        let metadata = &object.scaler_metadata;
        self.guard.admit(headers, metadata)?;
        let name = pool_key(metadata).ok_or_else(|| {
            let known = self.advisor.listed();
            Status::invalid_argument(format!(
                "the trigger's metadata has no `{POOL_KEY}`: name one of the pools: {known}"
            ))
        })?;
        Ok(self.advisor.known(name)?.clone())
    }

    fn advice(&self, request: &Request<ScaledObjectRef>) -> Result<Advice, Status> {
        let pool = self.pool(request.metadata(), request.get_ref())?;
        Ok(self.advisor.advise(pool.as_str())?)
    }
}

fn pool_key(metadata: &HashMap<String, String>) -> Option<&str> {
    let name = metadata.get(POOL_KEY)?.trim();
    (!name.is_empty()).then_some(name)
}

fn metric_name(pool: &PoolName) -> String {
    format!("tidepool-{pool}")
}

/// A stream of states.
type States = Pin<Box<dyn Stream<Item = Result<IsActiveResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ExternalScaler for Scaler {
    type StreamIsActiveStream = States;

    async fn is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<IsActiveResponse>, Status> {
        let result = self.advice(&request)?.desired_workers > 0;
        Ok(Response::new(IsActiveResponse { result }))
    }

    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<States>, Status> {
        let pool = self.pool(request.metadata(), request.get_ref())?;
        let states = self.activity.subscribe(pool)?;
        let answers = states.map(|result| Ok(IsActiveResponse { result }));
        Ok(Response::new(Box::pin(answers)))
    }

    /// Answers without a look at the fleet: where this fails, KEDA's fallback never begins.
    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        let pool = self.pool(request.metadata(), request.get_ref())?;
        let spec = MetricSpec {
            metric_name: metric_name(&pool),
            target_size: TARGET.into(),
            target_size_float: TARGET.into(),
        };
        Ok(Response::new(GetMetricSpecResponse {
            metric_specs: vec![spec],
        }))
    }

    async fn get_metrics(
        &self,
        request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        let (headers, _, asked) = request.into_parts();
        let object = asked.scaled_object_ref.unwrap_or_default();
        let pool = self.pool(&headers, &object)?;
        let name = metric_name(&pool);
        if !asked.metric_name.is_empty() && asked.metric_name != name {
            let fault = format!("the pool {pool} has one metric, and it is {name}");
            return Err(Status::invalid_argument(fault));
        }
        let desired = self.advisor.advise(pool.as_str())?.desired_workers;
        let value = MetricValue {
            metric_name: name,
            metric_value: desired.into(),
            metric_value_float: desired.into(),
        };
        Ok(Response::new(GetMetricsResponse {
            metric_values: vec![value],
        }))
    }
}
