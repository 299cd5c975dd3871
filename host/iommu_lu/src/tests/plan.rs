// SPDX-License-Identifier: GPL-2.0

//! What is claimed of decisions.

use crate::{
    entries::{
        BadRecord,
        Kind,
        RawDevMapSer,
        RawDeviceIntelSer,
        RawDeviceSer,
        RawDomainSer,
        RawHdrSer,
        RawHwSer, //
    },
    plan::{
        self,
        header,
        DeviceEntry,
        DomainEntry,
        DomainUse,
        Incoming,
        IommuEntry,
        IommuUse,
        Member,
        Owner,
        Pending,
        Refusal,
        Which, //
    },
};
use kernel::{
    liveupdate::pci::{
        Address,
        RawAddress, //
    },
    prelude::*, //
};
use proptest::prelude::*;
use std::collections::HashSet;
use zerocopy::FromZeros;

const IOMMU: u64 = 0x1000;
const TOKEN: u64 = 0xfed9_0000;
const FIRST: u64 = 0x2010;
const SECOND: u64 = 0x2038;

/// A domain of this kernel, by the record that it was made of.
#[derive(Debug, PartialEq, Eq)]
struct Made(u64);

fn address(bdf: u16) -> Address {
    RawAddress { domain: 0, bdf }.try_into().unwrap()
}

fn device(bdf: u16, domain_phys: u64) -> RawDeviceSer {
    RawDeviceSer {
        hdr: header(0),
        devid: bdf.into(),
        pci_domain_nr: 0,
        map: RawDevMapSer {
            attachment_id: 7,
            domain_phys,
            iommu_phys: IOMMU,
        },
        dma_owner_token: 1,
        intel: RawDeviceIntelSer {
            pasid_table: 0,
            max_pasid: 0,
        },
    }
}

fn domain(users: u32) -> RawDomainSer {
    RawDomainSer {
        hdr: header(users),
        top_table_phys: 0x1234_5000,
        nr_tables: 9,
        format: 1,
        features: 0,
        top_level: 3,
        vasz: 48,
    }
}

/// The lists, in memory of the host.
struct Lists {
    iommus: Vec<IommuEntry>,
    domains: Vec<DomainEntry<Made>>,
    devices: Vec<DeviceEntry>,
    by_domain: Vec<usize>,
    by_iommu: Vec<usize>,
}

impl Lists {
    fn of(devices: &[RawDeviceSer], domains: &[(u64, RawDomainSer)]) -> Self {
        let mut devices: Vec<_> = devices
            .iter()
            .enumerate()
            .map(|(number, raw)| DeviceEntry::new(0x3000 + number as u64, *raw))
            .collect();
        plan::sort_devices(&mut devices);

        let mut by_domain: Vec<_> = (0..devices.len()).collect();
        let mut by_iommu = by_domain.clone();
        plan::sort_indices(&mut by_domain, &devices, DeviceEntry::domain_phys);
        plan::sort_indices(&mut by_iommu, &devices, DeviceEntry::iommu_phys);

        let iommu = RawHwSer {
            token: TOKEN,
            type_: Kind::Intel as u64,
            ..RawHwSer::new_zeroed()
        };
        let domains = domains.iter().map(|(phys, raw)| {
            let users = plan::count_users(&by_domain, &devices, *phys);

            DomainEntry::new(*phys, *raw, users)
        });

        let other = RawHwSer {
            token: TOKEN - 1,
            ..iommu
        };
        let mut iommus = vec![
            IommuEntry::new(IOMMU, iommu),
            IommuEntry::new(0x1008, other),
        ];
        plan::sort_iommus(&mut iommus);

        let mut domains: Vec<_> = domains.collect();
        let mut by_top: Vec<_> = (0..domains.len()).collect();
        plan::refuse_shared_tables(&mut domains, &mut by_top);

        Self {
            iommus,
            domains,
            devices,
            by_domain,
            by_iommu,
        }
    }

    /// Two devices that share a domain, and one that has another.
    fn example() -> Self {
        Self::of(
            &[
                device(0x300, SECOND),
                device(0x100, FIRST),
                device(0x200, FIRST),
            ],
            &[
                (FIRST, domain(2)),
                (
                    SECOND,
                    RawDomainSer {
                        top_table_phys: 0x5678_9000,
                        ..domain(1)
                    },
                ),
            ],
        )
    }

    fn lists(&mut self) -> Incoming<'_, Made> {
        Incoming {
            iommus: &mut self.iommus,
            domains: &mut self.domains,
            devices: &mut self.devices,
            by_domain: &self.by_domain,
            by_iommu: &self.by_iommu,
        }
    }

    /// Does what the kernel does when a device is probed. Returns which domain it gets.
    fn restore(&mut self, bdf: u16) -> Result<u64, Refusal> {
        let mut lists = self.lists();

        let is_incoming = lists.place(address(bdf)) != Err(Refusal::NotIncoming);
        assert_eq!(lists.has(address(bdf)), is_incoming);
        let place = lists.place(address(bdf))?;
        let entry = &mut lists.domains[place.domain];
        if entry.made().is_none() {
            entry.check()?;
            assert_eq!(entry.raw().format, 1);
            entry.set_made(Made(place.domain as u64));
        }
        let made = entry.made().unwrap().0;

        lists.set_restored(place);
        Ok(made)
    }

    /// Returns all devices that are to be ended, as the kernel asks for them.
    fn pending(&mut self, which: Which, is_there: impl Fn(Address) -> bool) -> Vec<Pending> {
        let mut from = 0;
        let mut all = Vec::new();

        while let Some(pending) = self.lists().next_pending(which, from, &is_there) {
            from = pending.at + 1;
            all.push(pending);
        }
        all
    }

    /// Returns where the devices of a domain are, as the kernel asks for them.
    fn devices_of(&mut self, domain_phys: u64, only_pending: bool) -> Vec<u16> {
        let mut number = 0;
        let mut bdfs = Vec::new();

        while let Some((at, address)) = self.lists().next_of(domain_phys, number, only_pending) {
            number = at + 1;
            bdfs.push(address.bdf());
        }
        bdfs
    }

    /// Returns how many page tables the kernel frees.
    fn take_tables(&mut self, which: Which) -> usize {
        let mut from = 0;
        let mut count = 0;

        while self.lists().take_tables(which, &mut from).is_some() {
            count += 1;
        }
        count
    }
}

#[test]
fn devices_that_shared_a_domain_share_it_again() {
    let mut lists = Lists::example();

    assert_eq!(lists.restore(0x200), Ok(0));
    assert_eq!(lists.restore(0x100), Ok(0));
    assert_eq!(lists.restore(0x300), Ok(1));
    assert_eq!(lists.restore(0x400), Err(Refusal::NotIncoming));
}

#[test]
fn what_cannot_be_believed_is_refused() {
    let refused = |device: RawDeviceSer, domain: RawDomainSer| {
        Lists::of(&[device], &[(FIRST, domain)])
            .restore(0x100)
            .err()
    };
    let good = device(0x100, FIRST);

    assert_eq!(refused(good, domain(1)), None);
    assert_eq!(
        refused(device(0x100, SECOND), domain(1)),
        Some(Refusal::NoDomain)
    );
    assert_eq!(
        refused(good, domain(0)),
        Some(Refusal::Record(BadRecord::Users(1)))
    );
    let flags = RawHdrSer {
        ref_count: 1,
        flags: 4,
    };
    assert_eq!(
        refused(RawDeviceSer { hdr: flags, ..good }, domain(1)),
        Some(Refusal::Record(BadRecord::Bits(4)))
    );
    let level = RawDomainSer {
        top_level: 9,
        ..domain(1)
    };
    assert!(matches!(
        refused(good, level),
        Some(Refusal::Record(BadRecord::Format { level: 9, .. }))
    ));
}

#[test]
fn domain_is_freed_with_the_last_device_that_had_it() {
    let mut lists = Lists::example();

    lists.restore(0x100).unwrap();
    lists.restore(0x200).unwrap();
    assert_eq!(lists.lists().finish(address(0x100)), None);
    assert_eq!(lists.lists().finish(address(0x200)), Some(Made(0)));

    // It ended, and does so once.
    assert_eq!(lists.lists().finish(address(0x200)), None);
    assert_eq!(lists.restore(0x200), Err(Refusal::NotIncoming));
    assert!(!lists.lists().has(address(0x200)));
}

#[test]
fn domain_stays_for_a_device_that_comes_late() {
    let mut lists = Lists::example();

    lists.restore(0x100).unwrap();
    assert_eq!(lists.lists().finish(address(0x100)), None);
    assert_eq!(lists.restore(0x200), Ok(0));
    assert_eq!(lists.lists().finish(address(0x200)), Some(Made(0)));
}

#[test]
fn domain_that_a_device_did_not_get_is_not_counted() {
    let mut lists = Lists::example();

    lists.restore(0x300).unwrap();
    lists.lists().give_up(address(0x300));
    lists.lists().give_up(address(0x300));
    assert_eq!(lists.lists().finish(address(0x300)), Some(Made(1)));
}

#[test]
fn domain_is_given_once_and_not_before_it_was_made() {
    let mut lists = Lists::example();

    // To ask too early is no claim to it.
    assert_eq!(lists.lists().give(SECOND), None);
    lists.restore(0x300).unwrap();
    assert_eq!(lists.lists().give(SECOND), Some(&Made(1)));
    assert_eq!(lists.lists().give(SECOND), None);

    // Others are not given with it, and there is nothing to give where no record was.
    assert_eq!(lists.lists().give(FIRST), None);
    assert_eq!(lists.lists().give(FIRST + 1), None);
    lists.restore(0x100).unwrap();
    assert_eq!(lists.lists().give(FIRST), Some(&Made(0)));
}

#[test]
fn domain_that_was_freed_is_not_given() {
    let mut lists = Lists::example();

    lists.restore(0x300).unwrap();
    assert_eq!(lists.lists().finish(address(0x300)), Some(Made(1)));
    assert_eq!(lists.lists().give(SECOND), None);
}

#[test]
fn domain_that_was_given_is_not_freed_with_its_last_device() {
    let mut lists = Lists::example();

    lists.restore(0x100).unwrap();
    lists.restore(0x200).unwrap();
    lists.restore(0x300).unwrap();
    assert_eq!(lists.lists().finish(address(0x100)), None);
    // Whoever it is given to may ask late.
    assert!(lists.lists().give(FIRST).is_some());
    assert_eq!(lists.lists().finish(address(0x200)), None);
    assert_eq!(lists.lists().give(FIRST), None);
    // Nor are its tables, which it has.
    assert_eq!(lists.take_tables(Which::At(FIRST)), 0);

    // Another one is none of theirs.
    assert_eq!(lists.lists().finish(address(0x300)), Some(Made(1)));
}

#[test]
fn domain_that_was_given_has_the_devices_that_come_late() {
    let mut lists = Lists::example();

    lists.restore(0x100).unwrap();
    assert!(lists.lists().give(FIRST).is_some());
    assert_eq!(lists.restore(0x200), Ok(0));
    lists.lists().give_up(address(0x100));
    lists.lists().give_up(address(0x200));
    assert_eq!(lists.lists().finish(address(0x100)), None);
    assert_eq!(lists.lists().finish(address(0x200)), None);
}

#[test]
fn domain_that_was_given_is_kept_when_the_records_go() {
    let mut lists = Lists::example();

    lists.restore(0x100).unwrap();
    lists.restore(0x300).unwrap();
    assert!(lists.lists().give(FIRST).is_some());
    for bdf in [0x100, 0x300] {
        lists.lists().give_up(address(bdf));
    }

    let phys: Vec<_> = lists.domains.iter().map(DomainEntry::phys).collect();
    assert_eq!(phys, [FIRST, SECOND]);
    // No device is attached to either.
    let left: Vec<_> = lists
        .domains
        .into_iter()
        .map(DomainEntry::into_made)
        .collect();
    assert_eq!(left, [Some((Made(0), true)), Some((Made(1), false))]);
}

#[test]
fn tables_are_freed_when_no_device_needs_them() {
    let mut lists = Lists::example();

    assert_eq!(lists.take_tables(Which::Lost), 0);
    lists.lists().finish(address(0x100));
    assert_eq!(lists.take_tables(Which::At(FIRST)), 0);
    lists.lists().finish(address(0x200));
    assert_eq!(lists.take_tables(Which::At(SECOND)), 0);
    assert_eq!(lists.take_tables(Which::At(FIRST)), 1);
    assert_eq!(lists.take_tables(Which::At(FIRST)), 0);

    // Those of a domain that was made are the domain's.
    lists.restore(0x300).unwrap();
    lists.lists().finish(address(0x300));
    assert_eq!(lists.take_tables(Which::Lost), 0);
}

#[test]
fn tables_that_cannot_be_believed_stay_reserved() {
    let mut lists = Lists::of(&[device(0x100, FIRST)], &[(FIRST, domain(0))]);

    lists.lists().finish(address(0x100));
    assert_eq!(lists.take_tables(Which::Lost), 0);
}

#[test]
fn tables_that_two_domains_begin_with_are_neither_used_nor_freed() {
    let devices = [device(0x100, FIRST), device(0x300, SECOND)];
    let more = RawDomainSer {
        nr_tables: 10,
        ..domain(1)
    };
    let mut lists = Lists::of(&devices, &[(FIRST, domain(1)), (SECOND, more)]);

    for bdf in [0x100, 0x300] {
        let refused = Refusal::Record(BadRecord::Shared(more.top_table_phys));

        assert_eq!(lists.restore(bdf), Err(refused));
        lists.lists().finish(address(bdf));
    }
    assert_eq!(lists.take_tables(Which::Lost), 0);

    // Nor are those of a domain that no device has, and that another one begins with.
    let mut lists = Lists::of(&devices[..1], &[(FIRST, domain(1)), (SECOND, domain(0))]);
    assert_eq!(lists.take_tables(Which::At(SECOND)), 0);
}

#[test]
fn passages_end_of_the_domains_that_are_meant() {
    let mut lists = Lists::example();
    let owner = Owner::new(5);
    let bdfs = |pending: Vec<Pending>| -> Vec<_> {
        pending
            .iter()
            .map(|one| one.address.unwrap().bdf())
            .collect()
    };

    lists.lists().set_owner(SECOND, owner);
    assert_eq!(
        bdfs(lists.pending(Which::At(FIRST), |_| true)),
        [0x100, 0x200]
    );
    assert_eq!(
        bdfs(lists.pending(Which::OwnedBy(owner.unwrap()), |_| true)),
        [0x300]
    );
    assert_eq!(
        bdfs(lists.pending(Which::OwnedBy(Owner::new(6).unwrap()), |_| true)),
        []
    );

    // Of those that are lost, only what is not found.
    assert_eq!(bdfs(lists.pending(Which::Lost, |_| true)), []);
    assert_eq!(
        bdfs(lists.pending(Which::Lost, |at| at.bdf() != 0x200)),
        [0x200]
    );
    for pending in lists.pending(Which::Lost, |_| false) {
        assert_eq!(pending.iommu, Some((Kind::Intel, TOKEN)));
        assert!(pending.is_beyond_reach);
    }
}

#[test]
fn device_that_was_asked_about_can_be_stopped() {
    let mut lists = Lists::example();

    assert_eq!(lists.lists().beyond_reach(|_| true), None);
    assert!(lists.lists().has(address(0x100)));
    assert!(lists.lists().has(address(0x200)));
    // It was there, and is so no more.
    assert_eq!(lists.lists().beyond_reach(|_| false), Some(address(0x300)));
    lists.lists().finish(address(0x300));
    assert_eq!(lists.lists().beyond_reach(|_| false), None);
}

#[test]
fn memory_is_kept_while_an_iommu_is_not_contained() {
    let mut lists = Lists::example();

    assert_eq!(lists.lists().uncontained(), Some(TOKEN));
    lists.lists().set_contained(Kind::Intel, TOKEN + 1);
    assert_eq!(lists.lists().uncontained(), Some(TOKEN));
    lists.lists().set_contained(Kind::Intel, TOKEN);
    assert_eq!(lists.lists().uncontained(), None);

    // Nothing that ended needs an IOMMU.
    let mut lists = Lists::example();
    for bdf in [0x100, 0x200, 0x300] {
        assert!(lists.lists().unfinished().is_some());
        lists.lists().finish(address(bdf));
    }
    assert_eq!(lists.lists().uncontained(), None);
    assert_eq!(lists.lists().unfinished(), None);
}

#[test]
fn devices_of_a_domain_are_found_one_by_one() {
    let mut lists = Lists::example();

    for only_pending in [false, true] {
        assert_eq!(lists.devices_of(FIRST, only_pending), [0x100, 0x200]);
        assert_eq!(lists.devices_of(SECOND, only_pending), [0x300]);
        assert_eq!(lists.devices_of(0, only_pending), []);
    }
    let all: Vec<_> = lists.lists().addresses().map(|at| at.bdf()).collect();
    assert_eq!(all, [0x100, 0x200, 0x300]);
}

#[test]
fn devices_whose_passage_has_ended_are_found_only_by_who_asks_for_them() {
    let mut lists = Lists::example();

    lists.lists().finish(address(0x100));
    assert_eq!(lists.devices_of(FIRST, true), [0x200]);
    assert_eq!(lists.devices_of(FIRST, false), [0x100, 0x200]);
    assert_eq!(lists.devices_of(SECOND, true), [0x300]);

    // Numbers do not change meanwhile.
    let next = lists.lists().next_of(FIRST, 0, true);
    assert_eq!(next, Some((1, address(0x200))));
    assert_eq!(lists.lists().next_of(FIRST, 1, true), next);
    assert_eq!(lists.lists().next_of(FIRST, 2, true), None);

    lists.lists().finish(address(0x200));
    assert_eq!(lists.devices_of(FIRST, true), []);
    assert_eq!(lists.devices_of(FIRST, false), [0x100, 0x200]);
}

#[test]
fn device_without_a_domain_is_translated_by_nobody() {
    let mut lists = Lists::of(&[device(0x100, SECOND)], &[(FIRST, domain(0))]);

    assert_eq!(lists.lists().unfinished(), None);
    assert_eq!(lists.lists().beyond_reach(|_| false), None);
}

#[test]
fn driver_gets_the_records_of_its_devices() {
    let mut lists = Lists::example();
    let lists = lists.lists();
    let (phys, raw) = lists.iommu(Kind::Intel, TOKEN).unwrap();

    assert_eq!((phys, raw.token), (IOMMU, TOKEN));
    assert!(lists.iommu(Kind::Intel, TOKEN + 1).is_none());
    let behind: Vec<_> = lists.devices_behind(phys).collect();
    assert_eq!(behind.len(), 3);
    assert!(behind.iter().all(|(_, domain)| domain.is_some()));
    assert_eq!(lists.devices_behind(phys + 1).count(), 0);
}

#[test]
fn domain_of_which_devices_are_preserved_stays_preserved() {
    let mut domain = DomainUse::new();

    assert!(!domain.is_preserved());
    assert_eq!(domain.take_tables(), None);
    domain.set_preserved(9);
    assert_eq!(domain.add_device().ref_count, 2);
    assert_eq!(domain.add_device().ref_count, 3);
    assert_eq!(domain.take_tables(), None);
    assert_eq!(domain.remove_device().ref_count, 2);
    assert_eq!(domain.remove_device().ref_count, 1);
    assert_eq!(domain.take_tables(), Some(9));
    assert_eq!(domain.take_tables(), None);
    assert!(!domain.is_preserved());
}

#[test]
fn iommu_is_preserved_until_its_last_device_is_not() {
    let mut iommu = IommuUse::FIRST;

    iommu.add().unwrap();
    assert!(!iommu.remove());
    assert!(iommu.remove());
}

#[test]
fn group_is_whole_if_all_go_on_with_one_domain() {
    assert!(Member::GoesOn(1).lets_go_on_with(&1));
    assert!(Member::Bridge.lets_go_on_with(&1));
    assert!(!Member::GoesOn(2).lets_go_on_with(&1));
    assert!(!Member::Stays.lets_go_on_with(&1));
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Restore(u16),
    GiveUp(u16),
    Finish(u16),
    Give(u64),
}

/// Returns where the record of a domain was that is made, and which devices have it.
fn of_made(domain: u64) -> (u64, &'static [u16]) {
    match domain {
        0 => (FIRST, &[0x100, 0x200]),
        _ => (SECOND, &[0x300]),
    }
}

proptest! {
    #![proptest_config(testing::config())]

    /// Whatever happens in whatever order, a domain is freed once, by who it was given to if it was, and
    /// not while a device has it otherwise.
    #[test]
    fn each_domain_is_freed_once_and_when_nobody_has_it(
        events in prop::collection::vec(
            (0u16..4, 1u16..4).prop_map(|(kind, number)| match kind {
                0 => Event::Restore(number << 8),
                1 => Event::GiveUp(number << 8),
                2 => Event::Finish(number << 8),
                _ => Event::Give(if number == 3 { SECOND } else { FIRST }),
            }),
            0..40,
        ),
    ) {
        let mut lists = Lists::example();
        let mut attached = HashSet::new();
        let mut freed = HashSet::new();
        let mut given = HashSet::new();

        for event in events {
            match event {
                Event::Restore(bdf) => {
                    // A device is attached once.
                    if !attached.contains(&bdf) && lists.restore(bdf).is_ok() {
                        attached.insert(bdf);
                    }
                }
                Event::GiveUp(bdf) => {
                    lists.lists().give_up(address(bdf));
                    attached.remove(&bdf);
                }
                Event::Finish(bdf) => {
                    attached.remove(&bdf);
                    if let Some(Made(domain)) = lists.lists().finish(address(bdf)) {
                        prop_assert!(freed.insert(domain));
                        prop_assert!(!given.contains(&domain));
                        prop_assert!(of_made(domain).1.iter().all(|bdf| !attached.contains(bdf)));
                    }
                }
                Event::Give(phys) => {
                    if let Some(Made(domain)) = lists.lists().give(phys) {
                        prop_assert_eq!(of_made(*domain).0, phys);
                        prop_assert!(given.insert(*domain));
                        prop_assert!(!freed.contains(domain));
                    }
                }
            }
        }
        // What is left is the group's that it is attached to, or whose it was given to, or nobody's.
        for domain in lists.domains {
            if let Some((Made(domain), is_others)) = domain.into_made() {
                prop_assert!(!freed.contains(&domain));
                let is_attached = of_made(domain).1.iter().any(|bdf| attached.contains(bdf));
                let was_given = given.remove(&domain);
                prop_assert_eq!(is_others, is_attached || was_given);
            }
        }
        // None that was given is forgotten.
        prop_assert!(given.is_empty());
    }

    /// Asking for devices in whatever state finds those that had the domain, in one order.
    #[test]
    fn ended_passages_are_left_out_and_nothing_else(
        finished in prop::collection::vec((1u16..5).prop_map(|number| number << 8), 0..5),
    ) {
        let mut lists = Lists::example();

        for bdf in &finished {
            lists.lists().finish(address(*bdf));
        }
        for domain in [0, 1] {
            let (phys, all) = of_made(domain);
            let mut pending = all.to_vec();

            pending.retain(|bdf| !finished.contains(bdf));
            prop_assert_eq!(lists.devices_of(phys, false), all);
            prop_assert_eq!(lists.devices_of(phys, true), pending);
        }
    }
}
