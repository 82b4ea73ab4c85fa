//! A client of the contract, with messages of its own: numbered here once more, from what KEDA
//! publishes, so that a wrong number on either side is seen. The tests of the whole program ask with
//! it, too.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// Longest wait for a connection and for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Object {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) namespace: String,
    #[prost(map = "string, string", tag = "3")]
    pub(crate) metadata: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Active {
    #[prost(bool, tag = "1")]
    pub(crate) result: bool,
}

/// A specification or a value: both have a name, a whole number and a real one.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metric {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int64, tag = "2")]
    pub(crate) whole: i64,
    #[prost(double, tag = "3")]
    pub(crate) real: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metrics {
    #[prost(message, repeated, tag = "1")]
    pub(crate) metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Question {
    #[prost(message, optional, tag = "1")]
    pub(crate) object: Option<Object>,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
}

/// The object of a trigger with this metadata.
pub(crate) fn object(metadata: &[(&str, &str)]) -> Object {
    let metadata = metadata.iter();
    Object {
        name: "web".into(),
        namespace: "shop".into(),
        metadata: metadata
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

/// One connection.
#[derive(Clone)]
pub(crate) struct Client {
    channel: Channel,
    authorization: Option<String>,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{addr}"))
            .expect("an address")
            .connect_timeout(ANSWER_MAX)
            .timeout(ANSWER_MAX);
        Self {
            channel: endpoint.connect().await.expect("a connection"),
            authorization: None,
        }
    }

    pub(crate) fn authorized(mut self, authorization: &str) -> Self {
        self.authorization = Some(authorization.to_owned());
        self
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            let value = authorization.parse().expect("a header");
            request.metadata_mut().insert("authorization", value);
        }
        request
    }

    async fn ready(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.channel.clone());
        let ready = grpc.ready().await;
        ready.map_err(|error| Status::unknown(error.to_string()))?;
        Ok(grpc)
    }

    pub(crate) async fn call<A, B>(&self, method: &str, message: A) -> Result<B, Status>
    where
        A: Message + Default + 'static,
        B: Message + Default + 'static,
    {
        let mut grpc = self.ready().await?;
        let codec = ProstCodec::<A, B>::default();
        let answer = grpc.unary(self.request(message), path(method), codec);
        answer.await.map(Response::into_inner)
    }

    pub(crate) async fn stream(&self, message: Object) -> Result<Streaming<Active>, Status> {
        let mut grpc = self.ready().await?;
        let codec = ProstCodec::<Object, Active>::default();
        let request = self.request(message);
        let answer = grpc.server_streaming(request, path("StreamIsActive"), codec);
        answer.await.map(Response::into_inner)
    }

    pub(crate) async fn is_active(&self, pool: &str) -> Result<bool, Status> {
        let active: Active = self.call("IsActive", object(&[("pool", pool)])).await?;
        Ok(active.result)
    }

    pub(crate) async fn specs(&self, object: Object) -> Result<Vec<Metric>, Status> {
        let specs: Metrics = self.call("GetMetricSpec", object).await?;
        Ok(specs.metrics)
    }

    pub(crate) async fn values(&self, pool: &str) -> Result<Vec<Metric>, Status> {
        self.values_of(object(&[("pool", pool)])).await
    }

    /// The same for a trigger that says more than its pool.
    pub(crate) async fn values_of(&self, object: Object) -> Result<Vec<Metric>, Status> {
        let question = Question {
            name: format!("tidepool-{}", object.metadata["pool"]),
            object: Some(object),
        };
        let values: Metrics = self.call("GetMetrics", question).await?;
        Ok(values.metrics)
    }
}

fn path(method: &str) -> PathAndQuery {
    let path = format!("/externalscaler.ExternalScaler/{method}");
    PathAndQuery::try_from(path).expect("a path")
}
