//! The two HTTP listeners: clients and operators never share one.

use std::net::SocketAddr;

use actix_web::dev::{Server, ServerHandle};
use actix_web::http::KeepAlive;
use actix_web::{App, HttpServer, web};
use anyhow::Context;
use tidepool_balancer::Api;
use tidepool_console::Console;

use crate::settings::Http;

/// Most connections of operators.
const OPERATOR_CONNECTIONS_MAX: usize = 1_024;

/// A server that runs, and where.
pub(super) struct Listener {
    pub(super) addr: SocketAddr,
    pub(super) handle: ServerHandle,
}

impl Listener {
    fn run(server: Server, addr: SocketAddr) -> Self {
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self { addr, handle }
    }
}

/// Serves clients.
pub(super) fn serve_clients(http: &Http, api: web::Data<Api>) -> anyhow::Result<Listener> {
    let app = move || tidepool_balancer::front(api.clone());
    let keep_alive = if http.keep_alive.is_zero() {
        KeepAlive::Disabled
    } else {
        KeepAlive::Timeout(http.keep_alive)
    };
    let server = HttpServer::new(app)
        .workers(http.threads)
        .max_connections(http.connections_max.div_ceil(http.threads))
        .keep_alive(keep_alive)
        .client_request_timeout(http.request_head_timeout)
        // A caller that closes its sending half has gone: its request is cancelled.
        .h1_allow_half_closed(false)
        .shutdown_timeout(http.shutdown_grace.as_secs())
        .disable_signals()
        .bind(http.api_addr)
        .with_context(|| cannot_listen("http.api_addr", http.api_addr))?;
    let addr = first(&server.addrs())?;
    Ok(Listener::run(server.run(), addr))
}

/// Serves operators, on one thread of their own. The console is told its address.
pub(super) fn serve_operators(
    http: &Http,
    console: impl FnOnce(SocketAddr) -> Result<Console, prometheus::Error>,
) -> anyhow::Result<Listener> {
    let listener = std::net::TcpListener::bind(http.operator_addr)
        .with_context(|| cannot_listen("http.operator_addr", http.operator_addr))?;
    let addr = listener.local_addr()?;
    let console = console(addr)?;
    let app = move || App::new().configure(|config| console.configure(config));
    let server = HttpServer::new(app)
        .workers(1)
        .max_connections(OPERATOR_CONNECTIONS_MAX)
        .client_request_timeout(http.request_head_timeout)
        // Gives the place of a stream whose reader has gone back at once.
        .h1_allow_half_closed(false)
        .shutdown_timeout(1)
        .disable_signals()
        .listen(listener)?;
    Ok(Listener::run(server.run(), addr))
}

fn cannot_listen(key: &str, addr: SocketAddr) -> String {
    format!("cannot listen on {addr} ({key}); is another tidepool running there?")
}

fn first(addrs: &[SocketAddr]) -> anyhow::Result<SocketAddr> {
    addrs
        .first()
        .copied()
        .context("the listener has no address")
}
