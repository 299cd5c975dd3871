// SPDX-License-Identifier: GPL-2.0

//! Changes what one kernel hands over to the next, in the memory of the VM.
//!
//! No code of the VM knows: this finds what it looks for as the next kernel would, by the layout in
//! `include/linux/kho/abi/iommu.h` and that of VT-d's tables.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::machine::MEMORY_TYPE;

/// Something to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The device that it is about, as QEMU writes it in traces.
    pub bdf: String,
    /// What of it.
    pub part: Part,
    /// Which word of 32 bits.
    pub word: u64,
    /// The bits that are turned over.
    pub flip: u32,
}

/// What there is of a device in memory that is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The beginning of all records: `struct iommu_flb_ser`.
    Records,
    /// The page that its record is in: `struct iommu_array_hdr_ser`.
    Page,
    /// Its record: `struct iommu_device_ser`.
    Device,
    /// The record of its domain: `struct iommu_domain_ser`.
    Domain,
    /// The record of its unit: `struct iommu_hw_ser`.
    Unit,
    /// The root entry for its bus.
    Root,
    /// Its context entry.
    Context,
    /// The first entry of its PASID directory.
    Directory,
    /// Its PASID entry.
    Pasid,
    /// The last entry of a walk through its page table to the first address that is mapped.
    Leaf,
}

const PAGE: u64 = 4096;

/// How much of each page is looked at.
const HEAD: usize = 32;

/// What a page begins with.
struct Head {
    page: u64,
    bytes: [u8; HEAD],
}

/// How much memory is looked through at a time.
const CHUNK: usize = 1 << 20;

/// Where frames begin.
const FRAME_ALIGN: usize = 16;

/// The size of `struct iommu_array_hdr_ser`.
const HEADER: u64 = 16;

/// The size of `struct iommu_device_ser`, and where it names its domain and its unit.
const DEVICE: u64 = 64;
const DEVICE_DOMAIN: usize = 24;
const DEVICE_UNIT: usize = 32;

/// Where `struct iommu_domain_ser` names the first table, and says how many levels there are below it.
const DOMAIN_TABLE: u64 = 8;
const DOMAIN_LEVELS: u64 = 32;

/// The size of an entry of a page table, and what says of one that no table follows, if it is not of the last
/// level.
const ENTRY: u64 = 8;
const LARGE: u64 = 1 << 7;

/// Where `struct iommu_hw_ser` names the root table, and says that the unit is in scalable mode.
const UNIT_ROOT: u64 = 24;
const UNIT_FLAGS: u64 = 56;

/// Where `struct iommu_flb_ser` names the page with the records of devices.
const RECORDS_DEVICES: usize = 24;

/// What of an entry is the address of a table.
const TABLE: u64 = ((1 << 52) - 1) & !(PAGE - 1);

/// Where memory begins that QEMU's q35 has no room for below its devices, how much it has to be, and
/// how much is below them then.
const HIGH: u64 = 4 << 30;
const MUCH: u64 = 0xb000_0000;
const MOST_LOW: u64 = 2 << 30;

/// The memory of a VM.
pub struct Memory {
    file: File,
    size: u64,
    /// How much of it is below the devices.
    low: u64,
}

impl Memory {
    /// Finds the memory of the QEMU that has this process ID.
    pub fn of(qemu: u32) -> Result<Self> {
        for entry in fs::read_dir(format!("/proc/{qemu}/fd")).context("looking for memory")? {
            let path = entry?.path();
            let is_memory = fs::read_link(&path)
                .is_ok_and(|to| to.to_string_lossy().contains(&format!("memfd:{MEMORY_TYPE}")));
            if is_memory {
                return Self::at(&path);
            }
        }
        bail!("QEMU {qemu} has no memory that can be changed")
    }

    fn at(path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size, low: if size < MUCH { size } else { MOST_LOW } })
    }

    /// Where the memory at an address is in the file.
    fn offset(&self, phys: u64) -> Option<u64> {
        let high = || Some(phys.checked_sub(HIGH)? + self.low).filter(|at| *at < self.size);
        if phys < self.low { Some(phys) } else { high() }
    }

    fn is_memory(&self, phys: u64) -> bool {
        self.offset(phys).is_some()
    }

    fn read<const N: usize>(&self, phys: u64) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        let read = |at| self.file.read_exact_at(&mut bytes, at).ok();
        self.offset(phys).and_then(read).with_context(|| format!("no memory at {phys:#x}"))?;
        Ok(bytes)
    }

    fn read_u64(&self, phys: u64) -> Result<u64> {
        self.read(phys).map(u64::from_le_bytes)
    }

    /// The address of what is at an offset in the file.
    fn address(&self, at: u64) -> u64 {
        if at < self.low { at } else { HIGH + (at - self.low) }
    }

    /// What all pages begin with that do not begin with zeroes. The next kernel is about to read them:
    /// looking for each thing by itself, page by page, takes longer than it needs for that.
    fn heads(&self) -> Result<Vec<Head>> {
        let mut heads = Vec::new();
        let mut chunk = vec![0; CHUNK];
        for at in (0..self.size).step_by(CHUNK) {
            let chunk = &mut chunk[..CHUNK.min((self.size - at) as usize)];
            self.file.read_exact_at(chunk, at).context("looking through memory")?;
            for (page, at) in chunk.chunks_exact(PAGE as usize).zip((at..).step_by(PAGE as usize)) {
                let bytes: [u8; HEAD] = page[..HEAD].try_into().context("a page is longer")?;
                if bytes != [0; HEAD] {
                    heads.push(Head { page: self.address(at), bytes });
                }
            }
        }
        Ok(heads)
    }

    /// Returns the numbers of frames in memory, in places that devices write them to. `number_of` tells
    /// that of the frame that some bytes begin with, if it is one.
    pub fn numbers(&self, number_of: impl Fn(&[u8]) -> Option<u64>) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        let mut chunk = vec![0; CHUNK];
        for at in (0..self.size).step_by(CHUNK) {
            let chunk = &mut chunk[..CHUNK.min((self.size - at) as usize)];
            self.file.read_exact_at(chunk, at).context("looking through memory")?;
            let places = (0..chunk.len()).step_by(FRAME_ALIGN);
            numbers.extend(places.filter_map(|at| number_of(&chunk[at..])));
        }
        Ok(numbers)
    }

    /// Does all of the damage.
    pub fn damage(&self, all: &[Damage]) -> Result<()> {
        if all.is_empty() {
            return Ok(());
        }
        let heads = self.heads()?;
        // Before something is not what it has to be to be found.
        let places = all
            .iter()
            .map(|one| Ok((self.locate(&heads, &one.bdf, one.part)? + 4 * one.word, one.flip)))
            .collect::<Result<Vec<_>>>()?;
        for (at, flip) in places {
            let word = u32::from_le_bytes(self.read(at)?) ^ flip;
            let at = self.offset(at).context("it was just read")?;
            self.file.write_all_at(&word.to_le_bytes(), at)?;
        }
        Ok(())
    }

    /// Finds something that there is of a device.
    fn locate(&self, heads: &[Head], bdf: &str, part: Part) -> Result<u64> {
        let id = source_id(bdf).with_context(|| format!("{bdf} is no address"))?;
        let device = self.device(heads, id)?;
        let record: [u8; DEVICE as usize] = self.read(device)?;
        let unit = u64_in(&record, DEVICE_UNIT);
        let page = device & TABLE;
        Ok(match part {
            Part::Page => page,
            Part::Device => device,
            Part::Domain => u64_in(&record, DEVICE_DOMAIN),
            Part::Unit => unit,
            Part::Records => only(heads, |head| {
                Ok(head.bytes[..8] == [1, 0, 0, 0, 0, 0, 0, 0]
                    && u64_in(&head.bytes, RECORDS_DEVICES) == page)
            })?,
            Part::Root => self.root(unit, id)?.0,
            Part::Context => self.context(unit, id)?,
            Part::Directory => self.read_u64(self.context(unit, id)?)? & TABLE,
            Part::Pasid => {
                let directory = self.read_u64(self.context(unit, id)?)? & TABLE;
                self.read_u64(directory)? & TABLE
            }
            Part::Leaf => self.leaf(u64_in(&record, DEVICE_DOMAIN))?,
        })
    }

    /// Finds the record of the device with this source ID.
    fn device(&self, heads: &[Head], id: u16) -> Result<u64> {
        // Needed by nobody else, and at this address of the first segment.
        let mut begins = [0; 16];
        begins[0] = 1;
        begins[8..10].copy_from_slice(&id.to_le_bytes());
        let find_in = |head: &Head| -> Result<Option<u64>> {
            let (next, count) = (u64_in(&head.bytes, 0), u64_in(&head.bytes, 8));
            if next % PAGE != 0 || !self.is_memory(next) || !(1..PAGE / DEVICE).contains(&count) {
                return Ok(None);
            }
            for at in (0..count).map(|n| head.page + HEADER + DEVICE * n) {
                let bytes: [u8; DEVICE as usize] = self.read(at)?;
                let names = [DEVICE_DOMAIN, DEVICE_UNIT].map(|field| u64_in(&bytes, field));
                let is_named = |at: &u64| *at != 0 && *at % 8 == 0 && self.is_memory(*at);
                if bytes[..16] == begins && names.iter().all(is_named) {
                    return Ok(Some(at));
                }
            }
            Ok(None)
        };
        let page = only(heads, |head| Ok(find_in(head)?.is_some()))?;
        let head = heads.iter().find(|head| head.page == page).context("it was there")?;
        find_in(head)?.context("it was there")
    }

    /// Finds the half of the root entry that is for a device, and tells the number of the device in
    /// the context table and the size of an entry of that.
    fn root(&self, unit: u64, id: u16) -> Result<(u64, u64, u64)> {
        let table = self.read_u64(unit + UNIT_ROOT)?;
        let scalable = self.read_u64(unit + UNIT_FLAGS)? & 1 != 0;
        let (bus, devfn) = (u64::from(id >> 8), u64::from(id & 0xff));
        Ok(if scalable {
            (table + 16 * bus + 8 * (devfn >> 7), devfn & 0x7f, 32)
        } else {
            (table + 16 * bus, devfn, 16)
        })
    }

    /// Finds the entry of the first address that the page table of a domain maps.
    fn leaf(&self, domain: u64) -> Result<u64> {
        let mut table = self.read_u64(domain + DOMAIN_TABLE)?;
        for level in (0..=self.read_u64(domain + DOMAIN_LEVELS)? & 0xffff_ffff).rev() {
            let mut entries = (table..table + PAGE).step_by(ENTRY as usize);
            let (at, entry) = entries
                .find_map(|at| {
                    self.read_u64(at).map(|entry| (entry != 0).then_some((at, entry))).transpose()
                })
                .context("a page table maps nothing")??;
            if level == 0 || entry & LARGE != 0 {
                return Ok(at);
            }
            table = entry & TABLE;
        }
        bail!("a page table has no level")
    }

    /// Finds the context entry of a device.
    fn context(&self, unit: u64, id: u16) -> Result<u64> {
        let (root, index, size) = self.root(unit, id)?;
        Ok((self.read_u64(root)? & TABLE) + index * size)
    }
}

/// Finds the only page that something is true of.
fn only(heads: &[Head], is: impl Fn(&Head) -> Result<bool>) -> Result<u64> {
    let mut found = vec![];
    for head in heads {
        if is(head)? {
            found.push(head.page);
        }
    }
    match found[..] {
        [page] => Ok(page),
        _ => bail!("what is to be damaged is in {} pages", found.len()),
    }
}

fn u64_in(bytes: &[u8], offset: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(field)
}

/// The source ID of `bus:device.function`, all in hexadecimal.
pub fn source_id(bdf: &str) -> Option<u16> {
    let (bus, rest) = bdf.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    let [bus, device, function] =
        [bus, device, function].map(|part| u16::from_str_radix(part, 16).ok());
    Some((bus? << 8) | (device? << 3) | function?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where things are.
    const DEVICES: u64 = 0x5000;
    const DOMAIN: u64 = 0x6010;
    const UNIT: u64 = 0x7010;
    const RECORDS: u64 = 0x8000;
    const ROOT_TABLE: u64 = 0x9000;
    const CONTEXTS: u64 = 0xa000;
    const DIRECTORY: u64 = 0xb000;
    const PASIDS: u64 = 0xc000;
    const TABLES: u64 = 0xd000;

    fn memory(name: &str) -> Memory {
        let path = std::env::temp_dir().join(format!("lu-damage-{}-{name}", std::process::id()));
        let file = File::create(&path).expect("a file");
        file.set_len(0x10000).expect("space");
        let memory = Memory::at(&path).expect("memory");
        fs::remove_file(path).expect("its name is not needed");
        let device = [[1, 0x108, 3, DOMAIN], [UNIT, 9, DIRECTORY, 1]].concat();
        for (at, words) in [
            (DEVICES, &[0, 1][..]),
            (DEVICES + 16, &device),
            (RECORDS, &[1, 0x7000, 0x6000, DEVICES]),
            (UNIT + UNIT_ROOT, &[ROOT_TABLE]),
            (UNIT + UNIT_FLAGS, &[1]),
            (ROOT_TABLE + 16, &[CONTEXTS | 1]),
            (CONTEXTS + 8 * 32, &[DIRECTORY | 1]),
            (DIRECTORY, &[PASIDS | 1]),
            (DOMAIN + DOMAIN_TABLE, &[TABLES]),
            (DOMAIN + DOMAIN_LEVELS, &[1 | (48 << 32)]),
            (TABLES + 8 * 4, &[(TABLES + PAGE) | 3]),
            (TABLES + PAGE + 8 * 5, &[0x3003]),
        ] {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            memory.file.write_all_at(&bytes, at).expect("written");
        }
        memory
    }

    #[test]
    fn parts_are_found() {
        let memory = memory("parts");
        for (part, at) in [
            (Part::Records, RECORDS),
            (Part::Page, DEVICES),
            (Part::Device, DEVICES + HEADER),
            (Part::Domain, DOMAIN),
            (Part::Unit, UNIT),
            (Part::Root, ROOT_TABLE + 16),
            (Part::Context, CONTEXTS + 8 * 32),
            (Part::Directory, DIRECTORY),
            (Part::Pasid, PASIDS),
            (Part::Leaf, TABLES + PAGE + 8 * 5),
        ] {
            let heads = memory.heads().expect("what pages begin with");
            assert_eq!(memory.locate(&heads, "01:01.0", part).expect("found"), at, "{part:?}");
        }
    }

    #[test]
    fn memory_is_where_q35_has_it() {
        let mut memory = memory("high");
        assert_eq!(memory.offset(0xffff), Some(0xffff));
        assert_eq!(memory.offset(0x10000), None);
        assert_eq!(memory.offset(HIGH), None);
        (memory.size, memory.low) = (3 << 30, MOST_LOW);
        assert_eq!(memory.offset(MOST_LOW), None);
        assert_eq!(memory.offset(HIGH + 0x1000), Some(MOST_LOW + 0x1000));
        assert_eq!(memory.offset(5 << 30), None);
    }

    #[test]
    fn numbers_of_frames_are_found_where_frames_begin() {
        let memory = memory("frames");
        for (at, number) in [(0x30, 7), (0x2000, 8), (0x2048, 9), (0xfff0, 1)] {
            let frame = [b"frame".as_slice(), &u64::to_be_bytes(number)].concat();
            memory.file.write_all_at(&frame, at).expect("written");
        }
        let number_of = |bytes: &[u8]| {
            let number = bytes.strip_prefix(b"frame")?.first_chunk()?;
            Some(u64::from_be_bytes(*number))
        };
        assert_eq!(memory.numbers(number_of).expect("read"), [7, 8, 1]);
        assert!(memory.numbers(|_| None).expect("read").is_empty());
    }

    #[test]
    fn damage_is_done_to_one_word() {
        let memory = memory("word");
        let damage = Damage { bdf: "01:01.0".into(), part: Part::Device, word: 2, flip: 0x300 };
        memory.damage(std::slice::from_ref(&damage)).expect("done");
        assert_eq!(memory.read_u64(DEVICES + HEADER + 8).expect("read"), 0x208);
        // It is another one's now.
        assert!(memory.damage(&[damage]).is_err());
    }

    #[test]
    fn device_that_is_not_there_is_not_found() {
        let locate = |memory: Memory, bdf| {
            let heads = memory.heads().expect("what pages begin with");
            memory.locate(&heads, bdf, Part::Device)
        };
        assert!(locate(memory("absent"), "02:00.0").is_err());
        assert!(locate(memory("address"), "here").is_err());
    }

    #[test]
    fn source_id_is_that_of_the_address() {
        assert_eq!(source_id("01:00.0"), Some(0x100));
        assert_eq!(source_id("40:1f.7"), Some(0x40ff));
        assert_eq!(source_id("here"), None);
    }
}
