//! The configuration of each part, as text. Pure.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::TOKEN;
use super::layout::{Layout, Scaled, Who};

/// Longest time in which a node that is not needed is kept, in seconds.
const IDLE_S: u64 = 3;
/// Least time between a change and a retirement, in seconds.
const COOLDOWN_S: u64 = 2;

/// Where a part keeps what must not be lost.
pub(super) enum Store {
    Redis(String),
    Folder(PathBuf),
}

/// What a part has to know.
pub(super) struct Role<'a> {
    pub(super) who: Who,
    pub(super) layout: &'a Layout,
    /// Where it serves clients, or balancers.
    pub(super) serves: Option<SocketAddr>,
    pub(super) operator: SocketAddr,
    /// Nodes that a balancer is told of; none: it finds them in the store.
    pub(super) nodes: Vec<SocketAddr>,
    pub(super) store: Store,
}

impl Role<'_> {
    /// As a file for `--config`.
    pub(super) fn text(&self) -> String {
        [
            self.http(),
            self.cluster(),
            self.node(),
            self.kept(),
            self.provisioner(),
            self.pools(),
        ]
        .concat()
    }

    fn http(&self) -> String {
        let mut text = format!(
            "[http]\noperator_addr = \"{}\"\nshutdown_grace_s = 10\nmax_connections = 20000\n",
            self.operator
        );
        if let (Who::Balancer(_) | Who::Whole, Some(addr)) = (self.who, self.serves) {
            text += &format!("api_addr = \"{addr}\"\n");
        }
        // Whoever can be reached from elsewhere has to ask who calls.
        if self.layout.is_apart {
            text += &format!("api_token = \"{TOKEN}\"\noperator_token = \"{TOKEN}\"\n");
        }
        text
    }

    fn cluster(&self) -> String {
        let mut text = String::new();
        if self.layout.is_apart {
            text += &format!("secret = \"{TOKEN}\"\n");
        }
        if !self.nodes.is_empty() {
            let nodes: Vec<_> = self
                .nodes
                .iter()
                .map(|addr| format!("\"{addr}\""))
                .collect();
            text += &format!("nodes = [{}]\n", nodes.join(", "));
        }
        if text.is_empty() {
            return text;
        }
        format!("[cluster]\n{text}")
    }

    fn node(&self) -> String {
        let mut text = format!("[node]\nname = \"{}\"\n", self.who.name());
        if let (Who::Node(_), Some(addr)) = (self.who, self.serves) {
            text += &format!("addr = \"{addr}\"\n");
        }
        if let Some(scaled) = self.layout.scaled {
            text += &format!("workers_max = {}\n", scaled.node_max);
        }
        text
    }

    fn kept(&self) -> String {
        match &self.store {
            Store::Redis(url) => format!("[store]\nkind = \"redis\"\nredis_url = \"{url}\"\n"),
            Store::Folder(path) => format!("[store]\npath = \"{}\"\n", path.display()),
        }
    }

    fn provisioner(&self) -> String {
        let started = self.layout.scaled.and_then(|scaled| scaled.started_nodes);
        match (self.who, started) {
            (Who::Controller(_), Some((min, max))) => format!(
                "[provisioner]\nkind = \"process\"\nnodes_min = {min}\nnodes_max = {max}\n\
                 idle_s = {IDLE_S}\n"
            ),
            _ => String::new(),
        }
    }

    fn pools(&self) -> String {
        format!(
            "{}[pools.memory]\nmin = 1\nmax = 1\n\
             [pools.grammar]\nmin = 0\nmax = 0\n[pools.reasoning]\nmin = 0\nmax = 0\n",
            self.echo()
        )
    }

    fn echo(&self) -> String {
        let Layout {
            workers,
            slots,
            nodes,
            controllers,
            ..
        } = *self.layout;
        if let Some(Scaled { min, max, .. }) = self.layout.scaled {
            return format!(
                "[pools.echo]\nmin = {min}\nmax = {max}\nslots = {slots}\n\
                 cooldown_s = {COOLDOWN_S}\n"
            );
        }
        // Controllers count the workers of the whole cluster, a node without one counts its own.
        let nodes = if controllers == 0 { 1 } else { nodes as u32 };
        let workers = workers * nodes;
        format!("[pools.echo]\nmin = {workers}\nmax = {workers}\nslots = {slots}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(who: Who, layout: Layout) -> String {
        let role = Role {
            who,
            layout: &layout,
            serves: Some(SocketAddr::from(([10, 77, 1, 2], 8702))),
            operator: SocketAddr::from(([10, 77, 1, 2], 8701)),
            nodes: Vec::new(),
            store: Store::Folder(PathBuf::from("/data")),
        };
        role.text()
    }

    #[test]
    fn who_can_be_reached_from_elsewhere_asks_who_calls() {
        let apart = Layout {
            is_apart: true,
            ..Layout::PLAIN
        };
        let node = text(Who::Node(1), apart);
        for part in [
            "api_token",
            "operator_token",
            "[cluster]\nsecret",
            "addr = \"10.77.1.2:8702\"",
        ] {
            assert!(node.contains(part), "{part}: {node}");
        }
        assert!(!text(Who::Node(1), Layout::PLAIN).contains("token"));
    }

    #[test]
    fn only_controllers_start_nodes_and_count_all_workers() {
        let scaled = Layout {
            controllers: 1,
            scaled: Some(Scaled {
                min: 1,
                max: 8,
                node_max: 4,
                started_nodes: Some((1, 3)),
            }),
            ..Layout::PLAIN
        };
        assert!(text(Who::Controller(0), scaled).contains("nodes_max = 3"));
        assert!(!text(Who::Balancer(0), scaled).contains("provisioner"));
        let led = Layout {
            controllers: 1,
            ..Layout::PLAIN
        };
        assert!(text(Who::Node(0), led).contains("[pools.echo]\nmin = 8\n"));
        assert!(text(Who::Node(0), Layout::PLAIN).contains("[pools.echo]\nmin = 2\n"));
    }
}
