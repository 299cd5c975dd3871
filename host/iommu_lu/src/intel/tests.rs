// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the pure files.

use super::{
    super::entries::{
        DomainRecord,
        PasidDirectory,
        RawDomainSer,
        RawHdrSer,
        TableAddress,
        UnitRecord, //
    },
    bits::{
        LegacyHigh,
        LegacyLow,
        PasidFirst,
        PasidSecond,
        PasidThird,
        ScalableLow,
        PASID_ENTRY_WORDS,
        WORDS, //
    },
    fuzz::fuzz_intel,
    plan::{
        self,
        check_scalable,
        context_table,
        context_words,
        directory,
        pasid_table,
        refuse_unit,
        without_page_requests,
        Attachment,
        Found,
        Mismatch,
        Place,
        Refusal,
        Traits, //
    },
};
use kernel::fmt::Adapter;
use std::collections::HashSet;

const TOP: u64 = 0x1_2345_6000;
const DID: u16 = 7;

fn attachment(format: u32, level: u32, features: u32) -> Attachment {
    let raw = RawDomainSer {
        hdr: RawHdrSer {
            ref_count: 1,
            flags: 0,
        },
        top_table_phys: TOP,
        nr_tables: 1,
        format,
        features,
        top_level: level,
        vasz: 9 * level + 21,
    };

    Attachment {
        domain: DomainRecord::try_from(&raw).unwrap(),
        did: DID,
        ats: false,
    }
}

/// Returns the bits that can be flipped without being noticed.
fn unnoticed<const N: usize>(
    entry: [u64; N],
    check: impl Fn([u64; N]) -> Result<(), Mismatch>,
) -> Vec<(usize, u32)> {
    assert_eq!(check(entry), Ok(()));

    (0..N)
        .flat_map(|word| (0..64).map(move |bit| (word, bit)))
        .filter(|(word, bit)| {
            let mut flipped = entry;

            flipped[*word] ^= 1 << bit;
            check(flipped).is_ok()
        })
        .collect()
}

#[test]
fn each_device_has_its_own_place() {
    for scalable in [false, true] {
        let mut seen = HashSet::new();

        for bdf in 0..=u16::MAX {
            let place = Place::of(bdf, scalable);

            assert!(place.half < WORDS && place.word + place.words <= WORDS);
            assert_eq!(place.words, context_words(scalable));
            assert_eq!(place.word % place.words, 0);
            assert!(scalable || place.half % 2 == 0);
            assert!(seen.insert((place.half, place.word)));
            assert_eq!(Place::bdf(place.half, place.word, scalable), Some(bdf));
        }
    }
}

#[test]
fn there_is_no_device_beyond_a_table() {
    // The upper half of a root entry is reserved in legacy mode; whatever is found in a table that it
    // names is a device of the same bus to nobody who asks `Place::of()`.
    assert_eq!(Place::bdf(512, 0, true), None);
    assert_eq!(Place::bdf(0, 512, false), None);
    assert_eq!(Place::bdf(1, 512, true), None);
}

#[test]
fn tables_are_named_only_by_entries_that_are_present() {
    assert_eq!(context_table(TOP | 1), Some(TOP));
    assert_eq!(context_table(TOP), None);
    assert_eq!(pasid_table(TOP | 1), Some(TOP));
    assert_eq!(pasid_table(TOP), None);
}

#[test]
fn legacy_entry_has_to_be_what_the_driver_writes() {
    for (level, ats) in (2..=4).flat_map(|level| [(level, false), (level, true)]) {
        let attachment = Attachment {
            ats,
            ..attachment(1, level, 0)
        };
        let translation = u64::from(ats) << 2;
        let entry = [
            TOP | translation | 1,
            (u64::from(DID) << 8) | u64::from(level - 1),
        ];

        assert!(unnoticed(entry, |entry| attachment.check_legacy(entry)).is_empty());

        let err = |entry| attachment.check_legacy(entry).unwrap_err();
        assert_eq!(err([entry[0] & !1, entry[1]]), Mismatch::Absent);
        assert_eq!(err([entry[0] ^ 0x1000, entry[1]]), Mismatch::Pointer);
        assert_eq!(err([entry[0] ^ (1 << 2), entry[1]]), Mismatch::of_ats(!ats));
        assert_eq!(err([entry[0] ^ (1 << 3), entry[1]]), Mismatch::Shape);
        assert_eq!(err([entry[0], entry[1] ^ 1]), Mismatch::Shape);
        assert_eq!(err([entry[0], entry[1] ^ 0x100]), Mismatch::Tag);
        assert_eq!(err([entry[0] | 2, entry[1]]), Mismatch::Bits);
    }

    let first_stage = attachment(2, 3, 0);
    let entry = [TOP | 1, (u64::from(DID) << 8) | 2];
    assert_eq!(first_stage.check_legacy(entry), Err(Mismatch::Shape));
}

fn second_stage_entry(level: u64) -> [u64; PASID_ENTRY_WORDS] {
    let mut entry = [0; PASID_ENTRY_WORDS];

    entry[0] = TOP | (2 << 6) | ((level - 1) << 2) | 1;
    entry[1] = u64::from(DID);
    entry
}

fn first_stage_entry(level: u64) -> [u64; PASID_ENTRY_WORDS] {
    let mut entry = [0; PASID_ENTRY_WORDS];

    entry[0] = (1 << 6) | (2 << 2) | 1;
    entry[1] = u64::from(DID);
    entry[2] = TOP | ((level - 3) << 2);
    entry
}

#[test]
fn second_stage_entry_has_to_be_what_the_driver_writes() {
    for level in 2..=4 {
        let attachment = attachment(1, level, 0);
        let entry = second_stage_entry(level.into());
        let noticed = unnoticed(entry, |entry| attachment.check_pasid(entry));

        // PWSNP is what the unit can do.
        assert_eq!(noticed, [(1, PasidSecond::WALK_SNOOP_SHIFT)]);

        let err = |word: usize, flip| {
            let mut entry = entry;

            entry[word] ^= flip;
            attachment.check_pasid(entry).unwrap_err()
        };
        assert_eq!(err(0, 1), Mismatch::Absent);
        assert_eq!(err(0, 0x1000), Mismatch::Pointer);
        assert_eq!(err(0, 1 << 6), Mismatch::Shape);
        assert_eq!(err(1, 1), Mismatch::Tag);
        assert_eq!(err(1, 1 << 24), Mismatch::Bits);
        assert_eq!(err(2, 0x1000), Mismatch::Bits);
        assert_eq!(err(7, 1), Mismatch::Bits);
    }
}

#[test]
fn first_stage_entry_has_to_be_what_the_driver_writes() {
    for level in 3..=4 {
        for snoops in [false, true] {
            let attachment = attachment(2, level, if snoops { 2 } else { 0 });
            let entry = first_stage_entry(level.into());
            let noticed = unnoticed(entry, |entry| attachment.check_pasid(entry));

            // AW means nothing for the first stage.
            let mut ignored = vec![(0, 2), (0, 3), (0, 4), (1, PasidSecond::WALK_SNOOP_SHIFT)];
            if snoops {
                ignored.push((1, PasidSecond::SNOOP_SHIFT));
            }
            assert_eq!(noticed, ignored);
        }
    }
}

#[test]
fn entry_of_the_other_stage_is_noticed() {
    assert_eq!(
        attachment(1, 3, 0).check_pasid(first_stage_entry(3)),
        Err(Mismatch::Shape)
    );
    assert_eq!(
        attachment(2, 3, 0).check_pasid(second_stage_entry(3)),
        Err(Mismatch::Shape)
    );
}

#[test]
fn scalable_entry_has_to_be_what_the_driver_writes() {
    for (order, ats) in (0..=5).flat_map(|order| [(order, false), (order, true)]) {
        let directory = PasidDirectory {
            table: TableAddress::try_from(TOP).unwrap(),
            order,
        };
        let low = TOP | (u64::from(order + 2) << 9) | (u64::from(ats) << 2) | 1;
        let entry = [low, 0, 0, 0];

        // PASIDE is what the device can do.
        assert_eq!(
            unnoticed(entry, |entry| check_scalable(&directory, ats, entry)),
            [(0, ScalableLow::PASIDS_SHIFT)]
        );

        let err = |word: usize, flip| {
            let mut entry = entry;

            entry[word] ^= flip;
            check_scalable(&directory, ats, entry).unwrap_err()
        };
        assert_eq!(err(0, 1), Mismatch::Absent);
        assert_eq!(err(0, 0x1000), Mismatch::Pointer);
        assert_eq!(err(0, 1 << 9), Mismatch::Directory);
        assert_eq!(err(1, 1), Mismatch::Directory);
        assert_eq!(err(0, 1 << 2), Mismatch::of_ats(!ats));
        assert_eq!(err(0, 1 << 4), Mismatch::Bits);
        assert_eq!(err(3, 1), Mismatch::Bits);
    }
}

#[test]
fn directory_has_as_many_pages_as_it_says() {
    for size in 0..8u64 {
        let order = size.saturating_sub(2) as u32;

        assert_eq!(directory(TOP | (size << 9) | 1), Some((TOP, order)));
    }
    assert_eq!(directory(TOP | (2 << 9)), None);
}

#[test]
fn only_page_requests_are_taken_from_an_entry() {
    let low = TOP | 0xe00 | 0x1f;

    assert_eq!(without_page_requests(low), low & !0x10);
    assert_eq!(without_page_requests(low & !0x10), low & !0x10);
}

#[test]
fn entry_of_a_device_that_could_request_pages_is_good_without_that() {
    let directory = PasidDirectory {
        table: TableAddress::try_from(TOP).unwrap(),
        order: 0,
    };
    let entry = [TOP | (2 << 9) | 0x10 | 1, 0, 0, 0];
    assert_eq!(
        check_scalable(&directory, false, entry),
        Err(Mismatch::Bits)
    );

    // As it is when it is handed over.
    let quiet = [without_page_requests(entry[0]), 0, 0, 0];
    assert_eq!(check_scalable(&directory, false, quiet), Ok(()));
}

#[test]
fn each_mismatch_says_what_it_is() {
    let all = [
        Mismatch::Absent,
        Mismatch::Pointer,
        Mismatch::Tag,
        Mismatch::Shape,
        Mismatch::AtsOn,
        Mismatch::AtsOff,
        Mismatch::Bits,
        Mismatch::Directory,
    ];
    let texts: HashSet<_> = all.iter().map(|one| Adapter(one).to_string()).collect();

    assert_eq!(texts.len(), all.len());
    assert!(Adapter(&Mismatch::AtsOn).to_string().contains("pci=noats"));
}

const ATTACHED: Traits = Traits {
    attached: true,
    is_subdevice: false,
    has_ats_off: false,
    has_faults: false,
    remaps_interrupts: true,
    beside_reserved: false,
};

#[test]
fn each_trait_is_a_reason_of_its_own() {
    assert_eq!(plan::preserve(&ATTACHED), Ok(()));
    assert_eq!(
        plan::preserve(&Traits {
            attached: false,
            ..ATTACHED
        }),
        Err(Refusal::NotAttached)
    );

    let mut reasons = HashSet::new();
    for change in [
        (|traits| traits.is_subdevice = true) as fn(&mut Traits),
        |traits| traits.has_ats_off = true,
        |traits| traits.has_faults = true,
        |traits| traits.remaps_interrupts = false,
        |traits| traits.beside_reserved = true,
    ] {
        let mut traits = ATTACHED;

        change(&mut traits);
        match plan::preserve(&traits) {
            Err(Refusal::Unsupported(why)) => assert!(reasons.insert(why)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn root_table_is_where_the_register_says() {
    let found = |root| Found {
        translates: true,
        root,
        scalable: true,
        cap: 0,
        ecap: 0,
    };

    let table = plan::root_table(&found(TOP | (1 << 10)));
    assert_eq!(table.map(TableAddress::phys), Ok(TOP));
    assert!(plan::root_table(&found(1 << 10)).is_err());
}

#[test]
fn unit_is_adopted_only_as_it_was_left() {
    for scalable in [false, true] {
        let unit = UnitRecord {
            token: 0xfed9_0000,
            root: TableAddress::try_from(TOP).unwrap(),
            irq_table: None,
            cap: 5,
            ecap: 6,
            scalable,
            context_tables: [0; 8],
        };
        let found = Found {
            translates: true,
            root: TOP | if scalable { 1 << 10 } else { 0 },
            scalable,
            cap: 5,
            ecap: 6,
        };
        assert_eq!(refuse_unit(&unit, &found), None);

        for change in [
            (|found| found.translates = false) as fn(&mut Found),
            |found| found.root ^= 1 << 10,
            |found| found.root ^= 0x1000,
            |found| found.scalable = !found.scalable,
            |found| found.cap = 0,
            |found| found.ecap = 0,
        ] {
            let mut other = found;

            change(&mut other);
            assert!(refuse_unit(&unit, &other).is_some(), "{other:x?}");
        }
    }
}

#[test]
fn bits_are_where_the_driver_in_c_has_them() {
    // `context_set_*()` and `pasid_set_*()` in `drivers/iommu/intel/{iommu,pasid}.h`.
    assert_eq!(LegacyLow::FRAME_MASK, !0xfff);
    assert_eq!(LegacyLow::TRANSLATION_MASK, 3 << 2);
    assert_eq!(LegacyHigh::DID_MASK, 0xffff << 8);
    assert_eq!(LegacyHigh::WIDTH_MASK, 7);
    assert_eq!(ScalableLow::SIZE_MASK, 7 << 9);
    assert_eq!(PasidFirst::WIDTH_MASK, 7 << 2);
    assert_eq!(PasidFirst::STAGES_MASK, 7 << 6);
    assert_eq!(PasidFirst::DIRTY_MASK, 1 << 9);
    assert_eq!(PasidSecond::DID_MASK, 0xffff);
    assert_eq!(PasidSecond::SNOOP_MASK, 1 << 24);
    assert_eq!(PasidThird::MODE_MASK, 3 << 2);
    assert_eq!(PasidThird::FRAME_MASK, !0xfff);
}

/// The fuzzer's claims, for entries that lead to the right place but for one bit.
#[test]
fn entry_with_one_bit_flipped_leads_nowhere_else() {
    let words =
        |words: &[u64]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    // A domain, a device and an entry, as they are handed over.
    let good = |format: u64, entry: [u64; PASID_ENTRY_WORDS]| {
        let domain = words(&[1, TOP, 1, format, 3 | (48 << 32)]);
        let device = words(&[1, 0x0100, DID.into(), 0, 0, 0, TOP, 1 << 15]);

        [domain, device, words(&entry)].concat()
    };
    let legacy = {
        let mut entry = [0; PASID_ENTRY_WORDS];

        entry[0] = TOP | 1;
        entry[1] = (u64::from(DID) << 8) | 2;
        entry
    };

    for bytes in [
        good(1, legacy),
        good(1, second_stage_entry(3)),
        good(2, first_stage_entry(3)),
    ] {
        assert!(fuzz_intel(&bytes));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();

            flipped[bit / 8] ^= 1 << (bit % 8);
            fuzz_intel(&flipped);
        }
        assert!(!fuzz_intel(&bytes[1..]));
    }
}
