//! The service before the application: requests for kinds are answered here, everything else
//! goes to actix-web.
//!
//! An application matches routes, keeps a pool of request objects and boxes a future for each
//! request; that costs more than a small request itself. Nothing of it is needed to invoke a kind.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_http::{Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::body::{BoxBody, EitherBody};
use actix_web::dev::{AppConfig, ServiceResponse, Url};
use actix_web::http::Uri;
use actix_web::{App, Error, web};
use futures_util::future::LocalBoxFuture;

use super::invoke::{Answer, invoke};
use super::respond::Outgoing;
use super::{Api, pages};

/// What stands before the name of a kind.
const PREFIX: &str = "/v1/invoke";

/// The whole API, for [`actix_web::HttpServer::new`].
pub fn front(
    api: web::Data<Api>,
) -> impl ServiceFactory<
    Request,
    Config = AppConfig,
    Response = Outgoing,
    Error = Error,
    InitError = (),
    Service: 'static,
    Future: 'static,
> + 'static {
    let pages = pages::scope(api.openapi.clone());
    let app = App::new().app_data(api.clone()).service(pages);
    Front {
        api: api.into_inner(),
        app: app.into_factory(),
    }
}

struct Front<A> {
    api: Arc<Api>,
    app: A,
}

impl<A> ServiceFactory<Request> for Front<A>
where
    A: ServiceFactory<
            Request,
            Config = AppConfig,
            Response = ServiceResponse<BoxBody>,
            Error = Error,
            InitError = (),
        >,
    A::Future: 'static,
    <A::Service as Service<Request>>::Future: 'static,
{
    type Response = Outgoing;
    type Error = Error;
    type Config = AppConfig;
    type Service = FrontService<A::Service>;
    type InitError = ();
    type Future = LocalBoxFuture<'static, Result<Self::Service, ()>>;

    fn new_service(&self, config: AppConfig) -> Self::Future {
        let api = Arc::clone(&self.api);
        let app = self.app.new_service(config);
        Box::pin(async move {
            Ok(FrontService {
                api,
                app: app.await?,
            })
        })
    }
}

struct FrontService<S> {
    api: Arc<Api>,
    app: S,
}

impl<S> Service<Request> for FrontService<S>
where
    S: Service<Request, Response = ServiceResponse<BoxBody>, Error = Error>,
    S::Future: 'static,
{
    type Response = Outgoing;
    type Error = Error;
    type Future = Answering;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.app.poll_ready(context)
    }

    fn call(&self, request: Request) -> Answering {
        if kind_name(request.uri()).is_none() {
            let answer = self.app.call(request);
            return Answering::App(Box::pin(async move {
                let response: Response<BoxBody> = answer.await?.into();
                Ok(response.map_body(|_, body| EitherBody::right(body)))
            }));
        }
        let (head, payload) = request.into_parts();
        match invoke(&self.api, head, payload) {
            Answer::Ready(outgoing) => Answering::Ready(Some(outgoing)),
            Answer::Later(later) => Answering::Later(later),
        }
    }
}

/// The name in the path of a request for a kind, whether there is such a kind or not.
pub(super) fn kind_name(uri: &Uri) -> Option<Cow<'_, str>> {
    let after = |path: &str| {
        let rest = path.strip_prefix(PREFIX)?;
        match rest.strip_prefix('/') {
            Some(_) => Some(PREFIX.len() + 1),
            None => rest.is_empty().then_some(PREFIX.len()),
        }
    };
    let path = uri.path();
    if path.contains('%') {
        let decoded = Url::new(uri.clone());
        let name = decoded.path().get(after(decoded.path())?..)?;
        return Some(Cow::Owned(name.to_owned()));
    }
    path.get(after(path)?..).map(Cow::Borrowed)
}

/// An answer on its way.
enum Answering {
    Ready(Option<Outgoing>),
    Later(LocalBoxFuture<'static, Outgoing>),
    App(LocalBoxFuture<'static, Result<Outgoing, Error>>),
}

impl Future for Answering {
    type Output = Result<Outgoing, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            // Polled once, as any future that is ready.
            Self::Ready(outgoing) => outgoing
                .take()
                .map_or(Poll::Pending, |o| Poll::Ready(Ok(o))),
            Self::Later(later) => later.as_mut().poll(context).map(Ok),
            Self::App(answer) => answer.as_mut().poll(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_name_of_a_kind_and_leaves_other_paths_alone() {
        for (path, name) in [
            ("/v1/invoke/echo", Some("echo")),
            ("/v1/invoke/echo?x=1", Some("echo")),
            ("/v1/invoke/ech%6f", Some("echo")),
            ("/v1/inv%6Fke/echo", Some("echo")),
            ("/v1/invoke/a/b", Some("a/b")),
            ("/v1/invoke/", Some("")),
            ("/v1/invoke", Some("")),
            ("/v1/invoked", None),
            ("/v1/kinds", None),
            ("/", None),
        ] {
            let uri: Uri = path.parse().unwrap();
            assert_eq!(kind_name(&uri).as_deref(), name, "{path}");
        }
    }
}
