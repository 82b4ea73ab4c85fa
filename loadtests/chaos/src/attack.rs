//! Strangers at a port that is not for them: noise, lengths that promise gigabytes, greetings that
//! break off, connections that say nothing and connections that say it slowly.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Strangers at a time.
const STRANGERS: usize = 16;
/// Longest time that one of them stays.
const STAY: Duration = Duration::from_secs(2);
/// Pause before the same one comes again.
const PAUSE: Duration = Duration::from_millis(20);

/// An attack; ends, with all its connections, when it is dropped.
#[derive(Debug)]
pub(crate) struct Attack {
    _strangers: JoinSet<()>,
}

impl Attack {
    /// Begins.
    pub(crate) fn start(addr: SocketAddr) -> Self {
        let mut strangers = JoinSet::new();
        for n in 0..STRANGERS {
            strangers.spawn(come_again(addr, n));
        }
        Self {
            _strangers: strangers,
        }
    }
}

async fn come_again(addr: SocketAddr, n: usize) {
    let mut rng = fastrand::Rng::with_seed(n as u64);
    loop {
        // Whatever the other side does about it is right, as long as it goes on serving others.
        let _ = tokio::time::timeout(STAY, visit(addr, n, &mut rng)).await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn visit(addr: SocketAddr, n: usize, rng: &mut fastrand::Rng) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(addr).await?;
    let noise: Vec<u8> = (0..rng.usize(1..4_096)).map(|_| rng.u8(..)).collect();
    match n % 6 {
        // Noise without an end.
        0 => loop {
            stream.write_all(&noise).await?;
        },
        // A frame of 4 GiB.
        1 => {
            stream.write_all(&[0xff, 0xff, 0xff, 0xff]).await?;
            stream.write_all(&noise).await?;
        }
        // A greeting of the right shape with noise for a body.
        2 => {
            let length = (noise.len() + 10) as u32;
            stream.write_all(&length.to_be_bytes()).await?;
            stream.write_all(&[0; 10]).await?;
            stream.write_all(&noise).await?;
        }
        // Says nothing and stays.
        3 => std::future::pending::<()>().await,
        // A byte at a time.
        4 => {
            for byte in noise {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        // Speaks HTTP.
        _ => {
            stream
                .write_all(b"POST /v1/invoke/echo HTTP/1.1\r\nHost: node\r\n\r\n")
                .await?
        }
    }
    tokio::time::sleep(STAY).await;
    Ok(())
}
