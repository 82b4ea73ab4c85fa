//! The yardstick: one actix-web route that answers a JSON body with itself, on one thread.
//!
//! `cargo run --release -p tidepool-balancer --example bare_route` prints its address.

use std::io::Write;

use actix_web::{App, HttpResponse, HttpServer, web};

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let app = || {
        App::new().route(
            "/echo",
            web::post().to(|body: web::Bytes| async {
                HttpResponse::Ok()
                    .content_type("application/json")
                    .body(body)
            }),
        )
    };
    let server = HttpServer::new(app).workers(1).bind("127.0.0.1:0")?;
    writeln!(std::io::stdout(), "{}", server.addrs()[0])?;
    server.run().await
}
