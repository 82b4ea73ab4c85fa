use super::*;
use crate::config::Local;

const SECRET: &str = "correct horse battery staple";

fn config(role: Role, secret: Option<&str>) -> LinkConfig {
    let local = Local {
        role,
        name: role.as_str().to_owned(),
        instance: [role as u8; 16],
    };
    LinkConfig::new(local, secret.map(|secret| Secret::new(secret).unwrap()))
}

/// A greeting in which each step passes `tamper` on its way.
fn greeting(
    secrets: [Option<&str>; 2],
    tamper: impl FnMut(usize, &mut Hello),
) -> Result<(Peer, Peer), Refused> {
    let client = config(Role::Balancer, secrets[0]);
    let server = config(Role::Node, secrets[1]);
    greeting_of(&client, &server, tamper)
}

fn greeting_of(
    client: &LinkConfig,
    server: &LinkConfig,
    mut tamper: impl FnMut(usize, &mut Hello),
) -> Result<(Peer, Peer), Refused> {
    let (opening, mut first) = Opening::begin(client, LinkKind::Data, [1; 32]);
    tamper(1, &mut first);
    let (welcoming, mut second) = Welcoming::begin(server, first, [2; 32], true)?;
    tamper(2, &mut second);
    let (node, mut third) = opening.prove(client, second, true)?;
    tamper(3, &mut third);
    let balancer = welcoming.finish(server, &third)?;
    Ok((node, balancer))
}

#[test]
fn who_shares_the_secret_meets() {
    let (node, balancer) = greeting([Some(SECRET); 2], |_, _| {}).unwrap();
    assert_eq!((node.role, node.name.as_str()), (Role::Node, "node"));
    assert_eq!((balancer.role, balancer.version), (Role::Balancer, 1));
    assert_eq!(balancer.kind, LinkKind::Data);
    assert!(greeting([None; 2], |_, _| {}).is_ok());
}

#[test]
fn another_secret_or_none_is_refused() {
    for secrets in [
        [Some(SECRET), Some("another one, of good length")],
        [Some(SECRET), None],
        [None, Some(SECRET)],
    ] {
        let met = greeting(secrets, |_, _| {});
        assert_eq!(met.err(), Some(Refused::Secret), "{secrets:?}");
    }
}

/// What a process knows: the secret, and the one before it.
fn knowing(role: Role, secret: &str, previous: Option<&str>) -> LinkConfig {
    let mut config = config(role, Some(secret));
    let previous = previous.map(|previous| Secret::new(previous).unwrap());
    if let Some(previous) = previous {
        config.secret = config.secret.map(|secret| secret.with_previous(&previous));
    }
    config
}

#[test]
fn a_secret_is_replaced_while_everybody_meets() {
    const NEW: &str = "a new secret, as good as the old one";
    const OTHER: &str = "nobody should know this one";
    // Before, while and after every process is restarted with the new one.
    let (before, between, after) = ((SECRET, None), (NEW, Some(SECRET)), (NEW, None));
    for (client, server, meet) in [
        (before, between, true),
        (between, before, true),
        (between, between, true),
        (between, after, true),
        (after, between, true),
        (before, after, false),
        (after, before, false),
        ((OTHER, None), between, false),
        (between, (OTHER, None), false),
        ((OTHER, Some(NEW)), (NEW, Some(SECRET)), true),
        ((OTHER, Some(NEW)), (SECRET, Some(OTHER)), true),
    ] {
        let ends = (
            knowing(Role::Balancer, client.0, client.1),
            knowing(Role::Node, server.0, server.1),
        );
        let met = greeting_of(&ends.0, &ends.1, |_, _| {});
        assert_eq!(met.is_ok(), meet, "{client:?} calls {server:?}");
        // With a client of before this release, whose first words tell nothing.
        let met = greeting_of(&ends.0, &ends.1, |at, hello| {
            if at == 1 {
                hello.mac = None;
            }
        });
        if client == server || client == between {
            assert_eq!(
                met.is_ok(),
                meet,
                "{client:?}, an older one, calls {server:?}"
            );
        }
    }
}

#[test]
fn nothing_that_was_said_can_be_changed_on_the_way() {
    type Change = fn(&mut Hello);
    let changes: [(&str, Change); 9] = [
        ("min", |h| h.versions.min = 0),
        ("max", |h| h.versions.max = 2),
        ("name", |h| h.name.push('x')),
        ("instance", |h| h.instance[0] ^= 8),
        ("kind", |h| h.kind = LinkKind::Control),
        ("nonce", |h| h.nonce[31] ^= 1),
        ("frame", |h| h.limits.frame_bytes ^= 1),
        ("message", |h| h.limits.message_bytes ^= 1),
        ("in flight", |h| h.limits.in_flight ^= 1),
    ];
    for step in [1, 2] {
        for (what, change) in changes {
            let met = greeting([Some(SECRET); 2], |at, hello| {
                if at == step {
                    change(hello);
                }
            });
            assert_eq!(met.err(), Some(Refused::Secret), "{what} in step {step}");
        }
    }
}

#[test]
fn codes_do_not_fit_anywhere_else() {
    for step in [2, 3] {
        for bit in [0, 255] {
            let met = greeting([Some(SECRET); 2], |at, hello| {
                if at == step {
                    hello.mac.as_mut().unwrap()[bit / 8] ^= 1 << (bit % 8);
                }
            });
            assert_eq!(met.err(), Some(Refused::Secret));
        }
    }
    // What the server said, sent back to it as the client's proof.
    let mut of_server = None;
    let met = greeting([Some(SECRET); 2], |at, hello| match at {
        2 => of_server = hello.mac,
        3 => hello.mac = of_server,
        _ => {}
    });
    assert_eq!(met.err(), Some(Refused::Secret));
}

#[test]
fn strangers_from_elsewhere_need_a_secret() {
    for (secret, is_loopback, is_let_in) in [
        (None, true, true),
        (None, false, false),
        (Some(SECRET), false, true),
    ] {
        let client = config(Role::Balancer, secret);
        let server = config(Role::Node, secret);
        let (_, first) = Opening::begin(&client, LinkKind::Control, [1; 32]);
        let begun = Welcoming::begin(&server, first, [2; 32], is_loopback);
        assert_eq!(begun.is_ok(), is_let_in);
    }
}

#[test]
fn secrets_are_long_and_never_shown() {
    let secret = Secret::new(format!("  {SECRET}\n")).unwrap();
    assert_eq!(format!("{secret:?}"), "Secret(..)");
    let plain = Secret::new(SECRET).unwrap();
    assert_eq!(secret.current().sign(b"x"), plain.current().sign(b"x"));
    assert_eq!(Secret::new(" 123456789012345 ").unwrap_err().0, 15);
}

#[test]
fn the_code_is_hmac_sha256() {
    // RFC 4231, case 7: a key longer than the block.
    let secret = Secret::new([0xaa; 131]).unwrap();
    let mac = secret.current().sign(
        b"This is a test using a larger than block-size key and a larger than block-size data. \
          The key needs to be hashed before being used by the HMAC algorithm.",
    );
    assert_eq!(mac[..4], [0x9b, 0x09, 0xff, 0xa7]);
}
