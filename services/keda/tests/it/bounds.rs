//! What a caller cannot do to the listener.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::client::{Client, object};
use crate::fleet::{connected, serve};

/// As the listener has it.
const STREAMS_MAX: usize = 256;
const CONNECTIONS_MAX: usize = 64;
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_message_is_no_larger_than_needed() {
    let (_fleet, _server, client) = connected().await;
    let large = "x".repeat(100_000);
    let fault = client.specs(object(&[("pool", "echo"), ("note", &large)]));
    assert_eq!(fault.await.unwrap_err().code(), Code::OutOfRange);
    let fits = "x".repeat(10_000);
    let specs = client.specs(object(&[("pool", "echo"), ("note", &fits)]));
    assert_eq!(specs.await.unwrap().len(), 1);
}

#[tokio::test]
async fn streams_are_counted_and_give_their_places_back() {
    let (_fleet, server) = serve(None);
    let connections = [
        Client::connect(server.addr()).await,
        Client::connect(server.addr()).await,
    ];
    let object = object(&[("pool", "echo")]);
    let mut streams = Vec::new();
    for n in 0..STREAMS_MAX {
        let stream = connections[n % 2].stream(object.clone()).await;
        streams.push(stream.unwrap());
    }
    let fault = connections[0].stream(object.clone()).await.unwrap_err();
    assert_eq!(fault.code(), Code::ResourceExhausted);
    streams.pop();
    let again = async {
        while connections[0].stream(object.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let again = tokio::time::timeout(PATIENCE, again).await;
    again.expect("a place that was given back is taken");
}

#[tokio::test]
async fn those_who_connect_and_say_nothing_make_room() {
    let (fleet, server) = serve(None);
    fleet.show(4, Some(0.1));
    let mut silent = Vec::new();
    for n in 0..CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(server.addr()).await.unwrap();
        // Half of them begin to speak and leave it at that.
        stream
            .write_all(&b"PRI * HTTP"[..n % 2 * 10])
            .await
            .unwrap();
        silent.push(stream);
    }
    let addr = server.addr();
    let call = async { Client::connect(addr).await.values("echo").await };
    let values = tokio::time::timeout(PATIENCE, call).await;
    assert_eq!(values.expect("an answer").unwrap()[0].whole, 4);
    let mut bytes = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, silent[1].read_to_end(&mut bytes)).await;
    // Closed or reset; both are an end.
    let _ = ended.expect("the silent connection is ended");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_those_who_say_nothing() {
    let (_fleet, server, client) = connected().await;
    let _silent = TcpStream::connect(server.addr()).await.unwrap();
    client.specs(object(&[("pool", "echo")])).await.unwrap();
    let addr = server.addr();
    let stopped = tokio::time::timeout(PATIENCE, server.stop()).await;
    stopped.expect("it stops");
    assert!(TcpStream::connect(addr).await.is_err(), "nothing listens");
}
