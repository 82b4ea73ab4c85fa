//! No provisioner: somebody else starts nodes, and is told how many are needed.

use crate::plan::Plan;
use crate::port::{Desired, MayAct, Outcome, ProvisionError, Provisioner, Sighting};

/// Holds no nodes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Provisioner for Nothing {
    async fn observe(&self) -> Result<Sighting, ProvisionError> {
        Ok(Sighting::default())
    }

    async fn set(&self, desired: &Desired, _: MayAct<'_>) -> Result<Outcome, ProvisionError> {
        if desired.count == 0 {
            return Ok(Outcome::Unchanged);
        }
        Ok(Outcome::Would(Plan {
            count: desired.count,
            wanted: desired.count,
            ..Plan::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_says_how_many_would_be_needed() {
        let desired = Desired {
            count: 2,
            ..Desired::default()
        };
        let outcome = Nothing.set(&desired, &|| true).await.unwrap();
        assert!(matches!(outcome, Outcome::Would(plan) if plan.count == 2));
        assert_eq!(
            Nothing.set(&Desired::default(), &|| true).await.unwrap(),
            Outcome::Unchanged
        );
    }
}
