// SPDX-License-Identifier: GPL-2.0

//! Did every requested option survive `make olddefconfig`?

use std::collections::HashSet;

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
    use super::lost;

    const CONFIG: &str =
        "CONFIG_PCI=y\n# CONFIG_KASAN is not set\nCONFIG_PANIC_TIMEOUT=-1\nCONFIG_KUNIT=m\n";

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
