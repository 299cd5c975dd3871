// SPDX-License-Identifier: GPL-2.0

//! How much C the patch series adds to the kernel.

/// The most that the hooks may add, comments and documentation included. Almost half of it is what
/// `kernel/liveupdate` itself needs to tell handlers, and to let one file, session or record fail
/// without the others; another eighth is what nobody but the IOMMU core knows of its groups.
pub const LIMIT: usize = 1040;

/// Places whose lines are no hooks.
const NOT_HOOKS: [&str; 3] = ["include/uapi/", "tools/testing/", "Documentation/"];

/// The added lines of C hooks in the text of one patch: uapi headers, exports,
/// kselftests and build files do not count.
pub fn added_lines(patch: &str) -> usize {
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
    use super::added_lines;

    #[test]
    fn counts_c_hooks_only() {
        let patch = "diff --git a/x b/x\n--- a/drivers/x.c\n+++ b/drivers/x.c\n@@ -1 +1,3 @@\n old\n+new\n+EXPORT_SYMBOL_GPL(x);\n-gone\n\
            diff --git a/y b/y\n+++ b/include/uapi/y.h\n+new\ndiff --git a/Kconfig b/Kconfig\n+++ b/Kconfig\n+new\n\
            diff --git a/z b/z\n+++ b/include/linux/z.h\n+one\n+two\n";
        assert_eq!(added_lines(patch), 3);
    }
}
