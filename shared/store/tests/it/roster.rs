//! What every back end must do about who is there.

use bytes::Bytes;
use tidepool_store::{DOCUMENT_BYTES_MAX, GROUP_LEN_MAX, StoreError};

use crate::ports::{LONG, Ports, TTL};

async fn names(ports: &Ports, group: &str) -> Vec<String> {
    let members = ports.roster.members(group).await.unwrap();
    members.into_iter().map(|(name, _)| name).collect()
}

async fn announce(ports: &Ports, group: &str, member: &str, document: &'static str) {
    let announced = ports.roster.announce(group, member, document.into(), LONG);
    announced.await.unwrap();
}

pub(crate) async fn tells_who_is_there(ports: Ports) {
    assert!(names(&ports, "g").await.is_empty());
    announce(&ports, "g", "b", "two").await;
    announce(&ports, "g", "B", "three").await;
    announce(&ports, "g", "a", "one").await;
    let expected = [("B", "three"), ("a", "one"), ("b", "two")];
    let expected = expected.map(|(name, document)| (name.to_owned(), Bytes::from(document)));
    assert_eq!(ports.roster.members("g").await.unwrap(), expected);
    assert!(ports.roster.withdraw("g", "a").await.unwrap());
    assert!(!ports.roster.withdraw("g", "a").await.unwrap());
    assert!(!ports.roster.withdraw("never", "a").await.unwrap());
    assert_eq!(names(&ports, "g").await, ["B", "b"]);
}

pub(crate) async fn members_go_when_their_time_is_over(ports: Ports) {
    let roster = &ports.roster;
    announce(&ports, "g", "long", "x").await;
    roster
        .announce("g", "short", "x".into(), TTL)
        .await
        .unwrap();
    roster
        .announce("h", "short", "x".into(), TTL)
        .await
        .unwrap();
    let is_gone = || async { names(&ports, "g").await == ["long"] };
    ports.outlast(TTL, is_gone).await;
    assert!(names(&ports, "h").await.is_empty());
    assert!(!roster.withdraw("g", "short").await.unwrap());
    // A name that was there before can come again.
    announce(&ports, "g", "short", "y").await;
    assert_eq!(names(&ports, "g").await, ["long", "short"]);
}

pub(crate) async fn announcing_again_prolongs_and_replaces(ports: Ports) {
    let roster = &ports.roster;
    roster.announce("g", "m", "old".into(), TTL).await.unwrap();
    roster
        .announce("g", "witness", "x".into(), TTL)
        .await
        .unwrap();
    announce(&ports, "g", "m", "new").await;
    let is_gone = || async { names(&ports, "g").await == ["m"] };
    ports.outlast(TTL, is_gone).await;
    assert_eq!(roster.members("g").await.unwrap()[0].1, "new");
    // Shorter counts as well: the newest word is the one that holds.
    roster.announce("g", "m", "new".into(), TTL).await.unwrap();
    let is_gone = || async { names(&ports, "g").await.is_empty() };
    ports.outlast(TTL, is_gone).await;
}

pub(crate) async fn groups_are_apart(ports: Ports) {
    announce(&ports, "g", "m", "x").await;
    announce(&ports, "g:1", "m", "y").await;
    assert!(ports.roster.withdraw("g", "m").await.unwrap());
    assert_eq!(names(&ports, "g:1").await, ["m"]);
    // A stream, a key and a lease of the same name are something else.
    ports.kv.put("g:1", "z".into(), None).await.unwrap();
    ports.lease.acquire("g:1", "m", LONG).await.unwrap();
    assert_eq!(names(&ports, "g:1").await, ["m"]);
}

pub(crate) async fn a_group_is_bounded(ports: Ports) {
    let roster = &ports.roster;
    roster.announce("g", "0", "x".into(), TTL).await.unwrap();
    for n in 1..GROUP_LEN_MAX {
        announce(&ports, "g", &n.to_string(), "x").await;
    }
    // The one with little time may be gone already where time is real.
    announce(&ports, "g", "0", "x").await;
    let full = roster.announce("g", "one more", "x".into(), LONG).await;
    assert!(
        matches!(
            full,
            Err(StoreError::TooLarge {
                max: GROUP_LEN_MAX,
                ..
            })
        ),
        "{full:?}"
    );
    announce(&ports, "g", "7", "again").await;
    assert_eq!(names(&ports, "g").await.len(), GROUP_LEN_MAX);
    // Whose time is over takes no place.
    roster.announce("g", "0", "x".into(), TTL).await.unwrap();
    let has_place = || async {
        let place = roster.announce("g", "one more", "x".into(), LONG).await;
        place.is_ok()
    };
    ports.outlast(TTL, has_place).await;
}

pub(crate) async fn refuses_what_is_too_large(ports: Ports) {
    let announce =
        |member: &str, len, ttl| ports.roster.announce("g", member, vec![7; len].into(), ttl);
    announce("m", DOCUMENT_BYTES_MAX, LONG).await.unwrap();
    assert!(announce("m", DOCUMENT_BYTES_MAX + 1, LONG).await.is_err());
    assert!(announce("", 1, LONG).await.is_err());
    assert!(announce("a\nb", 1, LONG).await.is_err());
    assert!(announce("m", 1, std::time::Duration::ZERO).await.is_err());
    assert!(ports.roster.members("").await.is_err());
    let document = &ports.roster.members("g").await.unwrap()[0].1;
    assert_eq!(document.len(), DOCUMENT_BYTES_MAX);
}

pub(crate) async fn takes_any_names_and_documents(ports: Ports) {
    let document = Bytes::from((0..=255).collect::<Vec<u8>>());
    let odd = ["%7D", "'; --", "*?[x]", "a b", "a}b", "{}", "}", "日本"];
    for name in odd {
        let announced = ports.roster.announce(name, name, document.clone(), LONG);
        announced.await.unwrap();
        announce(&ports, "g", name, "").await;
        let members = ports.roster.members(name).await.unwrap();
        assert_eq!(members, [(name.to_owned(), document.clone())]);
    }
    assert_eq!(names(&ports, "g").await, odd);
}

pub(crate) async fn many_announce_at_once(ports: Ports) {
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let roster = std::sync::Arc::clone(&ports.roster);
            tokio::spawn(async move {
                let name = format!("{n:02}");
                for round in 0..20 {
                    let document = Bytes::from(format!("{round}"));
                    roster
                        .announce("g", &name, document.clone(), LONG)
                        .await
                        .unwrap();
                    let members = roster.members("g").await.unwrap();
                    assert!(members.contains(&(name.clone(), document)));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(names(&ports, "g").await.len(), 16);
}
