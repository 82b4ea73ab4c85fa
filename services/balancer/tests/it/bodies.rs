//! Bodies that are wrong in every way that they can be.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{BODY_BYTES_MAX, Harness, problem};

#[actix_web::test]
async fn broken_json_is_malformed() {
    let harness = Harness::start().await;
    let deep = "[".repeat(10_000);
    for body in ["", "{", "nul", "{\"act\":\"echo\"} x", deep.as_str()] {
        problem(harness.post(body).send().await.unwrap(), 400, "malformed").await;
    }
    let not_utf8 = harness
        .post("")
        .body(&b"{\"act\":\"\xff\xfe\"}"[..])
        .send()
        .await
        .unwrap();
    problem(not_utf8, 400, "malformed").await;
    let url = format!("{}/v1/invoke/act", harness.url);
    let packed = harness
        .client
        .post(url)
        .header("content-type", "application/msgpack");
    problem(
        packed.body(vec![0xc1]).send().await.unwrap(),
        400,
        "malformed",
    )
    .await;
    harness.stop().await;
}

#[actix_web::test]
async fn a_wrong_input_gets_every_fault_with_its_pointer() {
    let harness = Harness::start().await;
    let wrong = harness
        .post(r#"{"act":7,"number":"x","extra":1}"#)
        .send()
        .await
        .unwrap();
    let body = problem(wrong, 422, "invalid_input").await;
    let pointers: Vec<&str> = body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect();
    for expected in ["/act", "/number"] {
        assert!(pointers.contains(&expected), "{expected} in {body}");
    }
    harness.stop().await;
}

#[actix_web::test]
async fn unknown_formats_and_headers_are_refused() {
    let harness = Harness::start().await;
    let url = format!("{}/v1/invoke/act", harness.url);
    let send = |name: &'static str, value: &'static str| {
        harness
            .client
            .post(&url)
            .body(r#"{"act":"echo"}"#)
            .header(name, value)
            .send()
    };
    let response = send("content-type", "text/plain").await.unwrap();
    problem(response, 415, "unsupported_media_type").await;
    let response = send("content-encoding", "gzip").await.unwrap();
    problem(response, 415, "unsupported_media_type").await;
    problem(
        send("accept", "text/html").await.unwrap(),
        406,
        "not_acceptable",
    )
    .await;
    problem(
        send("tidepool-deadline-ms", "x").await.unwrap(),
        400,
        "bad_header",
    )
    .await;
    harness.stop().await;
}

#[actix_web::test]
async fn an_announced_giant_is_refused_before_it_is_sent() {
    let harness = Harness::start().await;
    let answer = exchange(&harness, b"content-length: 1073741824\r\n\r\n", b"").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("too_large"), "{answer}");
    harness.stop().await;
}

#[actix_web::test]
async fn a_giant_in_chunks_is_cut_off_at_the_limit() {
    let harness = Harness::start().await;
    let mut chunk = format!("{BODY_BYTES_MAX:x}\r\n").into_bytes();
    chunk.extend(vec![b' '; BODY_BYTES_MAX]);
    chunk.extend(b"\r\n1\r\n \r\n");
    let answer = exchange(&harness, b"transfer-encoding: chunked\r\n\r\n", &chunk).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    harness.stop().await;
}

#[actix_web::test]
async fn a_body_that_never_comes_times_out() {
    let harness = Harness::start().await;
    // Of the second one nothing comes at all, which another part of the server has to notice.
    for part in [&b"{"[..], b""] {
        let begin = Instant::now();
        let answer = exchange(&harness, b"content-length: 20\r\n\r\n", part).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(answer.contains("body_timeout"), "{answer}");
        assert!(begin.elapsed() < Duration::from_secs(4), "{part:?}");
    }
    harness.stop().await;
}

#[actix_web::test]
async fn bodies_that_were_answered_count_no_longer() {
    let harness = Harness::start().await;
    // Together twice what all bodies may hold at a time.
    let text = " ".repeat(BODY_BYTES_MAX - 100);
    for _ in 0..32 {
        let answer = harness.post(format!(r#"{{"act":"echo"}}{text}"#)).send();
        assert_eq!(answer.await.unwrap().status(), 200);
    }
    harness.stop().await;
}

#[actix_web::test]
async fn work_whose_body_took_all_its_time_is_not_done() {
    let harness = Harness::start().await;
    let mut stream = TcpStream::connect(harness.addr).await.unwrap();
    let body = br#"{"act":"echo","number":1}"#;
    let head = format!(
        "POST /v1/invoke/act HTTP/1.1\r\nhost: x\r\ntidepool-deadline-ms: 20\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(40)).await;
    stream.write_all(body).await.unwrap();
    let answer = read_some(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(harness.stage.served.lock().is_empty());
    harness.stop().await;
}

#[actix_web::test]
async fn a_broken_head_gets_a_400_and_the_server_lives() {
    let harness = Harness::start().await;
    let mut stream = TcpStream::connect(harness.addr).await.unwrap();
    stream
        .write_all(b"\x00\x01\x02 garbage\r\n\r\n")
        .await
        .unwrap();
    let answer = read_some(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(harness.act("echo").await.status(), 200);
    harness.stop().await;
}

async fn exchange(harness: &Harness, rest_of_head: &[u8], body: &[u8]) -> String {
    let mut stream = TcpStream::connect(harness.addr)
        .await
        .expect("a connection");
    let head = b"POST /v1/invoke/act HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    stream
        .write_all(&[&head[..], rest_of_head, body].concat())
        .await
        .expect("the server reads");
    read_some(&mut stream).await
}

async fn read_some(stream: &mut TcpStream) -> String {
    let mut buffer = vec![0; 8192];
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer));
    let n = read
        .await
        .expect("an answer in time")
        .expect("a readable answer");
    String::from_utf8_lossy(&buffer[..n]).into_owned()
}
