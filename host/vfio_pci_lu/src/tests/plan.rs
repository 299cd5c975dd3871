// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the plan.

use super::address;
use crate::plan::{
    can_finish,
    can_preserve,
    freeze,
    preserve,
    Activity,
    Kind,
    Lost,
    Obstacles,
    Owner,
    Progress,
    Refusal,
    Treatment,
    Unfit,
    Unkept, //
};
use kernel::{
    fmt::Adapter,
    prelude::EINVAL, //
};

const BOTH: [bool; 2] = [false, true];

#[test]
fn preserves_exactly_one_kind_of_file() {
    let mut accepted = Vec::new();

    for by_group in BOTH {
        for by_vfio_pci in BOTH {
            for no_iommu in BOTH {
                for virtual_function in BOTH {
                    for intel_display in BOTH {
                        let kind = Kind {
                            by_group,
                            by_vfio_pci,
                            no_iommu,
                            virtual_function,
                            intel_display,
                        };

                        if can_preserve(kind).is_ok() {
                            accepted.push(kind);
                        }
                    }
                }
            }
        }
    }

    assert_eq!(
        accepted,
        [Kind {
            by_group: false,
            by_vfio_pci: true,
            no_iommu: false,
            virtual_function: false,
            intel_display: false,
        }]
    );
}

#[test]
fn says_why_a_kind_of_file_is_not_preserved() {
    let good = Kind {
        by_group: false,
        by_vfio_pci: true,
        no_iommu: false,
        virtual_function: false,
        intel_display: false,
    };

    for (change, unfit, remedy) in [
        (
            (|kind| kind.by_vfio_pci = false) as fn(&mut Kind),
            Unfit::OtherDriver,
            "bind it to vfio-pci",
        ),
        (
            |kind| kind.by_group = true,
            Unfit::ByGroup,
            "open its character device",
        ),
        (|kind| kind.no_iommu = true, Unfit::NoIommu, "turn that on"),
        (
            |kind| kind.virtual_function = true,
            Unfit::VirtualFunction,
            "assign the physical one",
        ),
        (
            |kind| kind.intel_display = true,
            Unfit::IntelDisplay,
            "detach it",
        ),
    ] {
        let mut kind = good;

        change(&mut kind);
        assert_eq!(can_preserve(kind), Err(unfit));
        assert!(unfit.explain().contains(remedy), "{unfit:?}");
    }
}

#[test]
fn preserves_a_device_that_stays_and_that_nobody_else_can_reach() {
    for going_away in BOTH {
        for dma_bufs in BOTH {
            let obstacles = Obstacles {
                going_away,
                dma_bufs,
            };

            // Closing the dma-bufs would be in vain.
            let expected = match (going_away, dma_bufs) {
                (true, _) => Err(Refusal::GoingAway),
                (false, true) => Err(Refusal::DmaBufs),
                (false, false) => Ok(()),
            };

            assert_eq!(preserve(obstacles), expected);
        }
    }
}

/// What each bit stands for is a reason to refuse, in the order in which they are told.
fn activity(owner: Owner, bits: u32) -> Activity {
    let bit = |n: u32| bits & (1 << n) != 0;

    Activity {
        owner,
        going_away: bit(0),
        interrupts: bit(1),
        ioeventfds: bit(2),
        dma_bufs: bit(3),
        in_d0: !bit(4),
        leaves_group: bit(5),
        lost_translation: bit(6),
    }
}

#[test]
fn freezes_a_quiet_device_in_d0_and_no_other() {
    for bits in 0..1 << 7 {
        let bit = |n: u32| bits & (1 << n) != 0;
        let activity = activity(Owner::Present, bits);

        // The first that user space, or the administrator, has to do something about.
        let expected = match (0..7).find(|&n| bit(n)) {
            Some(0) => Err(Refusal::GoingAway),
            Some(1) => Err(Refusal::Interrupts),
            Some(2) => Err(Refusal::Ioeventfds),
            Some(3) => Err(Refusal::DmaBufs),
            Some(4) => Err(Refusal::PowerState),
            Some(5) => Err(Refusal::Group),
            Some(_) => Err(Refusal::Translation),
            None => Ok(Treatment::LeftAlone),
        };

        assert_eq!(freeze(activity), expected);
    }
}

#[test]
fn nobody_refuses_for_an_owner_that_is_gone() {
    for owner in [Owner::Gone, Owner::NeverBound] {
        for bits in 0..1 << 7 {
            let bit = |n: u32| bits & (1 << n) != 0;
            let left_on = bit(1) || bit(2) || bit(4);
            let treatment = match owner {
                Owner::Gone => Treatment::Quiesced { left_on },
                _ => Treatment::LeftAlone,
            };

            // What others than the owner have to do something about.
            let expected = match [0, 3, 5, 6].into_iter().find(|&n| bit(n)) {
                Some(0) => Err(Refusal::GoingAway),
                Some(3) => Err(Refusal::DmaBufs),
                Some(5) => Err(Refusal::Group),
                Some(_) => Err(Refusal::Translation),
                None => Ok(treatment),
            };

            assert_eq!(freeze(activity(owner, bits)), expected);
        }
    }
}

#[test]
fn explains_each_refusal() {
    for (refusal, remedy) in [
        (Refusal::Operation, "try again"),
        (Refusal::GoingAway, "unbound"),
        (Refusal::Interrupts, "VFIO_DEVICE_SET_IRQS"),
        (Refusal::Ioeventfds, "VFIO_DEVICE_IOEVENTFD"),
        (Refusal::DmaBufs, "close the dma-bufs"),
        (Refusal::PowerState, "low power state"),
        (Refusal::Asleep, "drop its session"),
        (Refusal::Group, "preserve that"),
        (Refusal::Topology, "try again"),
        (Refusal::Translation, "preserve it again"),
    ] {
        assert!(refusal.explain().contains(remedy), "{refusal:?}");
    }
}

#[test]
fn says_why_a_file_is_lost_and_which_device_it_was() {
    let address = address(0, 0x0108);

    for (lost, text) in [
        (
            Lost::Record,
            "its record is not in memory that was handed over, finish the session",
        ),
        (
            Lost::Length,
            "its record is longer than those of its name, finish the session",
        ),
        (
            Lost::Address,
            "its record names an address that there cannot be, finish the session",
        ),
        (
            Lost::Missing(address),
            "there is no device 0000:01:01.0, retrieve it again if it comes, or finish the session",
        ),
        (
            Lost::NotPreserved(address),
            "0000:01:01.0 was not preserved for it, finish the session",
        ),
        (
            Lost::NotBound(address),
            "0000:01:01.0 is not bound, bind it to vfio-pci and retrieve it again",
        ),
        (
            Lost::Barred(address),
            "no driver may bind to 0000:01:01.0 before the session is finished, finish it",
        ),
        (
            Lost::NoFile(address),
            "there cannot be another file of 0000:01:01.0 now, retrieve it again",
        ),
        (
            Lost::NotOpened(address),
            "0000:01:01.0 cannot be opened, finish the session",
        ),
    ] {
        assert_eq!(Adapter(&lost).to_string(), text);
    }
}

#[test]
fn finishes_what_is_bound_or_lost_and_says_what_else_is_missing() {
    let mut said = Vec::new();

    for (progress, missing) in [
        (Progress::NotRetrieved, Some("was not retrieved")),
        (Progress::Waiting, Some("retrieve it again")),
        (Progress::Failed, None),
        (Progress::Unbound, Some("bound to no iommufd")),
        (Progress::Unattached, Some("attached to nothing")),
        (Progress::Bound, None),
    ] {
        let text = progress.missing();

        assert_eq!(can_finish(progress), missing.is_none(), "{progress:?}");
        assert_eq!(text.is_some(), missing.is_some(), "{progress:?}");
        if let (Some(text), Some(missing)) = (text, missing) {
            assert!(text.contains(missing), "{progress:?}: {text}");
            said.push(text);
        }
    }

    // Each says something else.
    said.sort_unstable();
    said.dedup();
    assert_eq!(said.len(), 4);
}

#[test]
fn says_what_to_do_about_each_attachment_but_not_when_it_gave_way() {
    let mut said = [
        Unkept::Unmarked,
        Unkept::Order,
        Unkept::Pasids,
        Unkept::Busy,
        Unkept::OtherFile,
        Unkept::Iommu(EINVAL),
    ]
    .map(|unkept| unkept.explain().expect("something"))
    .to_vec();

    said.sort_unstable();
    said.dedup();
    assert_eq!(said.len(), 6);
    assert_eq!(Unkept::GaveWay(EINVAL).explain(), None);
}
