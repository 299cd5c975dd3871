// SPDX-License-Identifier: GPL-2.0

//! Makes initramfs images from a declarative list, with the kernel's own tool.
//!
//! All boots of a test use one image: it holds the script of each boot and the kernels to
//! live-update to, and each kernel hands it on to the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::files;
use crate::kernel::{Built, COLLECTIONS};
use crate::stage::output;

/// Programs of the build root that tests need besides busybox.
const PROGRAMS: [&str; 3] = ["/bin/bash", "/usr/sbin/kexec", "/usr/bin/readlink"];

/// Where the kernel looks for the program that loads modules, and which one that is.
const MODPROBE: (&str, &str) = ("/usr/sbin/modprobe", "/usr/bin/kmod");

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

    fn link(&mut self, target: impl Into<PathBuf>, to: &str) {
        let target = target.into();
        let line = format!("slink {} {to} 0777 0 0", target.display());
        self.lines.insert(target, line);
    }

    /// busybox, and the links to it that make it each of its programs.
    fn busybox(&mut self, dir: &str, from: &Path) -> Result<()> {
        self.file(format!("{dir}/busybox"), from, "0755");
        for program in output(Command::new(from).arg("--list"))?.lines() {
            if program != "busybox" {
                self.link(format!("{dir}/{program}"), "busybox");
            }
        }
        Ok(())
    }

    /// A program of the build root, with the libraries that it loads.
    fn program(&mut self, target: &str, from: &str) -> Result<()> {
        self.file(target, Path::new(from), "0755");
        for library in libraries(from)? {
            // The build root's /lib64 is a link into /usr, as it is in the image.
            let target = library
                .strip_prefix("/lib64")
                .map_or(library.clone(), |rest| Path::new("/usr/lib64").join(rest));
            self.file(target, &library, "0755");
        }
        Ok(())
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

/// What the image holds for one boot of a test.
pub struct Boot<'a> {
    /// The command line.
    pub cmdline: String,
    /// The script that the init reads.
    pub script: String,
    /// The kernel image.
    pub image: &'a Path,
    /// The directory with the kernel's `lib/modules`, if it has modules.
    pub modules: Option<&'a Path>,
}

/// Makes the image of a test in `dir`; all of its boots use it.
pub fn make(built: &Built, init: &Path, dir: &Path, boots: &[Boot]) -> Result<PathBuf> {
    let mut list = List::default();
    for mount_point in ["/dev", "/proc", "/sys", "/tmp", "/usr/bin", "/usr/sbin"] {
        list.dir(Path::new(mount_point));
    }
    list.lines.insert("/dev/console".into(), "nod /dev/console 0600 0 0 c 5 1".into());
    for link in ["lib64", "sbin"] {
        list.link(format!("/{link}"), &format!("usr/{link}"));
    }
    list.file("/init", init, "0755");
    list.busybox("/bin", Path::new("/usr/bin/busybox"))?;
    for program in PROGRAMS {
        list.program(program, program)?;
    }
    add_selftests(&mut list, built, boots)?;
    add_modules(&mut list, boots)?;
    add_boots(&mut list, dir, boots)?;
    let image = dir.join("initrd.cpio");
    list.write(built, &image)?;
    Ok(image)
}

/// The script of each boot, and below `/boot` what the later ones are loaded from.
fn add_boots(list: &mut List, dir: &Path, boots: &[Boot]) -> Result<()> {
    let mut images: BTreeMap<&Path, String> = BTreeMap::new();
    for (boot, number) in boots.iter().zip(1..) {
        let script = dir.join(format!("stage{number}"));
        fs::write(&script, &boot.script)?;
        list.file(format!("/stage{number}"), &script, "0644");
        let cmdline = dir.join(format!("cmdline{number}"));
        fs::write(&cmdline, &boot.cmdline)?;
        if number == 1 {
            continue;
        }
        list.file(format!("/boot/cmdline{number}"), &cmdline, "0644");
        let target = format!("/boot/kernel{number}");
        match images.get(boot.image) {
            Some(first) => list.link(target, first),
            None => {
                list.file(&target, boot.image, "0644");
                images.insert(boot.image, target);
            }
        }
    }
    Ok(())
}

/// The modules of the kernels, and the program that the kernel starts to load one.
fn add_modules(list: &mut List, boots: &[Boot]) -> Result<()> {
    for dir in boots.iter().filter_map(|boot| boot.modules) {
        list.program(MODPROBE.0, MODPROBE.1)?;
        for file in files::below(dir)? {
            // What is left out are links to the build directory.
            if dir.join(&file).is_file() {
                list.file(Path::new("/").join(&file), &dir.join(&file), "0644");
            }
        }
    }
    Ok(())
}

/// The kselftests that the boots name, where the kernel source has them, below `/selftests`.  Not
/// all of them, because each boot of an emulated machine checks the digest of the whole image.
fn add_selftests(list: &mut List, built: &Built, boots: &[Boot]) -> Result<()> {
    let named: BTreeSet<&str> = boots.iter().flat_map(|boot| words(&boot.script)).collect();
    for collection in COLLECTIONS {
        let to = Path::new("/selftests").join(collection);
        let from = built.selftests.join(collection);
        for entry in fs::read_dir(&from).with_context(|| format!("reading {}", from.display()))? {
            let path = entry?.path();
            let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if named.contains(format!("{collection}/{file}").as_str()) {
                list.file(to.join(file), &path, "0755");
            }
        }
        let scripts = built.tree.join("tools/testing/selftests").join(collection).join("scripts");
        for file in files::below(&scripts)? {
            list.file(to.join("scripts").join(&file), &scripts.join(&file), "0755");
        }
    }
    Ok(())
}

/// What can be a relative path in a shell script.
fn words(script: &str) -> impl Iterator<Item = &str> {
    script.split(|c: char| !c.is_ascii_alphanumeric() && !"_-./".contains(c))
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
    fn path_is_a_word_whatever_surrounds_it() {
        for script in ["run 'a/b_c -s 1'", "run '(a/b_c&) || finish'", "! a/b_c", "x=$(a/b_c)"] {
            assert!(words(script).any(|word| word == "a/b_c"), "{script}");
        }
        assert!(!words("run 'a/b_c_d'").any(|word| word == "a/b_c"));
    }

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
