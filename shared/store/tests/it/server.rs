//! Redis servers as operators set them up.

use std::path::Path;

use tidepool_testing::RedisServer;

/// The rights that the store needs and no more; `shared/README.md` has the same line.
pub(crate) const RIGHTS: &str = "~tidepool:* resetchannels -@all +ping +info +time +evalsha \
    +script|load +get +set +del +exists +pexpire +persist +pttl +hget +hmget +hset +hdel +hgetall \
    +xadd +xrange +xtrim +zadd +zrem +zrange +zrangebyscore +zscore +zcard";

/// The password of the user `tidepool`.
pub(crate) const PASSWORD: &str = "not-to-be-told";

/// Nobody but a user `tidepool` with these rights and a password gets in. Gives its address too.
pub(crate) fn with_rights(rights: &str) -> (RedisServer, String) {
    let config = format!("user default off\nuser tidepool on >{PASSWORD} {rights}");
    let server = RedisServer::start_with(&config);
    let url = server.url_for("tidepool", PASSWORD);
    (server, url)
}

/// TLS only, with `server.pem` and `server.key` of this directory, known from its `ca.pem`. Gives
/// its address too.
pub(crate) fn with_tls(directory: &Path) -> (RedisServer, String) {
    let file = |name: &str| directory.join(name).display().to_string();
    let (ca, cert, key) = (file("ca.pem"), file("server.pem"), file("server.key"));
    let config = format!(
        "port 0\ntls-port {{port}}\ntls-auth-clients no\n\
         tls-ca-cert-file {ca}\ntls-cert-file {cert}\ntls-key-file {key}"
    );
    let server = RedisServer::start_with(&config);
    let url = format!("rediss://127.0.0.1:{}/?ca_file={ca}", server.port());
    (server, url)
}

/// Runs a command that the store has no use for.
pub(crate) async fn command(server: &RedisServer, words: &[&str]) {
    let client = ::redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = ::redis::Cmd::new();
    command.arg(words);
    command.exec_async(&mut connection).await.unwrap();
}
