// SPDX-License-Identifier: GPL-2.0

//! Configures and builds the kernel and the kselftests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail};

use crate::context::Context;
use crate::digest::Digest;
use crate::files;
use crate::kconfig;
use crate::stage::{self, Stage};
use crate::stamp::Stamp;
use crate::tree;

/// The kselftest collections that the VM tests use.
pub const COLLECTIONS: [&str; 4] = ["iommu", "liveupdate", "liveupdate_forge", "vfio"];

/// Where the kselftests have modules, in the kernel tree.
const TEST_MODULES: &str = "tools/testing/selftests/liveupdate_forge/test_modules";

/// The fragments that are laid on `allnoconfig`, relative to the checkout.
const FRAGMENTS: [&str; 2] = ["kernel/configs/liveupdate_rs.config", "tools/vm/vm.config"];

/// About how many objects a kernel of this configuration has: the length of the
/// progress bar of a first build.
const OBJECTS: u64 = 1320;

/// One of the kernels that are made from the same source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// What hosts have, with cheap checks.
    Main,
    /// With everything that finds errors in memory and locking.
    Debug,
    /// Without what this project adds, as far as it is an option: does live updates of memory only.
    Unaware,
    /// Without checks, as hosts run it: what is counted is what it costs there.
    Bench,
}

impl Variant {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Main, Self::Debug, Self::Unaware, Self::Bench];

    /// Its name, on the command line, in the cache and in what `uname -r` says.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Debug => "debug",
            Self::Unaware => "unaware",
            Self::Bench => "bench",
        }
    }

    /// The variant called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variant| variant.name() == name)
    }

    /// Whether it looks for errors, and is slow and large therefore.
    pub const fn is_debug(self) -> bool {
        matches!(self, Self::Debug)
    }

    /// The one that looks for errors and is the same otherwise, if there is one.
    pub const fn on_debug(self) -> Self {
        match self {
            Self::Main => Self::Debug,
            other => other,
        }
    }

    /// Whether it is built with Rust, as the modules of tests are.
    const fn has_rust(self) -> bool {
        !matches!(self, Self::Unaware)
    }

    /// The one whose build its own starts from: what they share is not built again.
    const fn begins_as(self) -> Option<Self> {
        match self {
            Self::Unaware => Some(Self::Main),
            Self::Main | Self::Debug | Self::Bench => None,
        }
    }

    /// What is laid over the fragments of all.
    const fn fragments(self) -> &'static [&'static str] {
        match self {
            Self::Main => &[],
            Self::Debug => &["tools/vm/debug.config"],
            Self::Unaware => &["tools/vm/unaware.config"],
            Self::Bench => &["tools/vm/bench.config"],
        }
    }
}

/// One built kernel.
#[derive(Clone)]
pub struct Kernel {
    /// The image.
    pub image: PathBuf,
    /// What `uname -r` says in it.
    pub release: String,
    /// The directory with its `lib/modules`.
    pub modules: PathBuf,
}

/// What builds leave behind for the VM.
pub struct Built {
    /// The kernel's own tool that makes initramfs images.
    pub gen_init_cpio: PathBuf,
    /// The directory with one subdirectory per kselftest collection.
    pub selftests: PathBuf,
    /// The kernel source that was built.
    pub tree: PathBuf,
    content: Digest,
    kernels: Mutex<BTreeMap<Variant, Result<Kernel, String>>>,
}

impl Built {
    /// Builds the kernel `variant`, if it is not yet.  A failure is told to who asks for the kernel.
    pub fn prepare(&self, ctx: &Context, variant: Variant) {
        if self.is_settled(variant) {
            return;
        }
        let built = build_kernel(ctx, &self.tree, self.content, variant);
        if let Ok(mut kernels) = self.kernels.lock() {
            kernels.insert(variant, built.map_err(|error| format!("{error:#}")));
        }
    }

    /// Whether it was tried to build the kernel `variant`.
    pub fn is_settled(&self, variant: Variant) -> bool {
        self.kernels.lock().is_ok_and(|kernels| kernels.contains_key(&variant))
    }

    /// The kernel `variant`, which was [prepared](Self::prepare).
    pub fn kernel(&self, variant: Variant) -> Result<Kernel> {
        match self.kernels.lock().ok().and_then(|kernels| kernels.get(&variant).cloned()) {
            Some(Ok(kernel)) => Ok(kernel),
            Some(Err(why)) => bail!("{why}"),
            None => bail!("the kernel {} was not built", variant.name()),
        }
    }
}

/// Brings the tree up to date, and builds what changed since the last time of the main kernel and the
/// kselftests.
pub fn build(ctx: &Context) -> Result<Built> {
    build_from(ctx, tree::update(ctx, false)?)
}

/// The same from `tree`, which is up to date.
pub fn build_from(ctx: &Context, tree: PathBuf) -> Result<Built> {
    let content = tree::content_digest(&tree)?;
    let out = ctx.build(Variant::Main.name());
    let main = build_kernel(ctx, &tree, content, Variant::Main)?;
    let stamp = Stamp::new(
        ctx,
        &name_of(&out, "selftests"),
        inputs(content, &fragment(ctx, Variant::Main)?),
    );
    if stamp.is_current() {
        stage::skipped("kselftests", "unchanged");
    } else {
        stamp.clear();
        build_selftests(ctx, &tree, &out)?;
        stamp.set()?;
    }
    Ok(Built {
        gen_init_cpio: out.join("usr/gen_init_cpio"),
        selftests: ctx.selftests(),
        tree,
        content,
        kernels: Mutex::new(BTreeMap::from([(Variant::Main, Ok(main))])),
    })
}

/// Builds what changed since the last time of one kernel; `content` is the digest of `tree`.
fn build_kernel(ctx: &Context, tree: &Path, content: Digest, variant: Variant) -> Result<Kernel> {
    let out = ctx.build(variant.name());
    let other = variant.begins_as().map(|other| ctx.build(other.name()));
    if let Some(other) = other.filter(|other| !out.exists() && other.join("vmlinux").exists()) {
        copy_build(ctx, &other, &out)?;
    }
    fs::create_dir_all(&out)?;
    let fragment = fragment(ctx, variant)?;
    let stamp = Stamp::new(ctx, &name_of(&out, "kernel"), inputs(content, &fragment));
    let modules = out.join("installed");
    if stamp.is_current() {
        stage::skipped(&name_of(&out, "kernel"), "unchanged");
    } else {
        stamp.clear();
        configure(ctx, tree, &out, &fragment)?;
        build_image(ctx, tree, &out, variant, &modules)?;
        stamp.set()?;
    }
    Ok(Kernel {
        image: out.join("arch/x86/boot/bzImage"),
        release: fs::read_to_string(out.join("include/config/kernel.release"))?.trim().to_owned(),
        modules,
    })
}

/// What a build is made from: a tree with this content, and a configuration.
fn inputs(content: Digest, fragment: &str) -> Digest {
    Digest::of([content.as_ref(), fragment.as_bytes()])
}

/// Makes `out` a copy of the build `from`, of which `make` builds again what another configuration
/// changes.
fn copy_build(ctx: &Context, from: &Path, out: &Path) -> Result<()> {
    let mut stage = Stage::start(ctx, &name_of(out, "copy"), "copying a build")?;
    let partial = out.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    stage.run(Command::new("cp").arg("-a").arg(from).arg(&partial))?;
    let [old, new] = [from, out].map(|dir| dir.display().to_string());
    for place in files::below(&partial)? {
        if place.extension().is_none_or(|extension| extension != "cmd") {
            continue;
        }
        // The programs of the build have the directory in their commands: where these change, they
        // are made again, and every object after them.
        if place.starts_with("tools") {
            let file = partial.join(place);
            fs::write(&file, fs::read_to_string(&file)?.replace(&old, &new))?;
        }
    }
    fs::rename(&partial, out)?;
    stage.done(&format!("starts from {}", ctx.show(from)));
    Ok(())
}

/// `make` in the kernel tree with the flags that every build of ours has.
pub fn make(ctx: &Context, tree: &Path, out: &Path) -> Command {
    let mut command = Command::new("make");
    command
        .arg("-C")
        .arg(tree)
        .arg(format!("O={}", out.display()))
        .arg(format!("-j{}", ctx.jobs))
        .args([
            "LLVM=1",
            "CC=ccache clang",
            // Two builds of one source are the same file, and the release says no
            // more than the version.
            "KBUILD_BUILD_TIMESTAMP=@0",
            "KBUILD_BUILD_USER=liveupdate_rs",
            "KBUILD_BUILD_HOST=vm",
            "LOCALVERSION=",
        ]);
    command
}

/// Configures `out` from `allnoconfig` and `fragment`, and checks the result.
pub fn configure(ctx: &Context, tree: &Path, out: &Path, fragment: &str) -> Result<()> {
    let mut stage = Stage::start(ctx, &name_of(out, "config"), "configuring the kernel")?;
    fs::create_dir_all(out)?;
    let path = out.join("fragment.config");
    fs::write(&path, fragment)?;
    stage.run(make(ctx, tree, out).arg("allnoconfig").env("KCONFIG_ALLCONFIG", &path))?;
    let config = fs::read_to_string(out.join(".config"))?;
    let lost = kconfig::lost(fragment, &config);
    if !lost.is_empty() {
        bail!(
            "config: did not survive olddefconfig, a dependency is off or the name is wrong:\n  {}\n  result: {}",
            lost.join("\n  "),
            ctx.show(&out.join(".config"))
        );
    }
    stage.done("every requested option survived");
    Ok(())
}

/// The requested options of a VM kernel.
pub fn fragment(ctx: &Context, variant: Variant) -> Result<String> {
    let mut fragments = FRAGMENTS
        .iter()
        .chain(variant.fragments())
        .map(|name| {
            fs::read_to_string(ctx.src.join(name)).with_context(|| format!("reading {name}"))
        })
        .collect::<Result<Vec<_>>>()?;
    if variant != Variant::Main {
        fragments.push(format!("CONFIG_LOCALVERSION=\"-{}\"\n", variant.name()));
    }
    Ok(kconfig::merged(&fragments))
}

/// Builds the image, and the modules, which go to `modules`.
fn build_image(
    ctx: &Context,
    tree: &Path,
    out: &Path,
    variant: Variant,
    modules: &Path,
) -> Result<()> {
    let mut stage = Stage::start(ctx, &name_of(out, "kernel"), "building")?;
    if !out.join("vmlinux").exists() {
        stage.expect(OBJECTS)?;
    }
    let mut command = make(ctx, tree, out);
    // Kernels that share objects start as copies: nobody needs the preprocessor to find them.
    command.args(["bzImage", "modules"]).env("CCACHE_DEPEND", "1");
    let objects = stage.run_watched(&mut command, is_object)?;
    if modules.exists() {
        fs::remove_dir_all(modules)?;
    }
    // Stripped, because the image is loaded twice.
    let install = [
        "modules_install".to_owned(),
        "INSTALL_MOD_STRIP=1".to_owned(),
        format!("INSTALL_MOD_PATH={}", modules.display()),
    ];
    stage.run(make(ctx, tree, out).args(&install))?;
    if variant.has_rust() {
        let external = [
            format!("M={}", tree.join(TEST_MODULES).display()),
            format!("MO={}", out.join("test_modules").display()),
        ];
        stage.run(make(ctx, tree, out).args(&external))?;
        stage.run(make(ctx, tree, out).args(&external).args(&install))?;
    }
    stage.done(&format!("{objects} objects"));
    Ok(())
}

/// Whether a line of kbuild's output tells of one compiled object.
fn is_object(line: &str) -> bool {
    matches!(
        line.split_whitespace().collect::<Vec<_>>().as_slice(),
        ["CC" | "AS" | "RUSTC", ..] | ["RUSTDOC" | "BINDGEN" | "EXPORTS", ..]
    )
}

fn build_selftests(ctx: &Context, tree: &Path, out: &Path) -> Result<()> {
    let mut stage = Stage::start(ctx, &name_of(out, "kselftests"), "building")?;
    stage.run(make(ctx, tree, out).arg("headers"))?;
    for collection in COLLECTIONS {
        let dir = ctx.selftests().join(collection);
        fs::create_dir_all(&dir)?;
        // Static, because the VM has no libraries for them; stripped, because
        // the image is loaded twice.
        stage.run(
            Command::new("make")
                .arg("-C")
                .arg(tree.join("tools/testing/selftests").join(collection))
                .arg(format!("-j{}", ctx.jobs))
                .arg(format!("OUTPUT={}", dir.display()))
                .arg(format!("KHDR_INCLUDES=-isystem {}/usr/include", out.display()))
                .args(["LDFLAGS=-static -s", "CC=ccache gcc"]),
        )?;
    }
    stage.done(&COLLECTIONS.join(", "));
    Ok(())
}

/// A stage's name for one of several build directories.
fn name_of(out: &Path, stage: &str) -> String {
    match out.file_name().and_then(|name| name.to_str()) {
        Some("main") | None => stage.to_owned(),
        Some(other) => format!("{stage}-{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::is_object;

    #[test]
    fn counts_compiled_objects_only() {
        assert!(is_object("  CC      mm/slub.o"));
        assert!(is_object("  RUSTC L rust/kernel.o"));
        assert!(!is_object("  LD      vmlinux.o"));
        assert!(!is_object("make[1]: Entering directory '/cache'"));
    }
}
