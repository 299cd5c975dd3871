// SPDX-License-Identifier: GPL-2.0

//! How much C the patch series adds to the kernel.

/// The most that the hooks may add, comments and documentation included. A third of it is what
/// `kernel/liveupdate` itself needs to tell handlers, and to let one session or record fail without
/// the others; another sixth is what nobody but the IOMMU core knows of its groups.
pub const LIMIT: usize = 890;

/// Places whose lines are no hooks.
const NOT_HOOKS: [&str; 3] = ["include/uapi/", "tools/testing/", "Documentation/"];

/// What subjects of patches begin with that mend or speed up what other subsystems have, and know
/// nothing of ours: their maintainers can take each by itself.
const GENERIC: [&str; 26] = [
    "PCI: pciehp: ",
    "iommu: Say who keeps a device from being owned",
    "iommu/vt-d: Let no device keep a CPU in dmar_fault()",
    "iommupt: ",
    "liveupdate: Do not lose what was handed over for want of memory",
    "liveupdate: Escape the names of sessions in the log",
    "liveupdate: Look whether there is what records refer to",
    "liveupdate: kho: ",
    "liveupdate: luo_core: Name the sessions that an image takes nothing of",
    "liveupdate: luo_file: Ask again for a file whose device was not there",
    "liveupdate: luo_file: Find files without a look at each",
    "liveupdate: luo_file: Let a handler keep what is still in use",
    "liveupdate: luo_file: Let a missing handler fail its own files only",
    "liveupdate: luo_flb: Count the files of an outgoing FLB apart from users",
    "liveupdate: luo_session: Answer user space without locks",
    "liveupdate: luo_session: Do not wait for a session with the list locked",
    "liveupdate: luo_session: Give way to a kexec",
    "liveupdate: luo_session: Hand over no block without entries",
    "liveupdate: luo_session: Let those who wait for sessions be killed",
    "memblock: ",
    "memfd: luo: ",
    "mm/gup: ",
    "mm: shmem: ",
    "rust: alloc: ",
    "vfio/pci: Let drivers turn off what an open device uses of its user",
    "x86/e820: ",
];

/// How many lines of C patches add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Hooks.
    pub hooks: usize,
    /// What is of use without them.
    pub generic: usize,
}

impl Added {
    /// Counts the lines that a patch adds, by its text: uapi headers, exports, kselftests and build
    /// files do not count.
    pub fn count(&mut self, patch: &str) {
        let added = added_lines(patch);
        if GENERIC.iter().any(|start| subject(patch).starts_with(start)) {
            self.generic += added;
        } else {
            self.hooks += added;
        }
    }
}

/// The subject of a mail with a patch, which may have several lines.
fn subject(patch: &str) -> String {
    let mut lines = patch.lines().skip_while(|line| !line.starts_with("Subject: "));
    let first = lines.next().unwrap_or_default().trim_start_matches("Subject: ");
    let rest = lines.take_while(|line| line.starts_with(' '));
    let subject: String = [first].into_iter().chain(rest).collect();
    subject.trim_start_matches("[PATCH] ").to_owned()
}

fn added_lines(patch: &str) -> usize {
    let mut counts = false;
    let mut added = 0;
    for line in patch.lines() {
        if let Some(path) = line.strip_prefix("+++ b/") {
            counts = (path.ends_with(".c") || path.ends_with(".h"))
                && !NOT_HOOKS.iter().any(|dir| path.starts_with(dir));
        } else if line.starts_with("diff --git") || line == "-- " {
            counts = false;
        } else if let Some(code) = line.strip_prefix('+') {
            added += usize::from(counts && !code.trim_start().starts_with("EXPORT_SYMBOL"));
        }
    }
    added
}

#[cfg(test)]
mod tests {
    use super::{Added, added_lines};

    #[test]
    fn counts_c_hooks_only() {
        let patch = "diff --git a/x b/x\n--- a/drivers/x.c\n+++ b/drivers/x.c\n@@ -1 +1,3 @@\n old\n+new\n+EXPORT_SYMBOL_GPL(x);\n-gone\n\
            diff --git a/y b/y\n+++ b/include/uapi/y.h\n+new\ndiff --git a/Kconfig b/Kconfig\n+++ b/Kconfig\n+new\n\
            diff --git a/z b/z\n+++ b/include/linux/z.h\n+one\n+two\n";
        assert_eq!(added_lines(patch), 3);
    }

    #[test]
    fn what_other_subsystems_would_take_is_counted_apart() {
        let patch = |subject: &str| {
            format!("From x\nSubject: {subject}\n\ndiff --git a/x b/x\n+++ b/mm/x.c\n+new\n")
        };
        let mut added = Added::default();
        added.count(&patch("[PATCH] memblock: Reserve"));
        added.count(&patch(
            "[PATCH] liveupdate: luo_session: Let those who wait for sessions be\n killed",
        ));
        added.count(&patch("[PATCH] iommufd: Hook up live update"));
        assert_eq!(added, Added { hooks: 1, generic: 2 });
    }
}
