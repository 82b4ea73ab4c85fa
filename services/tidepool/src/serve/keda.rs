//! The front ends for KEDA: one advisor for the document and for the external scaler.

use std::sync::Arc;

use anyhow::Context;
use tidepool_balancer::Pool;
use tidepool_core::status::SharedFleetView;
use tidepool_keda::{Advisor, Config, Server};
use tidepool_supervisor::steady_wall_clock;

use crate::settings::Settings;

/// Knows what each pool wants. Its clock begins where the supervisor's does, at the wall clock of
/// the start, so that ages come out right whatever the wall clock does later.
pub(super) fn advisor(pools: &[Arc<Pool>], fleet: &SharedFleetView) -> Advisor {
    let names = pools.iter().map(|pool| pool.name().clone());
    let fleet = Arc::clone(fleet);
    let statuses = Arc::new(move || fleet.pools());
    Advisor::new(statuses, names, Arc::new(steady_wall_clock()))
}

/// Serves KEDA's external scaler, if it has an address.
pub(super) fn serve(settings: &Settings, advisor: &Advisor) -> anyhow::Result<Option<Server>> {
    let Some(addr) = settings.keda_addr else {
        return Ok(None);
    };
    let token = settings.http.operator_token.as_ref();
    let config = Config {
        addr,
        token: token.map(|token| token.expose().to_owned()),
    };
    let server = Server::start(config, advisor.clone());
    Ok(Some(server.context("keda.addr cannot be served")?))
}
