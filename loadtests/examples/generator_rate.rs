//! How many requests a second one generator thread can send: against a server on another
//! thread that reads a request and writes a fixed answer, nothing more.
//!
//! `cargo run --release -p tidepool-loadtests --example generator_rate -- [rate]...`

use std::io::Write as _;
use std::net::TcpListener;

use clap::Parser;
use tidepool_loadtests::{Defaults, Format, LoadCommand, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

#[derive(Parser)]
struct Program {
    #[command(subcommand)]
    command: LoadCommand,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut rates: Vec<String> = std::env::args().skip(1).collect();
    if rates.is_empty() {
        rates = ["5000", "10000", "20000", "30000"]
            .map(String::from)
            .to_vec();
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let api_url = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || accept(listener));
    let mut out = std::io::stdout();
    let processors = std::thread::available_parallelism()?;
    writeln!(
        out,
        "{processors} processors, version {}",
        env!("CARGO_PKG_VERSION")
    )?;
    for rate in rates {
        let args = ["load", "quick", "--rate", &rate, "--duration", "5s"];
        let defaults = Defaults {
            api_url: api_url.clone(),
            operator_url: None,
            api_token: None,
            operator_token: None,
            output: Format::Text,
        };
        run(Program::parse_from(args).command, defaults, &mut out).await?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn accept(listener: TcpListener) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(answer(stream));
    }
}

/// A client that does not pipeline and sends little sends each request in one piece.
async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 4096];
    while stream.read(&mut request).await? > 0 {
        stream.write_all(ANSWER).await?;
    }
    Ok(())
}
