// SPDX-License-Identifier: GPL-2.0

//! What a file of VM tests says, as it stands there: `tools/tests/README.md` describes each key.
//!
//! Whatever can be wrong in a way that TOML does not know of is kept with its place.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZero;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use toml::Spanned;

use crate::damage::Part;
use crate::vm_test::End;

/// A string, and where it is.
pub type Text = Spanned<String>;

/// What parameters stand for.
pub type With = BTreeMap<Text, Text>;

/// All of a file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Machines with a name.
    #[serde(default)]
    pub machine: BTreeMap<Text, Machine>,
    /// Boots with a name.
    #[serde(default)]
    pub stage: BTreeMap<Text, Stage>,
    /// What several tests begin as.
    #[serde(default)]
    pub template: BTreeMap<Text, Test>,
    /// Tests.
    #[serde(default)]
    pub test: Vec<Spanned<Test>>,
}

/// A test, or what several begin as.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Test {
    pub base: Option<Text>,
    pub with: Option<With>,
    pub name: Option<Text>,
    pub about: Option<Text>,
    pub pitfalls: Option<Vec<Text>>,
    pub machine: Option<Spanned<Or<Machine>>>,
    pub stages: Option<Spanned<Vec<Spanned<Or<Stage>>>>>,
    pub timeout: Option<Spanned<u32>>,
    pub judge: Option<Text>,
    pub full: Option<bool>,
    pub also_on: Option<Vec<Text>>,
    pub full_also_on: Option<Vec<Text>>,
}

/// A machine.
#[derive(Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Machine {
    pub base: Option<Text>,
    pub memory: Option<Text>,
    pub options: Option<Vec<Text>>,
    pub iommu_model: Option<Text>,
    pub iommu: Option<Text>,
    pub slots: Option<Vec<Spanned<Or<Slot>>>>,
    pub traces: Option<Vec<Text>>,
    pub is_open: Option<bool>,
    pub counts_instructions: Option<bool>,
}

/// What is behind one root port, or behind each of several: one of these.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Slot {
    pub device: Option<Spanned<Or<Device>>>,
    pub integrated: Option<Spanned<Or<Device>>>,
    pub conventional: Option<Spanned<Or<Device>>>,
    pub expander: Option<Spanned<Or<Device>>>,
    pub switch: Option<Vec<Spanned<Or<Device>>>>,
    pub fixed: Option<Vec<Spanned<Or<Device>>>>,
    pub group: Option<Vec<Spanned<Or<Device>>>>,
    pub functions: Option<Vec<Spanned<Or<Device>>>>,
    pub empty: Option<u8>,
    pub times: Option<NonZero<usize>>,
}

/// A device that is connected to something.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Device {
    pub model: String,
    pub backend: Backend,
    pub reads_per_second: Option<u32>,
}

/// What it is connected to.
#[derive(Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Backend {
    Frames,
    Wire,
    Disk,
}

/// One boot.
#[derive(Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Stage {
    pub base: Option<Text>,
    pub with: Option<With>,
    pub cmdline: Option<Text>,
    pub kernel: Option<Text>,
    pub commands: Option<Vec<Command>>,
    pub loads_late: Option<bool>,
    pub finds_leaks: Option<bool>,
    pub end: Option<Spanned<End>>,
    pub at_jump: Option<Spanned<Vec<Text>>>,
    pub damage: Option<Spanned<Vec<Damage>>>,
}

/// A command of a boot.
#[derive(Clone, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Command {
    Need(Text),
    Test(Text),
}

/// What is changed of what is handed over.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Damage {
    pub bdf: Text,
    pub part: Part,
    pub word: u64,
    pub flip: u32,
}

/// The name of something, or the thing itself.
#[derive(Clone)]
pub enum Or<T> {
    /// The name.
    Name(String),
    /// The thing.
    Own(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Or<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrTable(PhantomData))
    }
}

/// Reads either.
struct NameOrTable<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NameOrTable<T> {
    type Value = Or<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name or a table")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Or<T>, E> {
        Ok(Or::Name(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Or<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Or::Own)
    }
}

/// What may begin as something else that has a name.
pub trait Derived: Clone {
    /// What that is called.
    fn base(&self) -> Option<&Text>;

    /// This, with what it does not say itself from `base`, and the base of that.
    fn on(self, base: Self) -> Self;
}

/// What parameters stand for here or, where that does not say it, in `base`.
fn with_on(own: Option<With>, base: Option<With>) -> Option<With> {
    let mut all = own.unwrap_or_default();
    for (name, value) in base.unwrap_or_default() {
        all.entry(name).or_insert(value);
    }
    Some(all)
}

macro_rules! derived {
    ($type:ident { $($merged:ident)? } $($field:ident)*) => {
        impl Derived for $type {
            fn base(&self) -> Option<&Text> {
                self.base.as_ref()
            }

            fn on(self, base: Self) -> Self {
                Self {
                    base: base.base,
                    $($merged: with_on(self.$merged, base.$merged),)?
                    $($field: self.$field.or(base.$field),)*
                }
            }
        }
    };
}

derived!(Test { with }
    name about pitfalls machine stages timeout judge full also_on full_also_on);
derived!(Machine {}
    memory options iommu_model iommu slots traces is_open counts_instructions);
derived!(Stage { with } cmdline kernel commands loads_late finds_leaks end at_jump damage);
