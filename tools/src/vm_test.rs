// SPDX-License-Identifier: GPL-2.0

//! What a VM test is.

use std::time::Duration;

use serde::Deserialize;

use crate::damage::Damage;
use crate::judges::Judge;
use crate::kernel::Variant;
use crate::machine::Machine;

/// One command of a stage.
#[derive(Clone, Debug, PartialEq)]
pub enum Do {
    /// Prepares: must succeed, or the stage ends.
    Need(String),
    /// Tests: its KTAP results count, or its exit status if it has none.
    Test(String),
}

/// How a boot that is not the last one ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The kernel is live-updated to the next one.
    #[default]
    LiveUpdate,
    /// It panics, and the next one is its crash kernel.
    Panic,
}

impl End {
    /// The function of the init that does it.
    pub const fn function(self) -> &'static str {
        match self {
            Self::LiveUpdate => "live_update",
            Self::Panic => "panic",
        }
    }
}

/// One boot of a test.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// What this kernel is told besides the usual; it may take back what is usual.
    pub cmdline: String,
    /// The kernel.
    pub kernel: Variant,
    /// What is run, in this order.
    pub commands: Vec<Do>,
    /// Whether no module is loaded before that but for what the kernel asks for.
    pub loads_late: bool,
    /// Whether it looks for leaks after that.  Debug kernels always do.
    pub finds_leaks: bool,
    /// How it ends, unless it is the last one.
    pub end: End,
    /// What QEMU's human monitor is told when this kernel jumps into the next one.
    pub at_jump: Vec<String>,
    /// What is changed then of what this kernel hands over.
    pub damage: Vec<Damage>,
}

impl Default for Stage {
    /// A boot of the main kernel that does nothing.
    fn default() -> Self {
        Self {
            cmdline: String::new(),
            kernel: Variant::Main,
            commands: Vec::new(),
            loads_late: false,
            finds_leaks: false,
            end: End::default(),
            at_jump: Vec::new(),
            damage: Vec::new(),
        }
    }
}

impl Stage {
    /// Whether Live Update is on: the command line turns it off, or the kernel may not.
    pub fn has_live_update(&self) -> bool {
        !self.cmdline.split(' ').any(|word| matches!(word, "kho=off" | "liveupdate=off"))
    }
}

/// A test: a machine, what runs on it before and after each live update, and a judge.
#[derive(Clone)]
pub struct VmTest {
    /// Its name on the command line.
    pub name: String,
    /// What it shows, in one line.
    pub about: String,
    /// The letters of the pitfalls that it covers, as the legend has them.
    pub pitfalls: Vec<String>,
    /// The machine.
    pub machine: Machine,
    /// The boots, with a live update from each to the next.
    pub stages: Vec<Stage>,
    /// After this time the VM hangs.
    pub timeout: Duration,
    /// Looks at what the programs in the VM cannot know.
    pub judge: Option<Judge>,
    /// Whether only the full run has it: it repeats with other properties what other tests show.
    pub is_repetition: bool,
    /// On which kernels it runs besides.
    pub variations: Vec<Variation>,
}

/// The same test on other kernels.
#[derive(Clone, Debug, PartialEq)]
pub struct Variation {
    /// The kernels, as they are named after the `@`.
    pub kernels: String,
    /// Whether only the full run has it.
    pub is_repetition: bool,
}
