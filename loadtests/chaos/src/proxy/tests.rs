use super::*;

/// A server that gives back what it gets.
async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    addr
}

async fn proxied() -> (Proxy, TcpStream) {
    let proxy = Proxy::start(echo_server().await, 1).await.expect("a proxy");
    let stream = TcpStream::connect(proxy.addr())
        .await
        .expect("a connection");
    (proxy, stream)
}

async fn say(stream: &mut TcpStream, text: &[u8]) -> Vec<u8> {
    stream.write_all(text).await.expect("a write");
    hear(stream, text.len()).await.expect("an answer")
}

async fn hear(stream: &mut TcpStream, length: usize) -> std::io::Result<Vec<u8>> {
    let mut heard = vec![0; length];
    stream.read_exact(&mut heard).await?;
    Ok(heard)
}

fn both(way: Way) -> Weather {
    Weather {
        there: way,
        back: way,
    }
}

#[tokio::test]
async fn good_weather_changes_nothing_and_ends_in_order() {
    let (_proxy, mut stream) = proxied().await;
    let text: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
    let (mut from, mut to) = stream.split();
    let (sent, mut heard) = (text.clone(), Vec::new());
    let send = async {
        to.write_all(&sent).await.expect("a write");
        to.shutdown().await.expect("an end");
    };
    let (_, read) = tokio::join!(send, from.read_to_end(&mut heard));
    read.expect("an orderly end");
    assert!(heard == text, "{} bytes came back", heard.len());
}

#[tokio::test]
async fn what_is_late_is_as_late_as_told() {
    let (proxy, mut stream) = proxied().await;
    let (delay, jitter) = (Duration::from_millis(100), Duration::from_millis(50));
    proxy.set(both(Way::late(delay, jitter)));
    let begin = Instant::now();
    assert_eq!(say(&mut stream, b"tide").await, b"tide");
    let took = begin.elapsed();
    assert!(took >= delay * 2, "{took:?}");
}

#[tokio::test]
async fn a_narrow_way_takes_its_time() {
    let (proxy, mut stream) = proxied().await;
    proxy.set(Weather {
        there: Way {
            bytes_per_s: Some(10_000),
            ..Way::default()
        },
        back: Way::default(),
    });
    let begin = Instant::now();
    for _ in 0..4 {
        say(&mut stream, &[7; 5_000]).await;
    }
    // The last piece has passed before it is paid for.
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(1_400), "{took:?}");
}

#[tokio::test]
async fn silence_holds_everything_and_gives_it_back() {
    let (proxy, mut stream) = proxied().await;
    say(&mut stream, b"before").await;
    for weather in [
        both(Way::shut()),
        Weather {
            there: Way::shut(),
            ..Weather::default()
        },
        Weather {
            back: Way::shut(),
            ..Weather::default()
        },
    ] {
        proxy.set(weather);
        stream.write_all(b"during").await.expect("a write");
        let heard = hear(&mut stream, 6);
        let silent = tokio::time::timeout(Duration::from_millis(50), heard).await;
        assert!(silent.is_err(), "{weather:?}");
        proxy.set(Weather::default());
        assert_eq!(
            hear(&mut stream, 6).await.expect("what was held"),
            b"during"
        );
    }
}

#[tokio::test]
async fn a_silent_way_holds_no_more_than_its_bound() {
    let (proxy, mut stream) = proxied().await;
    proxy.set(both(Way::shut()));
    let piece = [0; PIECE_BYTES];
    let mut sent = 0;
    // Kernels hold some megabytes themselves.
    let flood = async {
        while sent < 256 << 20 {
            sent += stream.write(&piece).await.expect("a write");
        }
    };
    let stuck = tokio::time::timeout(Duration::from_secs(2), flood).await;
    assert!(stuck.is_err(), "256 MiB were taken");
}

#[tokio::test]
async fn a_reset_is_seen_at_once_and_later_connections_are_good() {
    let (proxy, mut stream) = proxied().await;
    say(&mut stream, b"before").await;
    assert_eq!(proxy.open(), 1);
    proxy.reset();
    let error = hear(&mut stream, 1).await.expect_err("the end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let mut again = TcpStream::connect(proxy.addr())
        .await
        .expect("a connection");
    assert_eq!(say(&mut again, b"after").await, b"after");
}

#[tokio::test]
async fn breaks_off_after_so_many_bytes() {
    let (proxy, mut stream) = proxied().await;
    proxy.set(Weather {
        there: Way::default(),
        back: Way {
            close_after: Some(10),
            ..Way::default()
        },
    });
    stream.write_all(&[7; 100]).await.expect("a write");
    assert_eq!(hear(&mut stream, 10).await.expect("ten bytes"), [7; 10]);
    assert!(hear(&mut stream, 1).await.is_err());
}

#[tokio::test]
async fn corrupts_and_doubles_the_pieces_it_is_told_to() {
    let (proxy, mut stream) = proxied().await;
    let back = |back| Weather {
        there: Way::default(),
        back,
    };
    proxy.set(back(Way {
        corrupt_every: Some(1),
        ..Way::default()
    }));
    assert_eq!(say(&mut stream, b"tide").await, b"tidd");
    proxy.set(back(Way {
        double_every: Some(1),
        ..Way::default()
    }));
    assert_eq!(say(&mut stream, b"tide").await, b"tide");
    assert_eq!(hear(&mut stream, 4).await.expect("the same again"), b"tide");
}

#[tokio::test]
async fn refuses_for_one_who_is_not_there() {
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address")
    };
    let proxy = Proxy::start(gone, 1).await.expect("a proxy");
    let mut stream = TcpStream::connect(proxy.addr())
        .await
        .expect("a connection");
    assert!(hear(&mut stream, 1).await.is_err());
}
