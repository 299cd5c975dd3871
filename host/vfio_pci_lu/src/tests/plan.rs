// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the plan.

use crate::plan::{
    can_finish,
    can_preserve,
    freeze,
    Activity,
    Kind,
    Progress,
    Refusal, //
};

const BOTH: [bool; 2] = [false, true];

#[test]
fn preserves_exactly_one_kind_of_file() {
    let mut accepted = Vec::new();

    for by_group in BOTH {
        for by_vfio_pci in BOTH {
            for virtual_function in BOTH {
                for intel_display in BOTH {
                    let kind = Kind {
                        by_group,
                        by_vfio_pci,
                        virtual_function,
                        intel_display,
                    };

                    if can_preserve(kind) {
                        accepted.push(kind);
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
            virtual_function: false,
            intel_display: false,
        }]
    );
}

#[test]
fn freezes_a_device_in_d0_without_interrupts_and_no_other() {
    for (interrupts, in_d0, expected) in [
        (false, true, Ok(())),
        (false, false, Err(Refusal::PowerState)),
        (true, true, Err(Refusal::Interrupts)),
        // User space can do something about interrupts only.
        (true, false, Err(Refusal::Interrupts)),
    ] {
        assert_eq!(freeze(Activity { interrupts, in_d0 }), expected);
    }
}

#[test]
fn explains_each_refusal() {
    assert!(Refusal::Interrupts
        .explain()
        .contains("VFIO_DEVICE_SET_IRQS"));
    assert!(Refusal::PowerState.explain().contains("D0"));
}

#[test]
fn finishes_what_is_bound_or_lost_for_good() {
    for (progress, expected) in [
        (Progress::NotRetrieved, false),
        (Progress::Failed, true),
        (Progress::Unbound, false),
        (Progress::Bound, true),
    ] {
        assert_eq!(can_finish(progress), expected);
    }
}
