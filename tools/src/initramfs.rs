// SPDX-License-Identifier: GPL-2.0

//! Makes initramfs images from a declarative list, with the kernel's own tool.
//!
//! The image of the first kernel is the common part followed by a second
//! archive, `/boot`, which holds what it live-updates to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::digest;
use crate::kernel::{Built, COLLECTIONS};
use crate::stage::output;

/// Programs of the build root that tests need besides busybox.
const PROGRAMS: [&str; 3] = ["/bin/bash", "/usr/sbin/kexec", "/usr/bin/readlink"];

/// What an image holds: directories come by themselves.
#[derive(Default)]
struct List {
    dirs: BTreeSet<PathBuf>,
    lines: BTreeMap<PathBuf, String>,
}

impl List {
    fn dir(&mut self, path: &Path) {
        for ancestor in
            path.ancestors().filter(|path| *path != Path::new("/") && *path != Path::new(""))
        {
            self.dirs.insert(ancestor.to_path_buf());
        }
    }

    fn file(&mut self, target: impl Into<PathBuf>, from: &Path, mode: &str) {
        let target = target.into();
        self.dir(target.parent().unwrap_or(Path::new("/")));
        let line = format!("file {} {} {mode} 0 0", target.display(), from.display());
        self.lines.insert(target, line);
    }

    fn text(&self) -> String {
        let dirs = self.dirs.iter().map(|dir| format!("dir {} 0755 0 0\n", dir.display()));
        dirs.chain(self.lines.values().map(|line| format!("{line}\n"))).collect()
    }

    fn write(&self, built: &Built, image: &Path) -> Result<()> {
        let list = image.with_extension("list");
        fs::write(&list, self.text())?;
        let status = Command::new(&built.gen_init_cpio)
            .arg(&list)
            .stdout(File::create(image)?)
            .status()
            .with_context(|| format!("starting {}", built.gen_init_cpio.display()))?;
        if !status.success() {
            bail!("gen_init_cpio could not make {}", image.display());
        }
        Ok(())
    }
}

/// What the first kernel of a test live-updates to.
pub struct Next<'a> {
    /// Its kernel image.
    pub image: &'a Path,
    /// Its command line.
    pub cmdline: &'a str,
}

/// Makes the image of a test in `dir`; `stages` are the scripts of its boots.
pub fn make(
    built: &Built,
    init: &Path,
    dir: &Path,
    stages: &[String],
    next: Option<Next>,
) -> Result<PathBuf> {
    let base = dir.join("base.cpio");
    common(built, init, dir, stages)?.write(built, &base)?;
    let Some(next) = next else {
        return Ok(base);
    };
    let cmdline = dir.join("cmdline");
    fs::write(&cmdline, next.cmdline)?;
    let mut list = List::default();
    list.file("/boot/bzImage", next.image, "0644");
    list.file("/boot/initrd", &base, "0644");
    list.file("/boot/cmdline", &cmdline, "0644");
    let boot = dir.join("boot.cpio");
    list.write(built, &boot)?;
    let whole = dir.join("initrd.cpio");
    let mut bytes = fs::read(&base)?;
    bytes.extend(fs::read(&boot)?);
    fs::write(&whole, bytes)?;
    fs::remove_file(&boot)?;
    Ok(whole)
}

/// What both kernels of a test find.
fn common(built: &Built, init: &Path, dir: &Path, stages: &[String]) -> Result<List> {
    let mut list = List::default();
    for mount_point in ["/dev", "/proc", "/sys", "/tmp", "/usr/bin", "/usr/sbin"] {
        list.dir(Path::new(mount_point));
    }
    list.lines.insert("/dev/console".into(), "nod /dev/console 0600 0 0 c 5 1".into());
    list.lines.insert("/lib64".into(), "slink /lib64 usr/lib64 0777 0 0".into());
    list.file("/init", init, "0755");
    list.file("/bin/busybox", Path::new("/usr/bin/busybox"), "0755");
    for program in PROGRAMS {
        list.file(program, Path::new(program), "0755");
        for library in libraries(program)? {
            // The build root's /lib64 is a link into /usr, as it is in the image.
            let target = library
                .strip_prefix("/lib64")
                .map_or(library.clone(), |rest| Path::new("/usr/lib64").join(rest));
            list.file(target, &library, "0755");
        }
    }
    for (index, script) in stages.iter().enumerate() {
        let name = format!("stage{}", index + 1);
        fs::write(dir.join(&name), script)?;
        list.file(format!("/{name}"), &dir.join(&name), "0644");
    }
    add_selftests(&mut list, built)?;
    Ok(list)
}

/// The kselftests, where the kernel source has them, below `/selftests`.
fn add_selftests(list: &mut List, built: &Built) -> Result<()> {
    for collection in COLLECTIONS {
        let to = Path::new("/selftests").join(collection);
        let from = built.selftests.join(collection);
        for entry in fs::read_dir(&from).with_context(|| format!("reading {}", from.display()))? {
            let path = entry?.path();
            if path.is_file() && path.extension().is_none() {
                list.file(to.join(path.file_name().unwrap_or_default()), &path, "0755");
            }
        }
        let scripts = built.tree.join("tools/testing/selftests").join(collection).join("scripts");
        for file in digest::files_below(&scripts)? {
            list.file(to.join("scripts").join(&file), &scripts.join(&file), "0755");
        }
    }
    Ok(())
}

/// The shared libraries that `program` loads.
fn libraries(program: &str) -> Result<Vec<PathBuf>> {
    Ok(output(Command::new("ldd").arg(program))?
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_names_each_directory_before_its_files() {
        let mut list = List::default();
        list.file("/a/b/c", Path::new("/from"), "0755");
        list.file("/a/d", Path::new("/from"), "0644");
        assert_eq!(
            list.text(),
            "dir /a 0755 0 0\ndir /a/b 0755 0 0\nfile /a/b/c /from 0755 0 0\nfile /a/d /from 0644 0 0\n"
        );
    }
}
