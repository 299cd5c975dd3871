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

                        if can_preserve(kind) {
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
fn freezes_a_quiet_device_in_d0_and_no_other() {
    for going_away in BOTH {
        for interrupts in BOTH {
            for ioeventfds in BOTH {
                for in_d0 in BOTH {
                    let activity = Activity {
                        going_away,
                        interrupts,
                        ioeventfds,
                        in_d0,
                    };

                    // The first that user space, or the administrator, has to do something about.
                    let expected = match (going_away, interrupts, ioeventfds, in_d0) {
                        (true, ..) => Err(Refusal::GoingAway),
                        (_, true, ..) => Err(Refusal::Interrupts),
                        (_, _, true, _) => Err(Refusal::Ioeventfds),
                        (.., false) => Err(Refusal::PowerState),
                        _ => Ok(()),
                    };

                    assert_eq!(freeze(activity), expected);
                }
            }
        }
    }
}

#[test]
fn explains_each_refusal() {
    assert!(Refusal::Interrupts
        .explain()
        .contains("VFIO_DEVICE_SET_IRQS"));
    assert!(Refusal::Ioeventfds
        .explain()
        .contains("VFIO_DEVICE_IOEVENTFD"));
    assert!(Refusal::PowerState.explain().contains("D0"));
    assert!(Refusal::Operation.explain().contains("try again"));
    assert!(Refusal::GoingAway.explain().contains("unbound"));
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
