//! A few values by name, those that were used last.

use std::collections::HashMap;

/// A bounded map that drops what was not used for longest.
pub(super) struct Recent<T> {
    values: HashMap<String, Entry<T>>,
    clock: u64,
}

struct Entry<T> {
    value: T,
    used: u64,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self {
            values: HashMap::new(),
            clock: 0,
        }
    }
}

impl<T: Clone> Recent<T> {
    /// The value of a name, made if there is none, and now the one used last.
    pub(super) fn get(&mut self, name: &str, make: impl FnOnce() -> T) -> T {
        self.clock += 1;
        if let Some(entry) = self.values.get_mut(name) {
            entry.used = self.clock;
            return entry.value.clone();
        }
        let value = make();
        let entry = Entry {
            value: value.clone(),
            used: self.clock,
        };
        self.values.insert(name.to_owned(), entry);
        value
    }

    /// Drops what was not used for longest, until there are at most `len_max` values that weigh at
    /// most `weight_max`; the one used last stays in any case.
    pub(super) fn shrink(
        &mut self,
        len_max: usize,
        weight_max: usize,
        weight: impl Fn(&T) -> usize,
    ) {
        let mut total: usize = self.values.values().map(|entry| weight(&entry.value)).sum();
        while self.values.len() > 1 && (self.values.len() > len_max || total > weight_max) {
            let oldest = self.values.iter().min_by_key(|(_, entry)| entry.used);
            let Some(name) = oldest.map(|(name, _)| name.clone()) else {
                return;
            };
            if let Some(entry) = self.values.remove(&name) {
                total = total.saturating_sub(weight(&entry.value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(recent: &Recent<usize>) -> Vec<&str> {
        let mut names: Vec<_> = recent.values.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn drops_what_was_not_used_for_longest() {
        let mut recent = Recent::default();
        for name in ["a", "b", "c", "a", "d"] {
            recent.get(name, || 1);
            recent.shrink(3, 100, |value| *value);
        }
        assert_eq!(names(&recent), ["a", "c", "d"]);
    }

    #[test]
    fn drops_by_weight_but_never_the_one_in_use() {
        let mut recent = Recent::default();
        recent.get("a", || 60);
        recent.get("b", || 60);
        recent.shrink(9, 100, |value| *value);
        assert_eq!(names(&recent), ["b"]);
        recent.get("c", || 1_000);
        recent.shrink(9, 100, |value| *value);
        assert_eq!(names(&recent), ["c"]);
    }

    #[test]
    fn makes_a_value_once() {
        let mut recent = Recent::default();
        assert_eq!(recent.get("a", || 1), 1);
        assert_eq!(recent.get("a", || 2), 1);
    }
}
