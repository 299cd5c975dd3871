// SPDX-License-Identifier: GPL-2.0

//! How much C the patch series adds to the kernel.

/// The most that the hooks may add, comments and documentation included. Almost half of it is what
/// `kernel/liveupdate` itself needs to tell handlers, and to let one file, session or record fail
/// without the others; another eighth is what nobody but the IOMMU core knows of its groups.
pub const LIMIT: usize = 1040;

/// Places whose lines are no hooks.
const NOT_HOOKS: [&str; 3] = ["include/uapi/", "tools/testing/", "Documentation/"];

/// Places of code that is of use without any of ours, and knows nothing of it: what it does is a
/// matter of these subsystems.
const GENERIC: [&str; 7] = [
    "drivers/iommu/generic_pt/",
    "include/linux/generic_pt/",
    "include/linux/memblock.h",
    "include/linux/shmem_fs.h",
    "mm/khugepaged.c",
    "mm/memblock.c",
    "mm/shmem.c",
];

/// How many lines of C patches add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Hooks.
    pub hooks: usize,
    /// Code that is of use without them.
    pub generic: usize,
}

impl Added {
    /// Counts the lines that a patch adds, by its text: uapi headers, exports, kselftests and build
    /// files do not count.
    pub fn count(&mut self, patch: &str) {
        let mut counted = None;
        for line in patch.lines() {
            if let Some(path) = line.strip_prefix("+++ b/") {
                let is_in = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
                let is_c = path.ends_with(".c") || path.ends_with(".h");
                counted = (is_c && !is_in(&NOT_HOOKS)).then(|| is_in(&GENERIC));
            } else if line.starts_with("diff --git") || line == "-- " {
                counted = None;
            } else if let Some(code) = line.strip_prefix('+') {
                let count = usize::from(!code.trim_start().starts_with("EXPORT_SYMBOL"));
                match counted {
                    Some(true) => self.generic += count,
                    Some(false) => self.hooks += count,
                    None => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Added;

    #[test]
    fn counts_hooks_apart_from_generic_code_and_nothing_else() {
        let patch = "diff --git a/x b/x\n--- a/drivers/x.c\n+++ b/drivers/x.c\n@@ -1 +1,3 @@\n old\n+new\n+EXPORT_SYMBOL_GPL(x);\n-gone\n\
            diff --git a/y b/y\n+++ b/include/uapi/y.h\n+new\ndiff --git a/Kconfig b/Kconfig\n+++ b/Kconfig\n+new\n\
            diff --git a/z b/z\n+++ b/include/linux/z.h\n+one\n+two\n\
            diff --git a/m b/m\n+++ b/mm/shmem.c\n+one\n";
        let mut added = Added::default();
        added.count(patch);
        assert_eq!(added, Added { hooks: 3, generic: 1 });
        added.count(patch);
        assert_eq!(added, Added { hooks: 6, generic: 2 });
    }
}
