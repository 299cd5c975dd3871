// SPDX-License-Identifier: GPL-2.0

//! What a kernel makes of the list of devices whose PCI core reads it in C, and panics if it cannot.
//!
//! [`reader`] stands in for that kernel. It has the layout and the rules that are published for it,
//! and shares nothing with the code that it judges.

use super::entry;
use crate::{
    entries::{
        Entry,
        RawDevSer, //
    },
    plan,
    storage, //
};
use kernel::prelude::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use testing::golden;

/// The stand-in: numbers are little-endian, offsets and sizes are in bytes.
mod reader {
    use std::collections::BTreeMap;

    /// The FLB that it asks for. What has other names is not looked at.
    pub(super) const FLB: &str = "pci";

    /// The only version that it reads.
    pub(super) const VERSION: u32 = 2;

    /// The size of a block, and of what goes before the entries of one.
    pub(super) const BLOCK: usize = 4096;
    pub(super) const BLOCK_HEADER: usize = 16;

    /// The size of an entry: domain, BDF and count.
    pub(super) const ENTRY: usize = 8;

    /// The most blocks of a chain.
    const MAX_BLOCKS: usize = 10_000;

    /// Memory that was handed over, by physical address.
    pub(super) type Memory = BTreeMap<u64, Vec<u8>>;

    /// What it says when it panics.
    pub(super) type Panic = &'static str;

    /// The counts of devices, by `domain << 16 | bdf`.
    pub(super) type Incoming = BTreeMap<u64, u16>;

    fn number(bytes: &[u8], offset: usize, size: usize) -> u64 {
        let bytes = &bytes[offset..offset + size];

        bytes
            .iter()
            .rev()
            .fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }

    /// Reads the list, before the first device is enumerated.
    pub(super) fn retrieve(memory: &Memory, handle: u64) -> Result<Incoming, Panic> {
        let header = memory.get(&handle).ok_or("no list")?;
        if number(header, 0, 4) != VERSION.into() {
            return Err("incompatible version");
        }

        let mut incoming = Incoming::new();
        let mut blocks = 0;
        let mut next = number(header, 8, 8);
        while next != 0 {
            let block = memory.get(&next).ok_or("no block")?;
            let count = usize::try_from(number(block, 8, 8)).map_err(|_| "bad block")?;
            blocks += 1;
            if count == 0 || count > (BLOCK - BLOCK_HEADER) / ENTRY || blocks > MAX_BLOCKS {
                return Err("bad block");
            }

            for entry in block[BLOCK_HEADER..].chunks(ENTRY).take(count) {
                let refcount = u16::try_from(number(entry, 6, 2)).map_err(|_| "bad count")?;
                let key = (number(entry, 0, 4) << 16) | number(entry, 4, 2);
                if refcount != 0 && incoming.insert(key, refcount).is_some() {
                    return Err("duplicate device");
                }
            }
            next = number(block, 0, 8);
        }

        // Nobody says that it looks at this. If it does, it finds what it expects.
        if number(header, 4, 4) != u64::try_from(incoming.len()).map_err(|_| "bad number")? {
            return Err("wrong number of devices");
        }
        Ok(incoming)
    }

    /// Ends the passage of a device and of the bridges above it.
    pub(super) fn finish_device(incoming: &mut Incoming, path: &[u64]) -> Result<(), Panic> {
        for key in path {
            let refcount = incoming.get_mut(key).ok_or("device is not incoming")?;
            *refcount = refcount.checked_sub(1).ok_or("device is finished twice")?;
        }
        Ok(())
    }

    /// Ends the list, after the last file.
    pub(super) fn finish(incoming: &Incoming) -> Result<(), Panic> {
        match incoming.values().all(|refcount| *refcount == 0) {
            true => Ok(()),
            false => Err("a preserved device was never finished"),
        }
    }
}

/// Where the list is, and its first block.
const HANDLE: u64 = 0x1_0000;
const FIRST_BLOCK: u64 = 0x2_0000;

/// Returns the entries of a list in blocks, as KHO hands them over.
fn blocks(records: &[u8], mut phys: u64) -> reader::Memory {
    let mut memory = reader::Memory::new();
    let mut chunks = records
        .chunks((reader::BLOCK - reader::BLOCK_HEADER) / reader::ENTRY * reader::ENTRY)
        .peekable();

    while let Some(chunk) = chunks.next() {
        let next = phys.wrapping_add(0x1000);
        let link = chunks.peek().map_or(0, |_| next);
        let mut block = [
            &link.to_le_bytes()[..],
            &(chunk.len() / reader::ENTRY).to_le_bytes(),
            chunk,
        ]
        .concat();

        block.resize(reader::BLOCK, 0);
        memory.insert(phys, block);
        phys = next;
    }
    memory
}

/// Returns what is handed over for devices that are preserved.
fn handed_over(entries: &[Entry]) -> reader::Memory {
    let first = if entries.is_empty() { 0 } else { FIRST_BLOCK };
    let (header, records) = storage::write_devices(entries, first);
    let mut memory = blocks(records.as_bytes(), FIRST_BLOCK);

    memory.insert(HANDLE, header.as_bytes().to_vec());
    memory
}

fn key(entry: &Entry) -> u64 {
    (u64::from(entry.address.domain()) << 16) | u64::from(entry.address.bdf())
}

fn counts(entries: &[Entry]) -> reader::Incoming {
    entries
        .iter()
        .map(|entry| (key(entry), entry.refcount.get()))
        .collect()
}

/// Returns what it makes of a blob that is kept, in memory where the blob says.
fn read_golden(bytes: &[u8]) -> Result<reader::Incoming, reader::Panic> {
    let (header, records) = bytes.split_at(16);
    let mut memory = blocks(records, u64::from_le_bytes(header[8..].try_into().unwrap()));

    memory.insert(HANDLE, header.to_vec());
    reader::retrieve(&memory, HANDLE)
}

#[test]
fn takes_over_what_is_kept_of_the_version_that_it_reads() {
    let blobs = golden::all("pci-v2");

    for (name, bytes) in &blobs {
        let known = bytes[16..].chunks(8).filter_map(|record| {
            let record = RawDevSer::read_from_bytes(record).unwrap();
            let entry = record.entry().unwrap()?;

            Some((key(&entry), entry.refcount.get()))
        });

        assert_eq!(read_golden(bytes), Ok(known.collect()), "{name}");
    }
    assert!(!blobs.is_empty());
}

#[test]
fn panics_on_the_version_before() {
    for (name, bytes) in golden::all("pci-v1") {
        assert_eq!(read_golden(&bytes), Err("incompatible version"), "{name}");
    }
}

#[test]
fn finds_all_devices_finished_when_their_files_are() {
    let path_of = |endpoint, port| [endpoint, port, 0x0100, 0x0010];
    let blobs: BTreeMap<String, Vec<u8>> = golden::all("pci-v2").into_iter().collect();
    let mut incoming = read_golden(&blobs["two-below-a-switch"]).unwrap();

    reader::finish_device(&mut incoming, &path_of(0x0300, 0x0200)).unwrap();
    assert!(reader::finish(&incoming).is_err());
    reader::finish_device(&mut incoming, &path_of(0x0400, 0x0208)).unwrap();
    assert_eq!(reader::finish(&incoming), Ok(()));
}

#[test]
fn takes_over_a_list_of_any_length() {
    for count in [0, 1, 509, 510, 511, 1020, 1021, 5000] {
        let entries: Vec<Entry> = (0..count).map(|bdf| entry(0, bdf, 1)).collect();
        let memory = handed_over(&entries);

        assert_eq!(
            memory.len(),
            1 + usize::from(count).div_ceil(510),
            "{count}"
        );
        assert_eq!(reader::retrieve(&memory, HANDLE), Ok(counts(&entries)));
    }
}

#[test]
fn does_not_look_at_the_lists_of_others() {
    let defined = testing::strings_of("pci");

    assert!(defined.contains(&("PCI_LUO_FLB_COMPATIBLE".into(), reader::FLB.into())));
    assert_eq!(
        defined
            .iter()
            .filter(|(_, name)| name == reader::FLB)
            .count(),
        1
    );
}

proptest! {
    #![proptest_config(testing::config())]

    #[test]
    fn takes_over_whatever_is_preserved(
        paths in prop::collection::vec((0..3u8, 0..3u8, 0..8u8), 1..24),
    ) {
        // Endpoints below ports below a switch below a root port, in all of which buses differ.
        let mut entries: Vec<Entry> = Vec::new();
        let mut preserved = Vec::new();

        for (root, port, device) in paths {
            let path = [
                (u16::from(10 + 3 * root + port) << 8) | (u16::from(device) << 3),
                (u16::from(1 + root) << 8) | (u16::from(port) << 3),
                u16::from(root) << 3,
            ]
            .map(|bdf| super::address(0, bdf));

            if plan::added_by_path(&entries, path.into_iter()).is_ok() {
                plan::preserve_path::<plan::Refusal, _>(&mut entries, path.into_iter()).unwrap();
                preserved.push(path.map(|address| u64::from(address.bdf())));
            }
        }

        let mut incoming = reader::retrieve(&handed_over(&entries), HANDLE).unwrap();
        prop_assert_eq!(&incoming, &counts(&entries));
        for path in &preserved {
            prop_assert!(reader::finish(&incoming).is_err());
            reader::finish_device(&mut incoming, path).unwrap();
        }
        prop_assert_eq!(reader::finish(&incoming), Ok(()));
    }
}
