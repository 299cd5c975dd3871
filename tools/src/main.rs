// SPDX-License-Identifier: GPL-2.0

//! Fetches, builds, boots and judges: the test harness of liveupdate_rs.
//!
//! Started by `tools/enter` inside the build root; `make help` lists the commands.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod cases;
mod catalog;
mod checkpatch;
mod checks;
mod clock;
mod config_space;
mod context;
mod damage;
mod digest;
mod docs;
mod evidence;
mod feed;
mod files;
mod hooks;
mod initramfs;
mod install;
mod job;
mod judges;
mod kconfig;
mod kernel;
mod ktap;
mod layering;
mod legend;
mod libtest;
mod lines;
mod machine;
mod mail;
mod modules;
mod names;
mod overlay;
mod pitfalls;
mod progress;
mod qmp;
mod report;
mod serial;
mod series;
mod splat;
mod stage;
mod stamp;
mod suite;
mod times;
mod trace;
mod tree;
mod verdict;
mod vm;
mod vm_test;
mod wire;

use context::Context;

/// The test harness of liveupdate_rs.
#[derive(Parser)]
#[command(name = "lu", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

/// What to do; each is a target of the Makefile.
#[derive(Subcommand)]
enum Task {
    /// Make or update the patched kernel tree.
    Tree {
        /// Drop commits and edits in the tree that patches/ does not have.
        #[arg(long)]
        force: bool,
    },
    /// Build the kernel and the kselftests.
    Build,
    /// Carry an igb through two live updates and tell how it went.
    Run,
    /// Check formatting, lints, documentation, layering and the patch series.
    Check,
    /// Put our files and patches into the tree that KSRC names.
    InstallInto,
    /// Take them out again.
    UninstallFrom,
    /// Run everything, or the VM tests with these names, or those of a file that `CASE=` names.
    Test {
        /// Names of VM tests, or patterns like `witness-*`; `--list` shows them.
        names: Vec<String>,
        /// List the VM tests, or these, instead of running any.
        #[arg(long)]
        list: bool,
        /// Run the VM tests only, or these, with the debug kernel for every boot.
        #[arg(long, conflicts_with_all = ["kernel", "next_kernel"])]
        debug: bool,
        /// Run everything, with what only repeats other tests with other properties.
        #[arg(long, conflicts_with_all = ["names", "debug"])]
        full: bool,
        /// Another kernel image for the first boot of the named tests.
        #[arg(long, requires = "names")]
        kernel: Option<PathBuf>,
        /// Another kernel image to live-update to.
        #[arg(long, requires = "names")]
        next_kernel: Option<PathBuf>,
    },
    /// Measure what a live update costs.
    Bench {
        /// Measure these only, by name or pattern like `bench-8x*`, and write nothing.
        #[arg(conflicts_with = "full")]
        names: Vec<String>,
        /// Measure what takes a quarter of an hour and more, too.
        #[arg(long)]
        full: bool,
    },
    /// Say what each VM test shows, and which pitfalls it covers.
    Legend,
    /// Regenerate patches/ from the commits in the tree.
    Patches,
    /// Write the changes as series of mails, one per subsystem.
    Mail {
        /// Who sends them: `Name <address>`.
        #[arg(long)]
        from: String,
        /// The commit of the kernel's release that they are for.
        #[arg(long)]
        base: Option<String>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("liveupdate_rs: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one task and says whether its verdict is good.
fn run(task: Task) -> Result<bool> {
    let ctx = Context::from_env()?;
    match task {
        Task::Tree { force } => tree::update(&ctx, force).map(|_| true),
        Task::Build => kernel::build(&ctx).map(|_| true),
        Task::Test { list: true, names, .. } => suite::list(&ctx, &names).map(|()| true),
        Task::Run => suite::show(&ctx),
        Task::Check => suite::check(&ctx),
        Task::InstallInto => install::install(&ctx).map(|()| true),
        Task::UninstallFrom => install::uninstall(&ctx).map(|()| true),
        Task::Test { names, debug: true, .. } => suite::run_on_debug(&ctx, &names),
        Task::Test { names, full, .. } if names.is_empty() && ctx.case.is_none() => {
            suite::run_all(&ctx, full)
        }
        Task::Test { names, kernel, next_kernel, .. } => {
            suite::run_vm_tests(&ctx, &names, kernel, next_kernel)
        }
        Task::Bench { names, full } => bench::run(&ctx, &names, full),
        Task::Legend => {
            legend::print(&catalog::Catalog::read(&ctx)?);
            Ok(true)
        }
        Task::Patches => tree::export_patches(&ctx).map(|()| true),
        Task::Mail { from, base } => mail::write(&ctx, &from, base.as_deref()).map(|()| true),
    }
}
