use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tidepool_link::{Closed, Link, Server, Tls};

use crate::support::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// A certificate of one authority, for who trusts another one.
fn tls(from: &Authority, trusts: &Authority, name: &str) -> Tls {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, from).expect("a certificate");
    Tls::from_pem(
        certificate.pem().as_bytes(),
        key.serialize_pem().as_bytes(),
        trusts.pem().as_bytes(),
    )
    .expect("usable certificates")
}

async fn refused(node: &Node, tls: Option<Tls>) -> Closed {
    let link = Link::open(node.tcp().with_tls(tls), balancer());
    link.closed().await
}

#[test]
fn peers_of_one_authority_speak_tls_and_others_do_not() {
    local(async {
        let (ours, theirs) = (authority(), authority());
        let node = start_server(Server::with_tls(
            node(),
            Some(tls(&ours, &ours, "127.0.0.1")),
        ));
        let link = Link::open(
            node.tcp().with_tls(Some(tls(&ours, &ours, "balancer"))),
            balancer(),
        );
        let large = vec![5; 3_000_000];
        assert!(answered(&link, "echo", large.clone()).await == large);
        for (tls, what) in [
            (None, "no TLS"),
            (Some(tls(&theirs, &ours, "balancer")), "a strange client"),
            (Some(tls(&ours, &theirs, "balancer")), "a strange server"),
        ] {
            let why = refused(&node, tls).await;
            let is_refused = matches!(why, Closed::Tls(_) | Closed::Eof | Closed::Protocol(_));
            assert!(is_refused, "{what}: {why:?}");
        }
        assert_eq!(answered(&link, "echo", "on").await, "on");
    });
}

#[test]
fn a_name_can_be_expected_instead_of_the_host() {
    local(async {
        let ours = authority();
        let certificate = tls(&ours, &ours, "node.tidepool");
        let node = start_server(Server::with_tls(node(), Some(certificate.clone())));
        let why = refused(&node, Some(certificate.clone())).await;
        assert!(matches!(why, Closed::Tls(_)), "{why:?}");
        let expecting = certificate.expecting("node.tidepool").unwrap();
        let link = Link::open(node.tcp().with_tls(Some(expecting)), balancer());
        assert_eq!(answered(&link, "echo", "in").await, "in");
    });
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let ours = authority();
    let pem = ours.pem();
    let error = |chain: &str, key: &str, authority: &str| {
        Tls::from_pem(chain.as_bytes(), key.as_bytes(), authority.as_bytes())
            .unwrap_err()
            .to_string()
    };
    assert!(error("", "", &pem).starts_with("TLS certificate"));
    assert!(error(&pem, "x", &pem).starts_with("TLS key"));
    let other = KeyPair::generate().unwrap().serialize_pem();
    assert!(error(&pem, &other, "").starts_with("TLS authority"));
    assert!(error(&pem, &other, &pem).starts_with("TLS certificate"));
}
