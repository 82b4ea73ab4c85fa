//! Which pools there are: the configured ones, and one for every built-in kind that none lists.

use std::collections::{BTreeMap, BTreeSet};

use super::raw::RawPool;

/// Kinds that have a pool of their own name unless a pool lists them.
pub(crate) const BUILT_IN_KINDS: [&str; 4] = ["echo", "grammar", "memory", "reasoning"];

/// Adds the pools that nobody had to write, and the kinds of pools that are named like one.
pub(crate) fn complete(pools: &mut BTreeMap<String, RawPool>) {
    for (name, pool) in &mut *pools {
        if pool.kinds.is_empty() && BUILT_IN_KINDS.contains(&name.as_str()) {
            pool.kinds.push(name.clone());
        }
    }
    let listed: BTreeSet<String> = pools.values().flat_map(|pool| pool.kinds.clone()).collect();
    for kind in BUILT_IN_KINDS {
        if !listed.contains(kind) && !pools.contains_key(kind) {
            let pool = RawPool {
                kinds: vec![kind.to_owned()],
                ..RawPool::default()
            };
            pools.insert(kind.to_owned(), pool);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(pools: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
        let mut pools = pools
            .iter()
            .map(|(name, kinds)| {
                let pool = RawPool {
                    kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
                    ..RawPool::default()
                };
                ((*name).to_owned(), pool)
            })
            .collect();
        complete(&mut pools);
        pools
            .into_iter()
            .map(|(name, pool)| (name, pool.kinds))
            .collect()
    }

    #[test]
    fn every_built_in_kind_has_a_pool_of_its_own() {
        let names: Vec<_> = completed(&[]).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, BUILT_IN_KINDS);
    }

    #[test]
    fn a_kind_that_a_pool_lists_gets_no_second_pool() {
        let pools = completed(&[("text", &["grammar", "memory"]), ("echo", &[])]);
        let names: Vec<_> = pools.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["echo", "reasoning", "text"]);
        assert_eq!(pools[0].1, ["echo"]);
    }
}
