//! What things in the network are called, and which rules they get. Pure.

use std::net::Ipv4Addr;

use crate::cluster::Who;

/// Beginning of every name. With a process number and the longest name of a part it is as long as
/// the kernel allows (15 bytes).
const PREFIX: &str = "tp";
/// Networks that may be taken: 10.77.1.0/24 and so on.
const SUBNETS: u32 = 250;

/// Names of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run(u32);

impl Run {
    /// Of this process.
    pub(super) fn own() -> Self {
        Self(std::process::id())
    }

    fn named(self, what: &str) -> String {
        format!("{PREFIX}{}-{what}", self.0)
    }

    /// This process's end of the pair to the bridge.
    pub(super) fn own_link(self) -> String {
        self.named("own")
    }

    /// Namespace of the bridge.
    pub(super) fn switch(self) -> String {
        self.named("net")
    }

    pub(super) fn probe(self) -> String {
        self.named("try")
    }

    /// Namespace of a part.
    pub(super) fn name_of(self, who: Who) -> String {
        self.named(&who.name())
    }
}

/// Names in a list of `ip` whose makers are dead.
pub(super) fn left_by_the_dead(listed: &str, is_alive: impl Fn(u32) -> bool) -> Vec<String> {
    let words = listed.split(|c: char| c.is_whitespace() || c == ':' || c == '@');
    let dead = words.filter(|word| maker(word).is_some_and(|id| !is_alive(id)));
    let mut names: Vec<_> = dead.map(str::to_owned).collect();
    names.dedup();
    names
}

fn maker(name: &str) -> Option<u32> {
    let (id, what) = name.strip_prefix(PREFIX)?.split_once('-')?;
    (!what.is_empty()).then(|| id.parse().ok())?
}

/// A network that `addresses`, a list of `ip`, does not have, sought from a place that differs
/// between runs.
pub(super) fn free_subnet(addresses: &str, from: u32) -> Option<u8> {
    let candidates = (0..SUBNETS).map(|n| (from + n) % SUBNETS + 1);
    let mut free = candidates.filter(|n| !addresses.contains(&format!("10.77.{n}.")));
    free.next().and_then(|n| u8::try_from(n).ok())
}

/// Rules that lose what comes from some addresses, as `iptables-restore` reads them.
pub(super) fn rules(unheard: &[Ipv4Addr]) -> String {
    let mut rules =
        String::from("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n");
    for addr in unheard {
        rules += &format!("-A INPUT -s {addr} -j DROP\n");
    }
    rules + "COMMIT\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_what_the_kernel_allows() {
        let run = Run(4_194_304);
        assert!(run.own_link().len() <= 15, "the only link outside");
        for who in [
            Who::Node(9),
            Who::Balancer(9),
            Who::Controller(9),
            Who::Redis,
        ] {
            assert!(run.name_of(who).len() <= 15, "{}", run.name_of(who));
        }
    }

    #[test]
    fn only_names_of_the_dead_are_left_over() {
        let listed = "tp41-n0 (id: 3)\ntp42-n0\nother\ntpx-n0\ntp-41\ntp41-\n";
        assert_eq!(left_by_the_dead(listed, |id| id == 42), ["tp41-n0"]);
        let links = "7: tp41-own: <BROADCAST> mtu 1500\n8: tp42-own@if3: <UP>\n";
        assert_eq!(left_by_the_dead(links, |id| id == 42), ["tp41-own"]);
    }

    #[test]
    fn a_network_that_is_taken_is_not_taken_again() {
        let taken = "3: br inet 10.77.7.254/24 scope global br";
        assert_eq!(free_subnet(taken, 6), Some(8));
        assert_eq!(free_subnet("", 6), Some(7));
        assert_eq!(free_subnet("", SUBNETS - 1), Some(250));
        let all: String = (1..=SUBNETS).map(|n| format!("10.77.{n}.254 ")).collect();
        assert_eq!(free_subnet(&all, 1), None);
    }

    #[test]
    fn what_is_not_to_be_heard_is_dropped_where_it_arrives() {
        let text = rules(&[Ipv4Addr::new(10, 77, 3, 4)]);
        assert!(text.contains("-A INPUT -s 10.77.3.4 -j DROP\n"));
        assert!(text.starts_with("*filter\n") && text.ends_with("COMMIT\n"));
        assert!(!rules(&[]).contains("-A "));
    }
}
