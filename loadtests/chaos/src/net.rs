//! A network of the run's own: each part of a cluster in a network namespace, joined to the others by
//! a veth pair and a bridge. What is lost is lost by the kernel of whoever would have heard it, so
//! connections stay, and their ends repeat, back off and give up as on any other network. The bridge has
//! a namespace too: what the machine's own firewall thinks of packets between others is no matter here.
//!
//! Names carry the number of the process that made them: what a run that was killed has left behind
//! is found by its dead number and removed by the next one.

mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use anyhow::Context;
use tokio::process::Command;

use self::names::{Run, free_subnet, rules};
use crate::cluster::Who;
use crate::process::is_alive;
use crate::tool;

/// The last part of this process's address; clients call from there.
const OWN_HOST: u8 = 254;
/// The bridge, in its namespace.
const BRIDGE: &str = "bridge";

/// Namespaces, veth pairs and a bridge; gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Net {
    run: Run,
    subnet: u8,
    hosts: BTreeMap<Who, u8>,
    /// Who hears nothing of whom.
    deaf: BTreeSet<(Who, Who)>,
}

impl Net {
    /// Makes a network in which each of `parts` is at home.
    pub(crate) async fn make(parts: &[Who]) -> anyhow::Result<Self> {
        let taken = tool::told(ip_command(&["-o", "-4", "addr", "show"]), b"").await?;
        let run = Run::own();
        let subnet = free_subnet(&taken, std::process::id()).context("no network is free")?;
        // From here on whatever fails, what was made is taken down again.
        let mut net = Self {
            run,
            subnet,
            hosts: BTreeMap::new(),
            deaf: BTreeSet::new(),
        };
        net.lay_bridge().await?;
        for (who, host) in parts.iter().zip(1..OWN_HOST) {
            net.hosts.insert(*who, host);
            net.join(*who).await?;
        }
        Ok(net)
    }

    /// The bridge, and this process's own way to it.
    async fn lay_bridge(&self) -> anyhow::Result<()> {
        let (switch, own) = (self.run.switch(), self.run.own_link());
        let addr = format!("{}/24", self.at(OWN_HOST));
        ip(&["netns", "add", &switch]).await?;
        ip(&["-n", &switch, "link", "add", BRIDGE, "type", "bridge"]).await?;
        ip(&["-n", &switch, "link", "set", BRIDGE, "up"]).await?;
        let pair = ["type", "veth", "peer", "name", "own", "netns", &switch];
        ip(&[&["link", "add", &own][..], &pair].concat()).await?;
        ip(&["-n", &switch, "link", "set", "own", "master", BRIDGE, "up"]).await?;
        ip(&["addr", "add", &addr, "dev", &own]).await?;
        ip(&["link", "set", &own, "up"]).await
    }

    /// A namespace for one part, joined to the bridge.
    async fn join(&self, who: Who) -> anyhow::Result<()> {
        let (name, switch, port) = (self.run.name_of(who), self.run.switch(), who.name());
        let addr = format!("{}/24", self.ip(who)?);
        ip(&["netns", "add", &name]).await?;
        let pair = ["type", "veth", "peer", "name", "eth0", "netns", &name];
        ip(&[&["-n", &switch, "link", "add", &port][..], &pair].concat()).await?;
        ip(&["-n", &switch, "link", "set", &port, "master", BRIDGE, "up"]).await?;
        ip(&["-n", &name, "addr", "add", &addr, "dev", "eth0"]).await?;
        ip(&["-n", &name, "link", "set", "eth0", "up"]).await?;
        ip(&["-n", &name, "link", "set", "lo", "up"]).await
    }

    fn at(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.subnet, host)
    }

    /// Where a part is at home.
    pub(crate) fn ip(&self, who: Who) -> anyhow::Result<Ipv4Addr> {
        let host = self.hosts.get(&who);
        host.map(|host| self.at(*host))
            .with_context(|| format!("{} has no network", who.name()))
    }

    /// A program in the network of a part. `ip` becomes the program, so signals reach that.
    pub(crate) fn command(&self, who: Who, program: &std::ffi::OsStr) -> Command {
        let mut command = Command::new("ip");
        let name = self.run.name_of(who);
        command.args(["netns", "exec", &name]).arg(program);
        command
    }

    /// Loses, or again delivers, all packets to each first one of `pairs` from the second one.
    pub(crate) async fn lose(&mut self, pairs: &[(Who, Who)], is_lost: bool) -> anyhow::Result<()> {
        for pair in pairs {
            if is_lost {
                self.deaf.insert(*pair);
            } else {
                self.deaf.remove(pair);
            }
        }
        let touched: BTreeSet<_> = pairs.iter().map(|(who, _)| *who).collect();
        for who in touched {
            self.apply(who).await?;
        }
        Ok(())
    }

    /// Delivers all packets to and from a part.
    pub(crate) async fn heal(&mut self, who: Who) -> anyhow::Result<()> {
        let of_it = |pair: &&(Who, Who)| pair.0 == who || pair.1 == who;
        let pairs: Vec<_> = self.deaf.iter().filter(of_it).copied().collect();
        self.lose(&pairs, false).await
    }

    /// Replaces the rules of one namespace by those that it should have, in one step.
    async fn apply(&self, who: Who) -> anyhow::Result<()> {
        let unheard = self.deaf.iter().filter(|(deaf, _)| *deaf == who);
        let unheard: Vec<_> = unheard
            .map(|(_, other)| self.ip(*other))
            .collect::<anyhow::Result<_>>()?;
        set_rules(&self.run.name_of(who), &rules(&unheard)).await
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // The kernel takes its time with what is in a namespace; this pair is to be gone now.
        quietly(&["link", "del", &self.run.own_link()]);
        for who in self.hosts.keys() {
            quietly(&["netns", "del", &self.run.name_of(*who)]);
        }
        quietly(&["netns", "del", &self.run.switch()]);
    }
}

async fn set_rules(name: &str, rules: &str) -> anyhow::Result<()> {
    let command = ip_command(&["netns", "exec", name, "iptables-restore"]);
    tool::told(command, rules.as_bytes()).await.map(drop)
}

/// Why no such network can be made here, if it cannot.
pub(crate) async fn is_missing() -> Option<String> {
    let name = Run::own().probe();
    let made = async {
        ip(&["netns", "add", &name]).await?;
        ip(&["-n", &name, "link", "add", BRIDGE, "type", "bridge"]).await?;
        set_rules(&name, &rules(&[])).await
    };
    let made: anyhow::Result<()> = made.await;
    quietly(&["netns", "del", &name]);
    let problem = made.err()?;
    Some(format!(
        "no network namespaces: they need root, ip and iptables ({problem:#})"
    ))
}

/// Removes what runs of dead processes have left; nothing where there is no `ip`.
pub(crate) fn remove_leftovers() {
    let listed = |args: &[&str]| tool::told_blocking(ip_command(args)).unwrap_or_default();
    for name in names::left_by_the_dead(&listed(&["netns", "list"]), is_alive) {
        quietly(&["netns", "del", &name]);
    }
    let links = listed(&["-o", "link", "show", "type", "veth"]);
    for link in names::left_by_the_dead(&links, is_alive) {
        quietly(&["link", "del", &link]);
    }
}

fn ip_command(args: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new("ip");
    command.args(args);
    command
}

async fn ip(args: &[&str]) -> anyhow::Result<()> {
    tool::told(ip_command(args), b"").await.map(drop)
}

/// Removes something; what is not there need not be removed.
fn quietly(args: &[&str]) {
    let _ = tool::told_blocking(ip_command(args));
}
