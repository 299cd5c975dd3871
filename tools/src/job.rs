// SPDX-License-Identifier: GPL-2.0

//! A VM test with the kernels of its boots: what can be asked for by name.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::kernel::Variant;
use crate::machine::Machine;
use crate::vm_test::{Do, End, Stage, VmTest};

/// What every kernel of every test is told.  The last three, because an emulated processor may stand
/// still for a while on a busy host: without them the kernel panics because its timer is late, or
/// its check of the time stamp counters never ends and blocks the others, or it measures for half a
/// second how long a delay takes on the second processor.  It is told the measure of a fast host,
/// so that no delay is too short.
const CMDLINE: &str = "console=ttyS0 kho=on liveupdate=on intel_iommu=on,sm_on panic=-1 \
                       no_timer_check tsc=nowatchdog lpj=20000000";

/// What a kernel is told that is to hand its initrd on.
const RETAIN: &str = "retain_initrd";

/// What the first of several kernels is told: until its init says otherwise, it does not check the
/// order of locks.  Its boot is the same in all tests, and the next kernels' boots are checked.
const NO_LOCK_ORDER: &str = "lockdep.prove_locking=0";

/// What all kernels of a test are told if one of them is a debug kernel: the areas that KHO chooses
/// by itself cannot be reserved below KASAN's shadow, and then it turns itself off.  The first
/// kernel chooses for all that follow.
const DEBUG_SCRATCH: &str = "kho_scratch=128M,256M,512M";

/// What a kernel is told that is to look for leaks.  Caches with red zones have no arrays of free
/// objects.  Pointers stay in these arrays when an object is handed out, and kmemleak takes them
/// for references.
const TRACK_MEMORY: &str = "kmemleak=on slab_debug=Z";

/// What a debug kernel is told.  While it identifies the processor it does not know for a
/// moment that there are five levels of page tables, and KASAN takes any memory that an interrupt
/// uses just then for memory that there cannot be.
const DEBUG_LEVELS: &str = "no5lvl";

/// Memory that a debug kernel needs at least: these areas, and the shadow.
const DEBUG_MEMORY: &str = "3G";

/// How much more time a test gets with a debug kernel.
const DEBUG_PATIENCE: u32 = 6;

/// How a boot ends that looks for leaks: a function of the init.
const FIND_LEAKS: &str = "find_leaks";

/// A test on certain kernels.
#[derive(Clone)]
pub struct Job {
    /// The test's name, with `@` and the kernels if they are not those of the catalog.
    pub name: String,
    /// The test.
    pub test: VmTest,
    /// The kernel of each boot.
    pub kernels: Vec<Variant>,
}

impl Job {
    /// `test` as it is in the catalog.
    pub fn of(test: &VmTest) -> Self {
        let kernels = test.stages.iter().map(|stage| stage.kernel).collect();
        Self { name: test.name.clone(), test: test.clone(), kernels }
    }

    /// The job called `test@kernel` (for all boots) or `test@kernel-kernel` (for each).  A test that
    /// is about certain kernels takes `debug` only, and keeps what it is about.
    pub fn on(test: &VmTest, kernels: &str) -> Result<Self> {
        let usual = Self::of(test);
        let base = &test.name;
        let name = format!("{base}@{kernels}");
        if kernels == Variant::Debug.name() {
            let kernels = usual.kernels.into_iter().map(Variant::on_debug).collect();
            return Ok(Self { name, kernels, ..usual });
        }
        let mut kernels = kernels
            .split('-')
            .map(|kernel| {
                Variant::from_name(kernel).with_context(|| {
                    let names = Variant::ALL.map(Variant::name);
                    format!("{name}: no kernel `{kernel}`; there are: {}", names.join(", "))
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let boots = test.stages.len();
        ensure!(
            usual.is_for_any_kernel(),
            "{name}: {base} is about certain kernels, there is {base}@debug only"
        );
        if kernels.len() == 1 {
            kernels.resize(boots, kernels[0]);
        }
        ensure!(kernels.len() == boots, "{name}: names other than 1 or {boots} kernels");
        Ok(Self { name, kernels, ..usual })
    }

    /// Whether the test does not depend on which kernels it runs on.
    fn is_for_any_kernel(&self) -> bool {
        self.test.stages.iter().all(|stage| stage.kernel == Variant::Main)
    }

    /// The commands of each boot.
    pub fn commands(&self) -> Vec<Vec<Do>> {
        let boots = self.test.stages.iter().zip(&self.kernels);
        boots
            .map(|(stage, kernel)| {
                let leaks = || Do::Test(FIND_LEAKS.to_owned());
                let leaks = finds_leaks(stage, *kernel).then(leaks);
                stage.commands.iter().cloned().chain(leaks).collect()
            })
            .collect()
    }

    /// The shell script of each stage, for `tools/vm/init` to read.
    pub fn scripts(&self) -> Vec<String> {
        let last = self.kernels.len() - 1;
        let stages = self.commands().into_iter().zip(&self.test.stages).enumerate();
        stages
            .map(|(index, (commands, stage))| {
                script(&commands, stage.loads_late, (index < last).then_some(stage.end))
            })
            .collect()
    }

    /// The command line of each boot.  What a stage says comes last: the last word counts.
    pub fn cmdlines(&self) -> Vec<String> {
        let count = self.test.stages.len();
        let line = |((index, stage), kernel): ((usize, &Stage), &Variant)| {
            let number = format!("lu_stage={}", index + 1);
            let mut words = vec![CMDLINE, &number];
            if index + 1 < count {
                words.push(RETAIN);
            }
            if index == 0 && count > 1 {
                words.push(NO_LOCK_ORDER);
            }
            if self.has_debug() {
                words.push(DEBUG_SCRATCH);
            }
            if finds_leaks(stage, *kernel) {
                words.push(TRACK_MEMORY);
            }
            if kernel.is_debug() {
                words.push(DEBUG_LEVELS);
            }
            words.push(&stage.cmdline);
            words.join(" ").trim_end().to_owned()
        };
        self.test.stages.iter().enumerate().zip(&self.kernels).map(line).collect()
    }

    /// The machine, with enough memory for the kernels.
    pub fn machine(&self) -> Machine {
        let mut machine = self.test.machine.clone();
        if self.has_debug() && gib(&machine.memory) < gib(DEBUG_MEMORY) {
            machine.memory = DEBUG_MEMORY.to_owned();
        }
        machine
    }

    /// After this time the VM hangs.
    pub fn timeout(&self) -> Duration {
        self.test.timeout * if self.has_debug() { DEBUG_PATIENCE } else { 1 }
    }

    /// Whether one of its kernels is a debug kernel.
    pub fn has_debug(&self) -> bool {
        self.kernels.iter().any(|kernel| kernel.is_debug())
    }
}

/// The shell script of a stage.
fn script(commands: &[Do], loads_late: bool, end: Option<End>) -> String {
    let mut text = String::from("cd /selftests\n");
    if !loads_late {
        text.push_str("load_modules\n");
    }
    for command in commands {
        let (line, after) = match command {
            Do::Need(line) => (line, " || finish"),
            Do::Test(line) => (line, ""),
        };
        text.push_str(&format!("run '{}'{after}\n", line.replace('\'', r"'\''")));
    }
    if let Some(end) = end {
        text.push_str(&format!("{}\n", end.function()));
    }
    text
}

/// Whether this boot of this kernel ends with a search for leaks.
const fn finds_leaks(stage: &Stage, kernel: Variant) -> bool {
    stage.finds_leaks || kernel.is_debug()
}

/// What QEMU's `-m` takes, as a number of GiB; 0 if it is given in other units.
pub fn gib(memory: &str) -> u32 {
    memory.strip_suffix('G').and_then(|gib| gib.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    fn job(name: &str) -> Result<Job> {
        Catalog::ours().job(name)
    }

    fn kernels(name: &str) -> Option<Vec<Variant>> {
        job(name).ok().map(|job| job.kernels)
    }

    #[test]
    fn name_may_say_the_kernels() {
        use Variant::{Debug, Main};
        assert_eq!(kernels("luo-kexec"), Some(vec![Main, Main]));
        assert_eq!(kernels("luo-kexec@debug"), Some(vec![Debug, Debug]));
        assert_eq!(kernels("luo-kexec@main-debug"), Some(vec![Main, Debug]));
        assert_eq!(kernels("kunit@debug"), Some(vec![Debug]));
        for wrong in ["luo", "luo-kexec@", "luo-kexec@fast", "luo-kexec@main-debug-main"] {
            assert_eq!(kernels(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn kernels_of_a_test_about_certain_ones_cannot_be_chosen() {
        use Variant::{Debug, Unaware};
        assert_eq!(kernels("witness-unaware@main"), None);
        assert_eq!(kernels("witness-unaware@debug"), Some(vec![Debug, Unaware]));
    }

    #[test]
    fn boot_of_a_debug_kernel_ends_with_a_search_for_leaks() {
        let job = job("luo-kexec@main-debug").expect("a job");
        let (commands, lines) = (job.commands(), job.cmdlines());
        assert_eq!(commands[0].len() + 1, commands[1].len());
        assert_eq!(commands[1].last(), Some(&Do::Test(FIND_LEAKS.to_owned())));
        assert!(!lines[0].contains("kmemleak=on") && lines[1].contains("kmemleak=on"));
    }

    #[test]
    fn other_kernels_look_for_leaks_where_a_test_wants_it() {
        let job = job("vfio-fail-nth").expect("a job");
        assert!(!job.has_debug());
        for (commands, line) in job.commands().iter().zip(job.cmdlines()) {
            assert_eq!(commands.last(), Some(&Do::Test(FIND_LEAKS.to_owned())));
            assert!(line.contains("kmemleak=on"), "{line}");
        }
    }

    #[test]
    fn every_test_can_run_on_debug_kernels() {
        for test in Catalog::ours().tests {
            let job = Job::on(&test, "debug").expect("a job");
            assert!(job.cmdlines().iter().all(|line| line.contains(DEBUG_SCRATCH)));
            assert!(gib(&job.machine().memory) >= gib(DEBUG_MEMORY), "{}", test.name);
            assert!(job.timeout() > test.timeout);
            assert!(job.has_debug(), "{}", test.name);
        }
    }

    #[test]
    fn every_boot_but_the_last_keeps_its_initrd() {
        let lines = job("luo-kexec").expect("a job").cmdlines();
        assert_eq!(lines[0], format!("{CMDLINE} lu_stage=1 {RETAIN} {NO_LOCK_ORDER}"));
        assert_eq!(lines[1], format!("{CMDLINE} lu_stage=2"));
    }

    #[test]
    fn script_quotes_and_ends_early_where_a_need_is_not_met() {
        let commands = &[Do::Need("echo 'a'".into()), Do::Test("b".into())];
        assert_eq!(
            script(commands, true, Some(End::LiveUpdate)),
            "cd /selftests\nrun 'echo '\\''a'\\''' || finish\nrun 'b'\nlive_update\n"
        );
    }
}
