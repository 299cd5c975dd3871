// SPDX-License-Identifier: GPL-2.0

//! Names that somebody may have meant.

/// How alike names have to be: of 1, which is the same name.
const ALIKE: f64 = 0.8;

/// How many are told.
const TOLD: usize = 5;

/// Says which of `names` are near to `wrong`, or all of them if none is and there are few.
pub fn hint<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.into_iter().collect();
    let likeness = |name: &str| strsim::jaro_winkler(name, wrong);
    let mut near: Vec<&str> =
        names.iter().copied().filter(|name| likeness(name) >= ALIKE).collect();
    near.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
    near.truncate(TOLD);
    if !near.is_empty() {
        return format!("; near are: {}", near.join(", "));
    }
    names.sort();
    format!("; there are: {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::hint;

    #[test]
    fn near_names_are_told_or_else_all() {
        let names = ["witness-idle", "luo-kexec", "witness-kexec"];
        assert_eq!(hint("witness-idel", names), "; near are: witness-idle, witness-kexec");
        assert_eq!(hint("x", names), "; there are: luo-kexec, witness-idle, witness-kexec");
    }
}
