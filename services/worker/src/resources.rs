//! CPU and memory of this process and machine, by sysinfo. What cannot be read is absent.

use sysinfo::{
    CpuRefreshKind, MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, System,
};

/// One reading.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Resources {
    pub(crate) process_cpu_cores: Option<f64>,
    pub(crate) machine_cpu_cores: Option<f64>,
    pub(crate) cores: u32,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) memory_limit_bytes: Option<u64>,
    pub(crate) memory_used_bytes: Option<u64>,
}

/// Reads resources; CPU shares are those since the reading before.
pub(crate) struct Probe {
    system: Option<System>,
    pid: Option<Pid>,
    cores: u32,
}

impl Probe {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        Self {
            system: new_system(),
            pid: sysinfo::get_current_pid().ok(),
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
        }
    }

    pub(crate) fn read(&mut self) -> Resources {
        let blind = Resources {
            cores: self.cores,
            ..Resources::default()
        };
        let (Some(system), Some(pid)) = (self.system.as_mut(), self.pid) else {
            return blind;
        };
        system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_usage());
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        system.refresh_processes_specifics(
            ProcessesToUpdate::Some(&[pid]),
            false,
            ProcessRefreshKind::nothing()
                .with_cpu()
                .with_memory()
                .without_tasks(),
        );
        let process = system.process(pid);
        let control_group = system.cgroup_limits();
        let limit = control_group
            .as_ref()
            .map_or_else(|| system.total_memory(), |c| c.total_memory);
        let used = control_group.as_ref().map_or_else(
            || system.used_memory(),
            |c| c.total_memory.saturating_sub(c.free_memory),
        );
        Resources {
            process_cpu_cores: process.map(|p| f64::from(p.cpu_usage()) / 100.0),
            machine_cpu_cores: Some(
                system
                    .cpus()
                    .iter()
                    .map(|c| f64::from(c.usage()) / 100.0)
                    .sum(),
            ),
            memory_bytes: process.map(sysinfo::Process::memory),
            memory_limit_bytes: (limit > 0).then_some(limit),
            memory_used_bytes: (limit > 0).then_some(used),
            ..blind
        }
    }
}

fn new_system() -> Option<System> {
    match System::new() {
        Ok(system) => Some(system),
        Err(error) => {
            tracing::warn!(%error, "CPU and memory cannot be read here; those signals stay off");
            None
        }
    }
}
