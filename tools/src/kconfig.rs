// SPDX-License-Identifier: GPL-2.0

//! Lays fragments over each other, and says whether every requested option survived.

use std::collections::HashSet;

/// `fragments` as one; where two of them speak of the same option, the later one counts.
pub fn merged(fragments: &[String]) -> String {
    let mut settled = HashSet::new();
    let mut lines: Vec<&str> = Vec::new();
    for fragment in fragments.iter().rev() {
        let said: HashSet<&str> = fragment.lines().filter_map(option).collect();
        // From the end, because that is where the settled ones are known.
        let kept = |line: &&str| option(line).is_none_or(|name| !settled.contains(name));
        lines.extend(fragment.lines().rev().filter(kept));
        settled.extend(said);
    }
    lines.reverse();
    crate::lines::of(lines)
}

/// The option that a line of a fragment speaks of.
fn option(line: &str) -> Option<&str> {
    off(line.trim_end())
        .or_else(|| line.split_once('=').map(|(name, _)| name))
        .filter(|name| name.starts_with("CONFIG_"))
}

/// The lines of `fragment` that `config` does not honour.
///
/// An option that was asked to be off is honoured as well if `config` does not
/// mention it, because then its dependencies are off.
pub fn lost<'f>(fragment: &'f str, config: &str) -> Vec<&'f str> {
    let have: HashSet<&str> = config.lines().collect();
    let set: HashSet<&str> =
        config.lines().filter_map(|line| line.split_once('=').map(|(name, _)| name)).collect();
    fragment
        .lines()
        .map(str::trim_end)
        .filter(|line| match off(line) {
            Some(name) => set.contains(name),
            None => line.starts_with("CONFIG_") && !have.contains(line),
        })
        .collect()
}

/// The option that `# CONFIG_X is not set` turns off.
fn off(line: &str) -> Option<&str> {
    line.strip_prefix("# ")?.strip_suffix(" is not set")
}

#[cfg(test)]
mod tests {
    use super::{lost, merged};

    const CONFIG: &str =
        "CONFIG_PCI=y\n# CONFIG_KASAN is not set\nCONFIG_PANIC_TIMEOUT=-1\nCONFIG_KUNIT=m\n";

    #[test]
    fn later_fragment_counts() {
        let fragments = ["# why\nCONFIG_A=y\nCONFIG_B=y\n", "CONFIG_C=y\n# CONFIG_B is not set\n"];
        let merged = merged(&fragments.map(str::to_owned));
        assert_eq!(merged, "# why\nCONFIG_A=y\nCONFIG_C=y\n# CONFIG_B is not set\n");
    }

    #[test]
    fn lines_that_survived_are_not_lost() {
        let fragment = "# a comment\n\nCONFIG_PCI=y\n# CONFIG_KASAN is not set\n# CONFIG_UNKNOWN is not set\nCONFIG_PANIC_TIMEOUT=-1\n";
        assert!(lost(fragment, CONFIG).is_empty());
    }

    #[test]
    fn missing_changed_and_unwanted_options_are_lost() {
        let fragment = "CONFIG_LIVEUPDATE=y\nCONFIG_KUNIT=y\n# CONFIG_PCI is not set\nCONFIG_PANIC_TIMEOUT=-1\n";
        assert_eq!(
            lost(fragment, CONFIG),
            ["CONFIG_LIVEUPDATE=y", "CONFIG_KUNIT=y", "# CONFIG_PCI is not set"]
        );
    }
}
