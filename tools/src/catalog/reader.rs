// SPDX-License-Identifier: GPL-2.0

//! Makes tests of what files say: finds what has a name, fills in parameters, checks the rest.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Error, Result};
use toml::Spanned;

use super::hardware::Machines;
use super::named::Named;
use super::near;
use super::scope::Scope;
use super::source::{Sources, Span};
use super::text::{self, Or, Text, With};
use crate::damage::{Damage, source_id};
use crate::job::Job;
use crate::judges;
use crate::kernel::Variant;
use crate::machine::Machine;
use crate::pitfalls::PITFALLS;
use crate::vm_test::{Do, End, Stage, Variation, VmTest};

/// Reads files, and then makes tests of them.
pub struct Reader {
    sources: Sources,
    machines: Machines,
    stages: Named<text::Stage>,
    templates: Named<text::Test>,
    tests: Vec<Spanned<text::Test>>,
}

impl Reader {
    /// One that has read nothing.
    pub fn new() -> Self {
        Self {
            sources: Sources::default(),
            machines: Machines::new(),
            stages: Named::new("stage"),
            templates: Named::new("template"),
            tests: Vec::new(),
        }
    }

    /// Reads a file that is called `shown`, and says how many tests it has.
    pub fn add(&mut self, shown: String, text: String) -> Result<usize> {
        let file = self.sources.parse(shown, text)?;
        self.machines.add(&self.sources, file.machine)?;
        self.stages.add(&self.sources, file.stage)?;
        self.templates.add(&self.sources, file.template)?;
        let count = file.test.len();
        self.tests.extend(file.test);
        Ok(count)
    }

    /// The tests of all files, in their order.
    pub fn tests(&self) -> Result<Vec<VmTest>> {
        let mut names: BTreeMap<String, Span> = BTreeMap::new();
        let mut tests = Vec::new();
        for test in &self.tests {
            let (test, name) = self.test(test)?;
            if let Some(other) = names.get(&test.name) {
                let at = self.sources.place(other);
                let what = format!("there is a test `{}` already: {at}", test.name);
                return Err(self.error(&name, what));
            }
            names.insert(test.name.clone(), name);
            tests.push(test);
        }
        Ok(tests)
    }

    /// What has a name that nobody used so far.
    #[cfg(test)]
    pub fn unused(&self) -> Vec<String> {
        let all = [self.machines.unused(), self.stages.unused(), self.templates.unused()];
        all.concat()
    }

    fn error(&self, span: &Span, what: impl AsRef<str>) -> Error {
        self.sources.error(span, what)
    }

    /// A test, and where its name is.
    fn test(&self, own: &Spanned<text::Test>) -> Result<(VmTest, Span)> {
        let at = own.span();
        let missing = |key, what| self.error(&at, format!("this test has no `{key}`: {what}"));
        let own = own.get_ref();
        let name = own.name.as_ref().ok_or_else(|| missing("name", "what it is called"))?;
        self.check_name(name)?;
        let all = self.templates.complete(&self.sources, own.clone())?;
        let (used, with) = (RefCell::default(), all.with.unwrap_or_default());
        let scope = Scope {
            sources: &self.sources,
            levels: vec![&with],
            used: &used,
            test: name.get_ref(),
            at: &name.span(),
        };
        let about = all.about.ok_or_else(|| missing("about", "what it shows, in a line"))?;
        let stages = all.stages.filter(|stages| !stages.get_ref().is_empty());
        let stages = stages.ok_or_else(|| missing("stages", "its boots, one at least"))?;
        let timeout = all.timeout.ok_or_else(|| missing("timeout", "when it hangs, in seconds"))?;
        if *timeout.get_ref() == 0 {
            return Err(self.error(&timeout.span(), "a test takes a second at least"));
        }
        let machine =
            all.machine.map(|machine| self.machines.read(&self.sources, &machine)).transpose()?;
        let machine = machine.unwrap_or_default();
        let last = stages.get_ref().len() - 1;
        let stages = stages.get_ref().iter().enumerate();
        let stages = stages.map(|(index, stage)| self.stage(&scope, stage, &machine, index < last));
        let stages = stages.collect::<Result<_>>()?;
        let test = VmTest {
            name: name.get_ref().clone(),
            about: scope.words(&about)?,
            pitfalls: self.pitfalls(all.pitfalls.unwrap_or_default())?,
            machine,
            stages,
            timeout: Duration::from_secs((*timeout.get_ref()).into()),
            judge: all.judge.map(|judge| self.judge(&judge)).transpose()?,
            is_repetition: all.full.unwrap_or(false),
            variations: Vec::new(),
        };
        self.check_used(own.with.as_ref(), &used)?;
        let mut commands = test.stages.iter().flat_map(|stage| &stage.commands);
        if test.judge.is_none() && !commands.any(|command| matches!(command, Do::Test(_))) {
            let what =
                "this test shows nothing: it has no command that is a `test`, and no `judge`";
            return Err(self.error(&at, what));
        }
        let variations = self.variations(&test, all.also_on, false)?.into_iter();
        let variations = variations.chain(self.variations(&test, all.full_also_on, true)?);
        Ok((VmTest { variations: variations.collect(), ..test }, name.span()))
    }

    /// A name is that of a directory, and has no letters that mean something on the command line.
    fn check_name(&self, name: &Text) -> Result<()> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let text = name.get_ref();
        if text.is_empty() || text.starts_with('-') || !text.chars().all(is_plain) {
            let what = format!("`{text}` is no name: it has lower-case letters, digits and `-`");
            return Err(self.error(&name.span(), what));
        }
        Ok(())
    }

    /// A value that nobody asks for is one with a wrong name.
    fn check_used(&self, with: Option<&With>, used: &RefCell<BTreeSet<usize>>) -> Result<()> {
        let used = used.borrow();
        let mut all = with.into_iter().flatten();
        if let Some((name, _)) = all.find(|(name, _)| !used.contains(&name.span().start)) {
            let what = format!("nothing here has a parameter {{{}}}", name.get_ref());
            return Err(self.error(&name.span(), what));
        }
        Ok(())
    }

    fn pitfalls(&self, letters: Vec<Text>) -> Result<Vec<String>> {
        let known = |letter: &str| PITFALLS.iter().any(|(known, _)| *known == letter);
        if let Some(wrong) = letters.iter().find(|letter| !known(letter.get_ref())) {
            let names = PITFALLS.iter().map(|(letter, _)| *letter);
            let hint = near::hint(wrong.get_ref(), names);
            let what = format!("there is no pitfall `{}`{hint}", wrong.get_ref());
            return Err(self.error(&wrong.span(), what));
        }
        Ok(letters.into_iter().map(Spanned::into_inner).collect())
    }

    fn judge(&self, name: &Text) -> Result<judges::Judge> {
        let found = judges::ALL.iter().find(|(known, _)| known == name.get_ref());
        found.map(|(_, judge)| *judge).ok_or_else(|| {
            let hint = near::hint(name.get_ref(), judges::ALL.iter().map(|(name, _)| *name));
            self.error(&name.span(), format!("there is no judge `{}`{hint}", name.get_ref()))
        })
    }

    /// Kernels that a test runs on besides.
    fn variations(
        &self,
        test: &VmTest,
        all: Option<Vec<Text>>,
        is_repetition: bool,
    ) -> Result<Vec<Variation>> {
        let all = all.unwrap_or_default().into_iter().map(|kernels| {
            Job::on(test, kernels.get_ref())
                .map_err(|error| self.error(&kernels.span(), error.to_string()))?;
            Ok(Variation { kernels: kernels.into_inner(), is_repetition })
        });
        all.collect()
    }

    /// One boot of a test, with this machine, which another one may follow.
    fn stage(
        &self,
        scope: &Scope,
        stage: &Spanned<Or<text::Stage>>,
        machine: &Machine,
        is_followed: bool,
    ) -> Result<Stage> {
        let mut own = match stage.get_ref() {
            Or::Own(own) => own.clone(),
            Or::Name(name) => text::Stage {
                base: Some(Spanned::new(stage.span(), name.clone())),
                ..text::Stage::default()
            },
        };
        let mut nearest = With::new();
        for (name, value) in own.with.take().unwrap_or_default() {
            nearest.insert(name, Spanned::new(value.span(), scope.fill(&value)?));
        }
        let all = self.stages.complete(&self.sources, own)?;
        let farthest = all.with.unwrap_or_default();
        let levels =
            [&nearest].into_iter().chain(scope.levels.iter().copied()).chain([&farthest]).collect();
        let scope = Scope { levels, ..*scope };
        let lines = |lines: &[Text]| lines.iter().map(|line| scope.words(line)).collect();
        let stage = Stage {
            cmdline: all.cmdline.map(|line| scope.line(&line)).transpose()?.unwrap_or_default(),
            kernel: all.kernel.map_or(Ok(Variant::Main), |kernel| self.kernel(&kernel))?,
            commands: self.commands(&scope, all.commands.as_deref().unwrap_or_default())?,
            loads_late: all.loads_late.unwrap_or(false),
            finds_leaks: all.finds_leaks.unwrap_or(false),
            end: all.end.as_ref().map_or(End::default(), |end| *end.get_ref()),
            at_jump: all.at_jump.as_ref().map_or(Ok(Vec::new()), |all| lines(all.get_ref()))?,
            damage: all.damage.as_ref().map_or(Ok(Vec::new()), |all| self.damage(all.get_ref()))?,
        };
        self.check_used(Some(&nearest), scope.used)?;
        let keys = [
            ("end", all.end.map(|end| end.span())),
            ("at_jump", all.at_jump.map(|all| all.span())),
            ("damage", all.damage.as_ref().map(Spanned::span)),
        ];
        if !is_followed {
            if let Some((key, Some(at))) = keys.into_iter().find(|(_, at)| at.is_some()) {
                let test = scope.test;
                let what =
                    format!("`{key}` is for a boot that another follows: in `{test}` none does");
                return Err(self.error(&at, what));
            }
        }
        if let Some(damage) = all.damage.filter(|_| !machine.is_open) {
            let what = "`damage` is for a machine with `is_open = true`";
            return Err(self.error(&damage.span(), what));
        }
        Ok(stage)
    }

    fn kernel(&self, name: &Text) -> Result<Variant> {
        Variant::from_name(name.get_ref()).ok_or_else(|| {
            let hint = near::hint(name.get_ref(), Variant::ALL.map(Variant::name));
            self.error(&name.span(), format!("there is no kernel `{}`{hint}", name.get_ref()))
        })
    }

    /// The commands of a boot.  No two are the same: what they say is told apart by what they are.
    fn commands(&self, scope: &Scope, all: &[text::Command]) -> Result<Vec<Do>> {
        let mut before = BTreeSet::new();
        let mut commands = Vec::new();
        for command in all {
            let (text::Command::Need(text) | text::Command::Test(text)) = command;
            let line = scope.words(text)?;
            if !before.insert(line.clone()) {
                let what =
                    "the same command is there before: have them differ, with a `:;` if need be";
                return Err(self.error(&text.span(), what));
            }
            commands.push(match command {
                text::Command::Need(_) => Do::Need(line),
                text::Command::Test(_) => Do::Test(line),
            });
        }
        Ok(commands)
    }

    fn damage(&self, all: &[text::Damage]) -> Result<Vec<Damage>> {
        let all = all.iter().map(|text::Damage { bdf, part, word, flip }| {
            if source_id(bdf.get_ref()).is_none() {
                let what = "the address of a device is written like \"01:00.0\" here";
                return Err(self.error(&bdf.span(), what));
            }
            Ok(Damage { bdf: bdf.get_ref().clone(), part: *part, word: *word, flip: *flip })
        });
        all.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Backend, Device, Slot};

    /// A file that nothing is wrong with.
    const GOOD: &str = r#"[machine.nic]
slots = ["igb"]
[stage.first]
commands = [{ test = "a {bdf}" }]
[template.basis]
about = "is {how}"
[[test]]
base = "basis"
name = "good"
machine = "nic"
stages = [{ base = "first", with = { bdf = "x" } }, {}]
timeout = 60
pitfalls = ["a"]
with = { how = "good" }
"#;

    fn read(files: &[(&str, &str)]) -> Result<Vec<VmTest>> {
        let mut reader = Reader::new();
        for (name, text) in files {
            reader.add((*name).to_owned(), (*text).to_owned())?;
        }
        reader.tests()
    }

    /// What is wrong with the file if `from` in it is `to`.
    fn wrong(from: &str, to: &str) -> String {
        assert_eq!(GOOD.matches(from).count(), 1, "{from}");
        let text = GOOD.replace(from, to);
        read(&[("x.toml", &text)]).map(|_| ()).expect_err(to).to_string()
    }

    /// Has `from` be `to`, which is wrong at a place of the file.
    #[track_caller]
    fn is_wrong(from: &str, to: &str, place: &str, what: &str) {
        let error = wrong(from, to);
        assert!(error.starts_with(&format!("x.toml:{place}: {what}")), "{error}");
    }

    #[test]
    fn good_file_is_read() {
        let tests = read(&[("x.toml", GOOD)]).expect("tests");
        let [test] = &tests[..] else { panic!("{} tests", tests.len()) };
        assert_eq!((test.name.as_str(), test.about.as_str()), ("good", "is good"));
        assert_eq!(test.stages[0].commands, [Do::Test("a x".to_owned())]);
        assert_eq!(test.stages[1], Stage::default());
        let igb = Device { model: "igb".to_owned(), backend: Backend::None };
        assert_eq!(test.machine.slots, [Slot::Device(igb)]);
        assert_eq!(test.machine.memory, Machine::default().memory);
        assert_eq!(test.timeout, Duration::from_secs(60));
    }

    #[test]
    fn what_is_no_toml_is_refused() {
        is_wrong("timeout = 60", "timeout = ", "12:11", "");
        is_wrong("name = \"good\"", "name = \"good", "9:13", "");
        is_wrong("timeout = 60", "timeout = 60\ntimeout = 61", "13:1", "duplicate key");
    }

    #[test]
    fn unknown_keys_are_refused() {
        is_wrong("timeout", "time", "12:1", "unknown field `time`, expected one of `base`");
        is_wrong("slots", "slot", "2:1", "unknown field `slot`");
        is_wrong("commands", "command", "4:1", "unknown field `command`");
        is_wrong("[machine.nic]", "[machines.nic]", "1:2", "unknown field `machines`");
        is_wrong("{ test =", "{ tset =", "4:15", "unknown variant `tset`, expected `need` or");
        is_wrong(r#"["igb"]"#, "[{ device = \"igb\", count = 2 }]", "2:28", "unknown field");
        is_wrong(", {}", ", { is_last = true }", "11:55", "unknown field `is_last`");
    }

    #[test]
    fn wrong_types_and_values_are_refused() {
        is_wrong("60", "\"60\"", "12:11", "invalid type: string \"60\", expected u32");
        is_wrong("60", "-1", "12:11", "invalid value: integer `-1`");
        is_wrong("60", "0", "12:11", "a test takes a second");
        is_wrong("\"nic\"", "7", "10:11", "invalid type: integer `7`, expected a name or a table");
        is_wrong("{}", "{ end = \"crash\" }", "11:61", "unknown variant `crash`");
        is_wrong("slots", "memory = \"512M\"\nslots", "2:10", "memory is a number of GiB");
        is_wrong(r#"["igb"]"#, "[{ device = \"igb\", times = 0 }]", "2:36", "invalid value");
    }

    #[test]
    fn unknown_names_are_refused_with_near_ones() {
        is_wrong("\"nic\"", "\"nick\"", "10:11", "there is no machine `nick`; near are: nic");
        is_wrong("base = \"first\"", "base = \"fist\"", "11:20", "there is no stage `fist`; near");
        is_wrong("base = \"basis\"", "base = \"base\"", "8:8", "there is no template `base`");
        is_wrong("with = { how", "judge = \"kunits\"\nwith = { how", "14:9", "there is no judge");
        is_wrong("{}", "{ kernel = \"fast\" }", "11:64", "there is no kernel `fast`; there are:");
        is_wrong("\"a\"", "\"zz\"", "13:13", "there is no pitfall `zz`");
        is_wrong("timeout", "also_on = [\"fast\"]\ntimeout", "12:12", "good@fast: no kernel");
    }

    #[test]
    fn what_a_test_has_to_have_is_missed() {
        is_wrong("name = \"good\"\n", "", "7:1", "this test has no `name`");
        is_wrong("base = \"basis\"\n", "", "7:1", "this test has no `about`");
        is_wrong("timeout = 60\n", "", "7:1", "this test has no `timeout`");
        is_wrong("stages = ", "stages = [] # ", "7:1", "this test has no `stages`");
        is_wrong("commands = [{ test", "commands = [{ need", "7:1", "this test shows nothing");
        is_wrong("\"a {bdf}\"", "\" \"", "4:22", "this says nothing");
        is_wrong("is {how}", "", "6:9", "this says nothing");
    }

    #[test]
    fn parameters_have_values_and_values_parameters() {
        is_wrong(", with = { bdf = \"x\" }", "", "9:8", "the test `good` says nothing for");
        let error = wrong(", with = { bdf = \"x\" }", "");
        assert!(error.contains("the parameter {bdf} of x.toml:4:22"), "{error}");
        is_wrong(
            "bdf = \"x\"",
            "bdf = \"x\", b = \"\"",
            "11:49",
            "nothing here has a parameter {b}",
        );
        is_wrong("how = \"good\"", "how = \"\", who = \"\"", "14:20", "nothing here has");
    }

    #[test]
    fn nearest_value_counts() {
        let text = r#"
stage.one = { with = { a = "1", b = "1", c = "1" }, commands = [{ test = "{a}{b}{c} ${d} {e,f}" }] }
stage.two = { base = "one", with = { a = "2", b = "2" } }
[[test]]
name = "x"
about = "x"
timeout = 1
with = { b = "3" }
stages = ["two", { base = "two", with = { c = "{b}4" } }]
"#;
        let tests = read(&[("x.toml", text)]).expect("tests");
        let command = |stage: usize| &tests[0].stages[stage].commands[0];
        assert_eq!(*command(0), Do::Test("231 ${d} {e,f}".to_owned()));
        assert_eq!(*command(1), Do::Test("2334 ${d} {e,f}".to_owned()));
    }

    #[test]
    fn names_are_there_once_in_all_files() {
        let at = |text: &str| {
            read(&[("x.toml", GOOD), ("y.toml", text)]).map(|_| ()).expect_err(text).to_string()
        };
        assert_eq!(
            at("\n[machine.nic]"),
            "y.toml:2:10: there is a machine `nic` already: x.toml:1:10"
        );
        assert!(at("[stage.first]").starts_with("y.toml:1:8: there is a stage `first` already"));
        assert!(at("[template.basis]").starts_with("y.toml:1:11: there is a template `basis`"));
        let test = &GOOD[GOOD.find("[[test]]").expect("a test")..];
        assert_eq!(at(test), "y.toml:3:8: there is a test `good` already: x.toml:9:8");
    }

    #[test]
    fn names_are_plain_and_nothing_begins_as_itself() {
        is_wrong("name = \"good\"", "name = \"a@b\"", "9:8", "`a@b` is no name");
        is_wrong(
            "[machine.nic]",
            "[machine.nic]\nbase = \"nic\"",
            "2:8",
            "the machine `nic` begins",
        );
    }

    #[test]
    fn slots_and_devices_say_one_thing() {
        let slot = |text: &str, place: &str, what: &str| {
            is_wrong(r#"["igb"]"#, &format!("[{text}]"), place, what);
        };
        slot(r#"{ times = 2 }"#, "2:10", "a slot has one of");
        slot(r#"{ device = "igb", empty = 2 }"#, "2:10", "a slot has one of");
        slot(r#"{ device = { model = "igb" } }"#, "2:21", "missing field `backend`");
        slot(
            r#"{ device = { model = "igb", backend = "wire", reads_per_second = 2 } }"#,
            "2:21",
            "`reads_per_second` is for",
        );
    }

    #[test]
    fn what_no_boot_would_do_is_refused() {
        is_wrong("{}", "{ at_jump = [\"nmi\"] }", "11:65", "`at_jump` is for a boot that another");
        is_wrong("{}", "{ end = \"panic\" }", "11:61", "`end` is for a boot that another");
        let damage = "with = { bdf = \"x\" }, damage = [{ bdf = \"01:00.0\", part = \"unit\", \
                      word = 0, flip = 1 }]";
        is_wrong("with = { bdf = \"x\" }", damage, "11:60", "`damage` is for a machine with");
        let damage = damage.replace("01:00.0", "one");
        is_wrong("with = { bdf = \"x\" }", &damage, "11:69", "the address of a device is");
        is_wrong("a {bdf}\" }", "a {bdf}\" }, { need = \"a x\" }", "4:44", "the same command");
        is_wrong("a {bdf}", "a\\n{bdf}", "4:22", "this has to be one line");
    }
}
