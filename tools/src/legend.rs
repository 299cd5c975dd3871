// SPDX-License-Identifier: GPL-2.0

//! The legend: what each VM test shows, and which known pitfalls of live update it covers.

use crate::catalog::Catalog;

/// What has gone wrong, or nearly did, in implementations of live update, by letter.
pub const PITFALLS: &[(&str, &str)] = &[
    ("a", "a function that may sleep is called with a spin lock held"),
    ("b", "locks are taken in two orders: of the shared record, of the PCI core, of the device"),
    ("c", "a file operation, a mapping or a page fault slips past the freeze"),
    ("d", "an ID is allocated where sleeping is forbidden, or its error is taken for another one"),
    ("e", "an IOMMU table is allocated after the list of what to hand over was made"),
    ("f", "the shared record is freed while a device still points to it"),
    ("g", "a device that was looked up goes away before it is used"),
    ("h", "a page table is destroyed between its being chosen and its being preserved"),
    ("i", "two page tables keep one address space unchangeable, and one of them lets it go"),
    ("j", "a session is closed and something stays preserved"),
    ("k", "memory is freed or resized while a device that came back can still reach it"),
    ("l", "preserving fails at one of several bridges, and the others stay preserved"),
    ("m", "handing memory over fails after the device was entered"),
    ("n", "restoring fails, and the device falls back to translation that lets it write anywhere"),
    ("o", "the first device froze, the second one refused"),
    ("p", "somebody else aborts the kexec when the device was already stopped or reset"),
    ("q", "entries leak when a device is preserved and let go again and again"),
    ("r", "what the previous kernel says is believed: loops, counts, addresses, duplicates"),
    ("s", "tokens of user space: any number, zero, the same one twice"),
    ("t", "somebody preserves a device that shares an IOMMU group with one of another owner"),
    ("u", "another driver, iommufd or process takes a preserved device"),
    ("v", "the two kernels call a record by different names, and nobody says so"),
    ("w", "memory is mapped for DMA that is not handed over, or changes after it was"),
    ("x", "the IOMMU goes on using a cached entry that was cleared"),
    ("y", "the next kernel gives an IOMMU domain ID away that is still in use"),
    ("z", "page requests or address translation services stay on with nobody to answer"),
    ("aa", "a device does DMA under another requester ID: aliases, bridges, quirks"),
    ("bb", "the next kernel is told to use the IOMMU in another way, or not at all"),
    ("cc", "reserved regions, protected memory, fault recording, a crash after a live update"),
    (
        "dd",
        "bus numbers, access control or alternative routing change, and with them requester IDs",
    ),
    ("ee", "a bridge loses bus mastering, and with it everything below"),
    ("ff", "a port driver, error recovery or power management resets a device or puts it to sleep"),
    ("gg", "an interrupt is raised that the next kernel does not know"),
    ("hh", "the next kernel moves a device's memory regions"),
    ("ii", "two IOMMU units allow different numbers of address spaces"),
];

/// Prints the legend.
pub fn print(catalog: &Catalog) {
    print!("{}", text(catalog));
}

fn text(catalog: &Catalog) -> String {
    let on_debug: Vec<String> = catalog.variations().map(|(name, _)| name).collect();
    let repetitions: Vec<String> = catalog.repetitions().collect();
    let tests = catalog.tests.iter().map(|test| {
        let letters = test.pitfalls.iter().map(|letter| format!(" ({letter})"));
        format!("  {:<20} {}{}", test.name, test.about, letters.collect::<String>())
    });
    let pitfalls = PITFALLS.iter().map(|(letter, what)| {
        let by: Vec<&str> = catalog.covering(letter).collect();
        let by = if by.is_empty() { "NO VM TEST".to_owned() } else { by.join(", ") };
        format!("  {:>4} {what}: {by}", format!("({letter})"))
    });
    ["VM tests, what each shows, and the pitfalls that it covers:".to_owned()]
        .into_iter()
        .chain(tests)
        .chain([format!("  with debug kernels also: {}", on_debug.join(", "))])
        .chain([format!("  with `make test-full` only: {}", repetitions.join(", "))])
        .chain(["Pitfalls, and the VM tests that cover them:".to_owned()])
        .chain(pitfalls)
        .map(|line| line + "\n")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pitfall_without_test_is_named() {
        let catalog = Catalog::ours();
        let text = text(&catalog);
        for (letter, what) in PITFALLS {
            let covered = catalog.covering(letter).next().is_some();
            let line = text.lines().find(|line| line.contains(what)).expect("a line");
            assert_eq!(line.ends_with("NO VM TEST"), !covered, "{line}");
        }
    }
}
