// SPDX-License-Identifier: GPL-2.0

//! What has a name in files of VM tests, and may be begun from by that.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::near;
use super::source::Sources;
use super::text::{Derived, Text};

/// All things of one kind that have names.
pub struct Named<T> {
    kind: &'static str,
    all: BTreeMap<Text, T>,
    /// Which of them somebody used.
    used: RefCell<BTreeSet<String>>,
}

impl<T: Derived> Named<T> {
    /// None yet; `kind` is what one is called.
    pub fn new(kind: &'static str) -> Self {
        Self { kind, all: BTreeMap::new(), used: RefCell::default() }
    }

    /// Adds what one more file has.
    pub fn add(&mut self, sources: &Sources, more: BTreeMap<Text, T>) -> Result<()> {
        for (name, thing) in more {
            if let Some((other, _)) = self.all.get_key_value(&name) {
                let (kind, at) = (self.kind, sources.place(&other.span()));
                let what = format!("there is a {kind} `{}` already: {at}", other.get_ref());
                return Err(sources.error(&name.span(), what));
            }
            self.all.insert(name, thing);
        }
        Ok(())
    }

    /// What is called `name`.
    fn get(&self, sources: &Sources, name: &Text) -> Result<&T> {
        let Some(thing) = self.all.get(name) else {
            let hint = near::hint(name.get_ref(), self.names());
            let what = format!("there is no {} `{}`{hint}", self.kind, name.get_ref());
            return Err(sources.error(&name.span(), what));
        };
        self.used.borrow_mut().insert(name.get_ref().clone());
        Ok(thing)
    }

    /// `thing` with everything that it does not say itself.
    pub fn complete(&self, sources: &Sources, mut thing: T) -> Result<T> {
        let mut before = BTreeSet::new();
        while let Some(base) = thing.base().cloned() {
            if !before.insert(base.get_ref().clone()) {
                let what = format!("the {} `{}` begins as itself", self.kind, base.get_ref());
                return Err(sources.error(&base.span(), what));
            }
            thing = thing.on(self.get(sources, &base)?.clone());
        }
        Ok(thing)
    }

    /// What nobody used so far.
    #[cfg(test)]
    pub fn unused(&self) -> Vec<String> {
        let used = self.used.borrow();
        let unused = self.names().filter(|name| !used.contains(*name));
        unused.map(|name| format!("{} {name}", self.kind)).collect()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.all.keys().map(|name| name.get_ref().as_str())
    }
}
