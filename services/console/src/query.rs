//! What `GET /v1/events` asks for, read once from the query into values.

use tidepool_core::{EventId, PoolName};
use tidepool_feed::{Filter, HISTORY_LEN_MAX};

use crate::problem::Fault;

/// Events in a batch unless asked otherwise.
pub(crate) const LIMIT_DEFAULT: usize = 100;

const PARAMETERS: &str = "type, pool, since and limit";

/// A read query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventQuery {
    pub(crate) filter: Filter,
    pub(crate) since: Option<EventId>,
    /// 1 to [`HISTORY_LEN_MAX`].
    pub(crate) limit: Option<usize>,
}

impl EventQuery {
    /// Reads decoded parameters.
    ///
    /// # Errors
    /// When one is unknown, repeated or no value of its kind.
    pub(crate) fn read(parameters: &[(String, String)]) -> Result<Self, Fault> {
        let mut query = Self::default();
        for (n, (name, value)) in parameters.iter().enumerate() {
            if parameters[..n].iter().any(|(earlier, _)| earlier == name) {
                return Err(fault(name, "is given twice".to_owned()));
            }
            query.set(name, value)?;
        }
        Ok(query)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        match name {
            "type" => {
                let filter = std::mem::take(&mut self.filter);
                self.filter = filter
                    .of_type(value)
                    .map_err(|error| fault(name, error.to_string()))?;
            }
            "pool" => {
                let pool = PoolName::new(value).map_err(|error| fault(name, error.to_string()))?;
                self.filter = std::mem::take(&mut self.filter).of_pool(pool);
            }
            "since" => self.since = Some(event_id(name, value)?),
            "limit" => {
                let limit = value.parse().ok();
                let limit = limit.filter(|limit| (1..=HISTORY_LEN_MAX).contains(limit));
                self.limit = Some(limit.ok_or_else(|| {
                    fault(name, format!("must be a number of 1 to {HISTORY_LEN_MAX}"))
                })?);
            }
            _ => {
                let name: String = name.chars().take(80).collect();
                let message = format!("is not known here; there are {PARAMETERS}");
                return Err(fault(&name, message));
            }
        }
        Ok(())
    }
}

/// Reads the id of an event.
///
/// # Errors
/// When it is none; `name` is where it came from.
pub(crate) fn event_id(name: &str, value: &str) -> Result<EventId, Fault> {
    value
        .parse()
        .map_err(|error: tidepool_core::event::InvalidEventId| fault(name, error.to_string()))
}

fn fault(parameter: &str, message: String) -> Fault {
    Fault {
        parameter: parameter.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<EventQuery, Fault> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        EventQuery::read(&pairs.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn reads_all_parameters() {
        let query = read(&[
            ("type", "scaling"),
            ("pool", "echo"),
            ("since", "17-3"),
            ("limit", "5"),
        ])
        .unwrap();
        assert_eq!(query.since, Some(EventId { ms: 17, seq: 3 }));
        assert_eq!(query.limit, Some(5));
        assert_eq!(read(&[]).unwrap(), EventQuery::default());
    }

    #[test]
    fn names_the_parameter_that_is_wrong() {
        for (name, value) in [
            ("type", "No Type"),
            ("pool", "No Pool"),
            ("since", "yesterday"),
            ("limit", "0"),
            ("limit", "1001"),
            ("limit", "-1"),
            ("kind", "scaling"),
        ] {
            assert_eq!(read(&[(name, value)]).unwrap_err().parameter, name);
        }
        let twice = read(&[("pool", "a"), ("pool", "b")]);
        assert_eq!(twice.unwrap_err().parameter, "pool");
    }
}
