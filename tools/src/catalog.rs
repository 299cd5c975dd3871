// SPDX-License-Identifier: GPL-2.0

//! The VM tests.

use std::time::Duration;

use crate::damage::{Damage, Part};
use crate::judges;
use crate::kernel::Variant;
use crate::machine::{Backend, Device, Machine, Slot};
use crate::vm::{Do, End, Stage, VmTest};

/// An `igb`, alone behind its root port.
const IGB: Machine = Machine { slots: &[plain("igb")], ..Machine::PLAIN };

/// The same, fed with frames from outside, under QEMU's eyes.
const FED_IGB: Machine = Machine {
    // So that there is memory at the test's IOVA: without translation, as while one kernel has
    // turned it off and the next one not yet on, a NIC that was not stopped finds descriptors
    // there, and writes.
    memory: "6G",
    slots: &[Slot::Device(Device { model: "igb", backend: Backend::Frames })],
    traces: &[
        "pci_cfg_write",
        "igb_rx_desc_buff_write",
        "vtd_dmar_fault",
        "vtd_dmar_enable",
        "vtd_reg_write_gcmd",
    ],
    ..Machine::PLAIN
};

/// An `igb` at the end of a wire for numbered frames.
const WIRED_IGB: Device = Device { model: "igb", backend: Backend::Wire };

/// One of these, and what its IOMMU does.
const WITNESS: Machine = Machine {
    slots: &[Slot::Device(WIRED_IGB)],
    traces: &[
        "pci_cfg_write",
        "igb_rx_desc_buff_write",
        "vtd_dmar_fault",
        "vtd_dmar_enable",
        "vtd_reg_dmar_root",
        "vtd_ir_enable",
    ],
    ..FED_IGB
};

/// The same with an IOMMU that has these properties.
const fn witness_behind(iommu: &'static str) -> Machine {
    Machine { iommu, ..WITNESS }
}

/// Has the device at this address go on doing DMA.
macro_rules! preserve_running {
    ($bdf:literal) => {
        preserve_running!($bdf, "")
    };
    ($bdf:literal, $options:literal) => {
        Stage {
            commands: &[
                Do::Need(concat!("vfio/scripts/setup.sh ", $bdf)),
                Do::Test(concat!(
                    "vfio/vfio_pci_liveupdate_witness_test --stage 1 --running ",
                    $options,
                    " ",
                    $bdf
                )),
            ],
            ..Stage::MAIN
        }
    };
}

/// Takes it back.
macro_rules! retrieve_running {
    ($bdf:literal) => {
        retrieve_running!($bdf, "")
    };
    ($bdf:literal, $options:literal $(, $after:expr)?) => {
        Stage {
            commands: &[
                Do::Need(concat!("vfio/scripts/setup.sh ", $bdf)),
                Do::Test(concat!(
                    "vfio/vfio_pci_liveupdate_witness_test --stage 2 --running ",
                    $options,
                    " ",
                    $bdf
                )),
                Do::Need("vfio/scripts/cleanup.sh"),
                $(Do::Test($after),)?
            ],
            ..Stage::MAIN
        }
    };
}

/// A device that goes on doing DMA through the kexec, as numbered frames witness. In the end, all
/// groups have default domains of one type, as the command line says.
macro_rules! goes_on {
    ($name:literal, $about:literal, $machine:expr) => {
        goes_on!($name, $about, $machine, "0000:01:00.0", "", "DMA-FQ")
    };
    ($name:literal, $about:literal, $machine:expr, $bdf:literal, $cmdline:literal, $type:literal) => {
        VmTest {
            name: $name,
            about: concat!("an igb goes on writing frames through the kexec: ", $about),
            pitfalls: &["ee"],
            machine: $machine,
            stages: &[
                preserve_running!($bdf),
                Stage {
                    cmdline: $cmdline,
                    ..retrieve_running!(
                        $bdf,
                        "",
                        concat!("test \"$(sort -u /sys/kernel/iommu_groups/*/type)\" = ", $type)
                    )
                },
            ],
            timeout: Duration::from_secs(180),
            judge: Some(judges::running_witness),
        }
    };
}

/// Two of them in one IOMMU group, below a switch.
const TWO_OF_A_GROUP: Machine = Machine { slots: &[Slot::Group(&[WIRED_IGB; 2])], ..WITNESS };

/// Has both go on.
const PRESERVE_GROUP: Stage = Stage {
    commands: &[
        Do::Need("vfio/scripts/setup.sh 0000:03:00.0 0000:04:00.0"),
        Do::Need(
            "test /sys/bus/pci/devices/0000:03:00.0/iommu_group -ef \
             /sys/bus/pci/devices/0000:04:00.0/iommu_group",
        ),
        Do::Need("load_next"),
        Do::Test(
            "vfio/vfio_pci_liveupdate_witness_test --stage 1 --running --rate=100 \
             --partner=0000:04:00.0 0000:03:00.0",
        ),
    ],
    ..Stage::MAIN
};

/// Takes both back.
macro_rules! retrieve_group {
    ($options:literal) => {
        Stage {
            commands: &[
                Do::Need("vfio/scripts/setup.sh 0000:03:00.0 0000:04:00.0"),
                Do::Test(concat!(
                    "vfio/vfio_pci_liveupdate_witness_test --stage 2 --running --rate=100 ",
                    $options,
                    " --partner=0000:04:00.0 0000:03:00.0"
                )),
                Do::Need("vfio/scripts/cleanup.sh"),
            ],
            ..Stage::MAIN
        }
    };
}

/// Two such devices.
const TWO_WITNESSES: Machine = Machine { slots: &[WITNESS.slots[0]; 2], ..WITNESS };

/// Has the second of two devices, which go on, write to somewhere else.
macro_rules! attack {
    ($where:literal) => {
        Stage {
            commands: &[
                Do::Need("vfio/scripts/setup.sh 0000:01:00.0 0000:02:00.0"),
                Do::Test(concat!(
                    "vfio/vfio_pci_liveupdate_witness_test --stage 1 --running ",
                    $where,
                    " --other=0000:02:00.0 0000:01:00.0"
                )),
            ],
            ..Stage::MAIN
        }
    };
}

/// Six of them, whose memory can be changed from outside.
const SIX_WITNESSES: Machine =
    Machine { memory: "2G", slots: &[WITNESS.slots[0]; 6], is_open: true, ..WITNESS };

/// What is handed over of all but the first of six devices is changed: they are refused, and the
/// first one goes on.
macro_rules! damaged {
    ($name:literal, $iommu:literal, $what:literal; $($part:ident, $word:literal, $flip:literal;)*) => {
        VmTest {
            name: concat!("damaged-", $name),
            about: concat!("of five devices is changed what is handed over, a sixth goes on: ", $what),
            pitfalls: &["n", "r"],
            machine: Machine { iommu: $iommu, ..SIX_WITNESSES },
            stages: &[
                Stage {
                    commands: &[
                        Do::Need(
                            "vfio/scripts/setup.sh 0000:01:00.0 0000:02:00.0 0000:03:00.0 \
                             0000:04:00.0 0000:05:00.0 0000:06:00.0",
                        ),
                        Do::Test(
                            "vfio/vfio_pci_liveupdate_witness_test --stage 1 --running --rate 100 \
                             --other=0000:02:00.0 --other=0000:03:00.0 --other=0000:04:00.0 \
                             --other=0000:05:00.0 --other=0000:06:00.0 0000:01:00.0",
                        ),
                    ],
                    damage: &five([$((Part::$part, $word, $flip),)*]),
                    ..Stage::MAIN
                },
                retrieve_running!("0000:01:00.0"),
            ],
            timeout: Duration::from_secs(240),
            judge: Some(judges::running_beside_refused),
        }
    };
}

/// One of these for each device but the first.
const fn five(changes: [(Part, u64, u32); 5]) -> [Damage; 5] {
    const BDFS: [&str; 5] = ["02:00.0", "03:00.0", "04:00.0", "05:00.0", "06:00.0"];
    let mut all = [Damage { bdf: "", part: Part::Records, word: 0, flip: 0 }; 5];
    let mut index = 0;
    while index < all.len() {
        let (part, word, flip) = changes[index];
        all[index] = Damage { bdf: BDFS[index], part, word, flip };
        index += 1;
    }
    all
}

/// What is handed over of the unit that a device is behind is changed: nothing behind it goes on.
macro_rules! damaged_unit {
    ($name:literal, $part:ident, $word:literal, $flip:literal) => {
        VmTest {
            name: concat!("damaged-unit-", $name),
            about: concat!(
                "of an IOMMU is changed what is handed over, so all is stopped: ",
                $name
            ),
            pitfalls: &["n", "r"],
            machine: Machine { memory: "2G", is_open: true, ..WITNESS },
            stages: &[
                Stage {
                    damage: &[Damage {
                        bdf: "01:00.0",
                        part: Part::$part,
                        word: $word,
                        flip: $flip,
                    }],
                    ..preserve_running!("0000:01:00.0")
                },
                Stage { commands: &[Do::Need("sleep 2")], ..Stage::MAIN },
            ],
            timeout: Duration::from_secs(180),
            judge: Some(judges::stopped_first),
        }
    };
}

/// A next kernel that does not take over the IOMMU: it stops the device before it lets it loose.
macro_rules! stopped_first {
    ($name:literal, $cmdline:literal) => {
        VmTest {
            name: $name,
            about: concat!("a device that goes on is stopped by a next kernel with ", $cmdline),
            pitfalls: &["bb"],
            machine: WITNESS,
            stages: &[
                preserve_running!("0000:01:00.0"),
                Stage { cmdline: $cmdline, commands: &[Do::Need("sleep 2")], ..Stage::MAIN },
            ],
            timeout: Duration::from_secs(180),
            judge: Some(judges::stopped_first),
        }
    };
}

/// An NVMe controller with a disk.
const NVME: Machine = Machine {
    slots: &[Slot::Device(Device { model: "nvme", backend: Backend::Disk })],
    ..Machine::PLAIN
};

/// The same with a disk from which 512 reads take longer than a kexec, under QEMU's eyes.
const SLOW_NVME: Machine = Machine {
    slots: &[Slot::Device(Device { model: "nvme", backend: Backend::SlowDisk(50) })],
    traces: &["pci_cfg_write", "pci_nvme_enqueue_req_completion"],
    ..Machine::PLAIN
};

/// Fifteen devices, two of which have root ports: a debug kernel takes seconds for each.
const FIFTEEN_DEVICES: &[Slot] = &{
    let device = Device { model: "virtio-net-pci", backend: Backend::None };
    let mut slots = [Slot::Integrated(device); 15];
    slots[0] = Slot::Device(device);
    slots[1] = Slot::Device(device);
    slots
};

/// A device of this model, connected to nothing.
const fn plain(model: &'static str) -> Slot {
    Slot::Device(Device { model, backend: Backend::None })
}

/// What both kernels do with the device at this address on the main path.
macro_rules! main_path {
    ($bdf:literal) => {
        [
            Stage {
                commands: &[
                    Do::Need(concat!("vfio/scripts/setup.sh ", $bdf)),
                    Do::Test(concat!("vfio/vfio_pci_liveupdate_kexec_test --stage 1 ", $bdf)),
                ],
                ..Stage::MAIN
            },
            Stage {
                commands: &[
                    Do::Need(concat!("vfio/scripts/setup.sh ", $bdf)),
                    Do::Test(concat!("vfio/vfio_pci_liveupdate_kexec_test --stage 2 ", $bdf)),
                    Do::Need("vfio/scripts/cleanup.sh"),
                ],
                ..Stage::MAIN
            },
        ]
    };
}

/// The same with a device directly below the first root port.
const MAIN_PATH: &[Stage] = &main_path!("0000:01:00.0");

/// An `igb` below a switch, with others beside it: behind another root port, whose buses are numbered
/// first, and below the same switch, where they share its windows.
const SECOND_SWITCH: Machine = Machine {
    slots: &[
        plain("e1000e"),
        Slot::Switch(&[
            Device { model: "igb", backend: Backend::None },
            Device { model: "e1000e", backend: Backend::None },
        ]),
    ],
    ..Machine::PLAIN
};

/// The main path of that `igb`, where the next kernel has this command line.
const fn second_told(cmdline: &'static str) -> [Stage; 2] {
    let [first, second] = main_path!("0000:04:00.0");
    [first, Stage { cmdline, ..second }]
}

/// Preserves a memfd, an iommufd and a device.
const IOMMUFD_STAGE_1: &str =
    "iommu/iommufd_liveupdate_kexec_test --stage 1 /dev/vfio/devices/vfio0";

/// The three go through a live update.
const IOMMUFD: &[Stage] = &[
    Stage {
        commands: &[Do::Need("vfio/scripts/setup.sh 0000:01:00.0"), Do::Test(IOMMUFD_STAGE_1)],
        ..Stage::MAIN
    },
    Stage {
        commands: &[
            Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
            Do::Test("iommu/iommufd_liveupdate_kexec_test --stage 2"),
            Do::Need("vfio/scripts/cleanup.sh"),
        ],
        ..Stage::MAIN
    },
];

/// A NIC that translates by itself if the IOMMU lets it.
const ATS_NIC: Slot = plain("virtio-net-pci,ats=on,iommu_platform=on,disable-legacy=on");

/// It goes through a live update with a memfd and an iommufd.
const ATS: &[Stage] = &[
    Stage {
        commands: &[
            Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
            Do::Test(
                "iommu/iommufd_liveupdate_kexec_test --stage 1 --ats=0000:01:00.0 \
                 /dev/vfio/devices/vfio0",
            ),
        ],
        ..Stage::MAIN
    },
    Stage {
        commands: &[
            Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
            Do::Test("iommu/iommufd_liveupdate_kexec_test --stage 2 --ats=0000:01:00.0"),
            Do::Need("vfio/scripts/cleanup.sh"),
        ],
        ..Stage::MAIN
    },
];

/// The kernel's own test of a memfd, before and after a live update.
const LUO: &[Stage] = &[
    Stage { commands: &[Do::Test("liveupdate/luo_kexec_simple -s 1")], ..Stage::MAIN },
    Stage { commands: &[Do::Test("liveupdate/luo_kexec_simple -s 2")], ..Stage::MAIN },
];

/// Both in one kernel: after one live update, and before the next.
const LUO_AGAIN: Stage = Stage {
    commands: &[
        Do::Test("liveupdate/luo_kexec_simple -s 2"),
        Do::Test("liveupdate/luo_kexec_simple -s 1"),
    ],
    ..Stage::MAIN
};

/// The kernel's own test of libvfio's driver for the device at `0000:01:00.0`.
const DRIVER: &[Stage] = &[Stage {
    commands: &[
        // Each of its cases maps 1 GiB. In small pages this takes most of the time that a case
        // has, where processors are emulated.
        Do::Need("echo always >/sys/kernel/mm/transparent_hugepage/shmem_enabled"),
        Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
        Do::Test("vfio/vfio_pci_driver_test -v iommufd 0000:01:00.0"),
        Do::Need("vfio/scripts/cleanup.sh"),
    ],
    ..Stage::MAIN
}];

/// Two devices arrive, and are preserved for the next live update.
const TWO_AGAIN: Stage = Stage {
    commands: &[
        Do::Need("vfio/scripts/setup.sh 0000:01:00.0 0000:02:00.0"),
        Do::Test("vfio/vfio_pci_liveupdate_kexec_test --stage 2 --again 0000:01:00.0 0000:02:00.0"),
    ],
    ..Stage::MAIN
};

/// A test of what the kernel makes of a wrong hand-over. The first kernel has vfio-pci as a module
/// that is not loaded, so that another one can hand over in its name.
macro_rules! forged {
    ($($case:tt)*) => { forged_with!([], None; $($case)*) };
}

/// The same, and something has the device master the bus between the kernels: the next one finds
/// it, whatever it makes of the hand-over.
macro_rules! forged_mastering {
    ($($case:tt)*) => {
        forged_with!(
            // The device's command register.
            ["o /w 0xcf8 0x80010004", "o /h 0xcfc 0x107"],
            Some(judges::stops_mastering);
            $($case)*
        )
    };
}

/// The test of either kind, with what QEMU's monitor does at the jump, and a judge.
macro_rules! forged_with {
    (
        $at_jump:expr, $judge:expr;
        $case:literal, $about:literal $(, $pitfall:literal)* $(; $parameter:literal)?
    ) => {
        VmTest {
            name: concat!("forged-", $case),
            about: $about,
            pitfalls: &["r" $(, $pitfall)*],
            machine: IGB,
            stages: &[
                Stage {
                    loads_late: true,
                    commands: &[
                        Do::Need(concat!("modprobe liveupdate_forge" $(, " ", $parameter)?)),
                        Do::Test(concat!(
                            "liveupdate_forge/luo_forged --stage 1 --case ",
                            $case,
                            " 0000:01:00.0"
                        )),
                    ],
                    at_jump: &$at_jump,
                    ..Stage::MAIN
                },
                // Has vfio-pci bind to the device itself, since that is to fail in some cases.
                Stage {
                    commands: &[Do::Test(concat!(
                        "liveupdate_forge/luo_forged --stage 2 --case ",
                        $case,
                        " 0000:01:00.0"
                    ))],
                    ..Stage::MAIN
                },
            ],
            timeout: Duration::from_secs(180),
            judge: $judge,
        }
    };
}

/// The first half of the main path with modules.
const LOAD_AND_PRESERVE: &[Do] = &[
    Do::Need("modprobe vfio-pci"),
    Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
    Do::Test("vfio/vfio_pci_liveupdate_kexec_test --stage 1 0000:01:00.0"),
];

/// The second half: sessions have to wait for their handler, where it comes late.
const LOAD_AND_RETRIEVE: &[Do] = &[
    Do::Test("test ! -e /sys/module/vfio_pci && : </dev/liveupdate"),
    Do::Need("modprobe vfio-pci"),
    Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
    Do::Test("vfio/vfio_pci_liveupdate_kexec_test --stage 2 0000:01:00.0"),
    Do::Need("vfio/scripts/cleanup.sh"),
];

/// An armed, fed `igb` is preserved.
const PRESERVE_FED: Stage = Stage {
    commands: &[
        Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
        Do::Test("vfio/vfio_pci_liveupdate_kexec_test --stage 1 --rx 0000:01:00.0"),
    ],
    ..Stage::MAIN
};

/// The same, and it was asked to go on doing DMA.
const KEEP_FED: &[Do] = &[
    PRESERVE_FED.commands[0],
    PRESERVE_FED.commands[1],
    Do::Need("modprobe pci_keep_mastering bdf=0x100"),
];

/// It is for anybody to use.
const USE_FED: &[Do] = &[
    Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
    Do::Test("vfio/vfio_pci_liveupdate_kexec_test --rx-only 0000:01:00.0"),
    Do::Need("vfio/scripts/cleanup.sh"),
];

/// It is preserved, and the next kernel, with this command line, knows nothing of it.
const fn second_off(cmdline: &'static str) -> [Stage; 2] {
    [PRESERVE_FED, Stage { cmdline, commands: USE_FED, ..Stage::MAIN }]
}

/// Freed memory is overwritten, and looked at before it is used again: a kernel without KASAN notices
/// what writes to it.
const CHECK_FREE: &str = "slab_debug=FZP";

/// The test that `make run` shows.
pub const SHOWN: &str = "vfio-kexec-igb";

/// What only `make test-full` runs: repeats with other properties what other tests show.
pub const REPETITIONS: &[&str] = &[
    "luo-kexec-thrice",
    "vfio-driver-nvme",
    "vfio-kexec-legacy",
    "vfio-kexec-virtio",
    "vfio-kexec-switch",
    "vfio-kexec-conventional",
    "vfio-second-off",
    "vfio-second-kho-off",
    "vfio-rounds-debug",
    "vfio-keeps-mastering",
    "vfio-stops-for-unaware",
    "iommufd-ats-legacy",
    "witness-snoop-first-stage",
    "witness-switch-legacy",
    "witness-group-legacy",
    "damaged-unit-reserved",
    "damaged-unit-list",
    "damaged-unit-token",
    "damaged-unit-capabilities",
    "forged-twice-unlisted",
    "forged-block-empty",
    "forged-drivers-version",
    "forged-probes-version",
    "forged-probes-count",
    "forged-probes-order",
    "rust-sample@main-debug",
    "vfio-kexec-igb@debug",
    "vfio-kexec-igb@debug-main",
    "vfio-kexec-legacy@debug",
    "vfio-kexec-several@debug",
    "vfio-refused@debug",
    "vfio-abandoned@debug",
    "vfio-fail-nth@debug",
    "vfio-kexec-switch@main-debug",
];

/// What `make test` runs on debug kernels besides: named as on the command line.
pub const ON_DEBUG: &[&str] = &[
    "vfio-kexec-igb@debug",
    "vfio-kexec-legacy@debug",
    "vfio-kexec-switch@main-debug",
    "vfio-kexec-several@debug",
    "vfio-refused@debug",
    "vfio-abandoned@debug",
    "rust-sample@main-debug",
    "vfio-kexec-igb@debug-main",
    "iommufd-uapi@debug",
    "iommufd-kexec@debug",
    "vfio-fail-nth@debug",
];

/// All tests, in the order in which they run.
pub const TESTS: &[VmTest] = &[
    VmTest {
        name: "luo-kexec",
        about: "the kernel's own Live Update test: a memfd survives a kexec",
        pitfalls: &[],
        machine: Machine::PLAIN,
        stages: LUO,
        timeout: Duration::from_secs(120),
        judge: None,
    },
    VmTest {
        name: "luo-kexec-thrice",
        about: "the same three times in a row, from each kernel into the next",
        pitfalls: &[],
        machine: Machine::PLAIN,
        stages: &[LUO[0], LUO_AGAIN, LUO_AGAIN, LUO[1]],
        timeout: Duration::from_secs(180),
        judge: None,
    },
    VmTest {
        name: "rust-sample",
        about: "files and shared data of the Rust sample handler survive a kexec",
        pitfalls: &["s"],
        machine: Machine::PLAIN,
        stages: &[
            Stage {
                commands: &[
                    Do::Need("modprobe rust_liveupdate"),
                    Do::Test("liveupdate/luo_rust_sample -s 1"),
                ],
                ..Stage::MAIN
            },
            Stage {
                commands: &[
                    Do::Need("modprobe rust_liveupdate"),
                    Do::Test("liveupdate/luo_rust_sample -s 2"),
                ],
                ..Stage::MAIN
            },
        ],
        timeout: Duration::from_secs(120),
        judge: None,
    },
    VmTest {
        name: "kunit",
        about: "every KUnit suite that is built in",
        pitfalls: &["r"],
        machine: Machine::PLAIN,
        // The kernel's own examples have timers on their stacks, which debug objects take for an error.
        stages: &[Stage {
            cmdline: "kunit.enable=1 kunit.autorun=1 no_debug_objects",
            ..Stage::MAIN
        }],
        timeout: Duration::from_secs(300),
        judge: Some(judges::kunit),
    },
    VmTest {
        name: "vfio-driver",
        about: "the kernel's own VFIO test: DMA and interrupts of an igb",
        pitfalls: &[],
        machine: IGB,
        stages: DRIVER,
        timeout: Duration::from_secs(300),
        judge: None,
    },
    VmTest {
        name: "vfio-driver-nvme",
        about: "the same with an NVMe controller",
        pitfalls: &[],
        machine: NVME,
        stages: DRIVER,
        timeout: Duration::from_secs(300),
        judge: None,
    },
    VmTest {
        name: SHOWN,
        about: "an igb on vfio-pci, receiving frames, survives a kexec and does DMA again",
        pitfalls: &["a", "b", "j", "s", "u"],
        machine: FED_IGB,
        stages: &[
            Stage {
                commands: &[
                    Do::Need("cd /sys/bus/pci/devices/0000:01:00.0 && cat vendor device"),
                    Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
                    Do::Test("vfio/vfio_pci_liveupdate_uapi_test 0000:01:00.0"),
                    Do::Test("vfio/vfio_pci_liveupdate_kexec_test --stage 1 --rx 0000:01:00.0"),
                ],
                ..Stage::MAIN
            },
            MAIN_PATH[1],
        ],
        timeout: Duration::from_secs(300),
        judge: Some(judges::quiesced_and_left_alone_igb),
    },
    VmTest {
        name: "vfio-kexec-legacy",
        about: "the same without frames, with VT-d in legacy mode",
        pitfalls: &["u"],
        machine: Machine {
            iommu: "intremap=on,scalable-mode=off",
            slots: &[plain("igb")],
            ..Machine::PLAIN
        },
        stages: MAIN_PATH,
        timeout: Duration::from_secs(180),
        judge: None,
    },
    VmTest {
        name: "vfio-kexec-e1000e",
        about: "an e1000e, which libvfio has no driver for",
        pitfalls: &["u"],
        machine: Machine { slots: &[plain("e1000e")], ..Machine::PLAIN },
        stages: MAIN_PATH,
        timeout: Duration::from_secs(180),
        judge: None,
    },
    VmTest {
        name: "vfio-kexec-virtio",
        about: "a virtio-net, which libvfio has no driver for",
        pitfalls: &["u"],
        machine: Machine { slots: &[plain("virtio-net-pci")], ..Machine::PLAIN },
        stages: MAIN_PATH,
        timeout: Duration::from_secs(180),
        judge: None,
    },
    VmTest {
        name: "vfio-kexec-nvme",
        about: "an NVMe controller, whose driver keeps its queues in preserved memory",
        pitfalls: &["u"],
        machine: NVME,
        stages: MAIN_PATH,
        timeout: Duration::from_secs(180),
        judge: None,
    },
    VmTest {
        name: "vfio-kexec-switch",
        about: "an igb below a switch, which has three bridges above it",
        pitfalls: &["u"],
        machine: Machine {
            slots: &[Slot::Switch(&[Device { model: "igb", backend: Backend::None }])],
            ..Machine::PLAIN
        },
        stages: &main_path!("0000:03:00.0"),
        timeout: Duration::from_secs(180),
        judge: None,
    },
    VmTest {
        name: "vfio-registers",
        about: "an igb below a switch and the bridges above it, under QEMU's eyes, keep registers",
        pitfalls: &["u"],
        machine: Machine { traces: &["pci_cfg_write"], ..SECOND_SWITCH },
        stages: &main_path!("0000:04:00.0"),
        timeout: Duration::from_secs(180),
        judge: Some(judges::registers),
    },
    VmTest {
        name: "vfio-kexec-siblings",
        about: "of two igb below a switch that survive, one is dropped, and the other survives again",
        pitfalls: &["f", "u"],
        machine: Machine {
            slots: &[Slot::Switch(&[Device { model: "igb", backend: Backend::None }; 2])],
            traces: &["pci_cfg_write"],
            ..Machine::PLAIN
        },
        stages: &[
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:03:00.0 0000:04:00.0"),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_kexec_test --stage 1 0000:03:00.0 0000:04:00.0",
                    ),
                ],
                ..Stage::MAIN
            },
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:03:00.0 0000:04:00.0"),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_kexec_test --stage 2 --again --drop=0000:04:00.0 0000:03:00.0 0000:04:00.0",
                    ),
                ],
                ..Stage::MAIN
            },
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:03:00.0 0000:04:00.0"),
                    // The other one does not wait for anybody, though it was preserved once.
                    Do::Test("vfio/vfio_pci_device_test 0000:04:00.0"),
                    Do::Test("vfio/vfio_pci_liveupdate_kexec_test --stage 2 0000:03:00.0"),
                    Do::Need("vfio/scripts/cleanup.sh"),
                ],
                ..Stage::MAIN
            },
        ],
        timeout: Duration::from_secs(240),
        judge: Some(judges::registers),
    },
    VmTest {
        name: "vfio-kexec-conventional",
        about: "an e1000 on conventional PCI, which shares its IOMMU group with the bridge to it",
        pitfalls: &["u"],
        machine: Machine {
            slots: &[Slot::Conventional(Device { model: "e1000", backend: Backend::None })],
            traces: &["pci_cfg_write"],
            ..Machine::PLAIN
        },
        stages: &main_path!("0000:02:01.0"),
        timeout: Duration::from_secs(180),
        judge: Some(judges::registers),
    },
    VmTest {
        name: "vfio-kexec-expander",
        about: "an igb below a second root bus",
        pitfalls: &["u"],
        machine: Machine {
            slots: &[Slot::Expander(Device { model: "igb", backend: Backend::None })],
            traces: &["pci_cfg_write"],
            ..Machine::PLAIN
        },
        stages: &main_path!("0000:41:00.0"),
        timeout: Duration::from_secs(180),
        judge: Some(judges::registers),
    },
    VmTest {
        name: "vfio-assign-busses",
        about: "the next kernel is told to number all buses anew, and keeps those of the device",
        pitfalls: &["dd"],
        machine: SECOND_SWITCH,
        stages: &second_told("pci=assign-busses,hpbussize=4"),
        timeout: Duration::from_secs(180),
        judge: None,
    },
    VmTest {
        name: "vfio-lost-numbers",
        about: "a bridge above a device loses its bus numbers, and nobody else gets them",
        pitfalls: &["dd"],
        machine: Machine {
            slots: &[plain("igb"), plain("e1000e"), plain("igb")],
            ..Machine::PLAIN
        },
        stages: &[
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:01:00.0 0000:03:00.0"),
                    Do::Test("vfio/vfio_pci_liveupdate_kexec_test --stage 1 0000:01:00.0"),
                    Do::Test("vfio/vfio_pci_liveupdate_kexec_test --stage 1 0000:03:00.0"),
                ],
                // The registers with the bus numbers of the first two root ports.
                at_jump: &[
                    "o /w 0xcf8 0x80000818",
                    "o /w 0xcfc 0",
                    "o /w 0xcf8 0x80001018",
                    "o /w 0xcfc 0",
                ],
                ..Stage::MAIN
            },
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:03:00.0"),
                    Do::Test("vfio/vfio_pci_liveupdate_kexec_test --stage 2 0000:03:00.0"),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_lost_test 0000:01:00.0 0000:00:01.0 0000:00:02.0",
                    ),
                    Do::Need("vfio/scripts/cleanup.sh"),
                ],
                ..Stage::MAIN
            },
        ],
        timeout: Duration::from_secs(180),
        judge: None,
    },
    VmTest {
        name: "vfio-hot-bridge",
        about: "bridges that are plugged in after a live update get bus numbers as ever",
        pitfalls: &["dd"],
        machine: Machine {
            slots: &[plain("igb"), Slot::Empty(3), Slot::Empty(3)],
            ..Machine::PLAIN
        },
        stages: &[
            MAIN_PATH[0],
            Stage {
                commands: &[
                    Do::Need("monitor device_add pcie-pci-bridge,bus=rp2"),
                    Do::Test("wait_for /sys/bus/pci/devices/0000:02:00.0/pci_bus/0000:03"),
                    MAIN_PATH[1].commands[0],
                    MAIN_PATH[1].commands[1],
                    Do::Need("monitor device_add x3130-upstream,bus=rp3"),
                    Do::Test("wait_for /sys/bus/pci/devices/0000:06:00.0/pci_bus/0000:07"),
                    MAIN_PATH[1].commands[2],
                ],
                ..Stage::MAIN
            },
        ],
        timeout: Duration::from_secs(180),
        judge: None,
    },
    VmTest {
        name: "vfio-adopts",
        about: "ACS and ARI stay as they were, though the next kernel is told otherwise",
        pitfalls: &["u"],
        machine: SECOND_SWITCH,
        stages: &{
            let [first, second] = main_path!("0000:04:00.0");
            let first = Stage { cmdline: "pci=noari", ..first };
            let cmdline = "pci=config_acs=0000000@0000:00:02.0;0000000@0000:03:00.0";
            [first, Stage { cmdline, ..second }]
        },
        timeout: Duration::from_secs(120),
        judge: None,
    },
    VmTest {
        name: "vfio-alignment",
        about: "the next kernel is told to align memory otherwise, and moves none of the device",
        pitfalls: &["hh"],
        machine: SECOND_SWITCH,
        stages: &second_told("pci=resource_alignment=23@0000:04:00.0;23@0000:03:00.0"),
        timeout: Duration::from_secs(180),
        judge: None,
    },
    VmTest {
        name: "vfio-realloc",
        about: "the next kernel has no room for another device, and takes none from this one",
        pitfalls: &["hh"],
        machine: SECOND_SWITCH,
        stages: &second_told("pci=realloc,resource_alignment=24@0000:05:00.0"),
        timeout: Duration::from_secs(180),
        judge: None,
    },
    VmTest {
        name: "vfio-kexec-several",
        about: "four devices in two sessions",
        pitfalls: &["u"],
        machine: Machine {
            slots: &[plain("igb"), plain("e1000e"), plain("igb"), plain("virtio-net-pci")],
            ..Machine::PLAIN
        },
        stages: &[
            Stage {
                commands: &[
                    Do::Need(
                        "vfio/scripts/setup.sh 0000:01:00.0 0000:02:00.0 0000:03:00.0 0000:04:00.0",
                    ),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_kexec_test --stage 1 0000:01:00.0 0000:02:00.0",
                    ),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_kexec_test --stage 1 0000:03:00.0 0000:04:00.0",
                    ),
                ],
                ..Stage::MAIN
            },
            Stage {
                commands: &[
                    Do::Need(
                        "vfio/scripts/setup.sh 0000:01:00.0 0000:02:00.0 0000:03:00.0 0000:04:00.0",
                    ),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_kexec_test --stage 2 0000:03:00.0 0000:04:00.0",
                    ),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_kexec_test --stage 2 0000:01:00.0 0000:02:00.0",
                    ),
                    Do::Need("vfio/scripts/cleanup.sh"),
                ],
                ..Stage::MAIN
            },
        ],
        timeout: Duration::from_secs(240),
        judge: None,
    },
    VmTest {
        name: "vfio-kexec-again",
        about: "an igb and an e1000e survive three live updates in a row",
        pitfalls: &["f", "u"],
        machine: Machine { slots: &[plain("igb"), plain("e1000e")], ..Machine::PLAIN },
        stages: &[
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:01:00.0 0000:02:00.0"),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_kexec_test --stage 1 0000:01:00.0 0000:02:00.0",
                    ),
                ],
                ..Stage::MAIN
            },
            TWO_AGAIN,
            TWO_AGAIN,
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:01:00.0 0000:02:00.0"),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_kexec_test --stage 2 0000:01:00.0 0000:02:00.0",
                    ),
                    Do::Need("vfio/scripts/cleanup.sh"),
                ],
                ..Stage::MAIN
            },
        ],
        timeout: Duration::from_secs(300),
        judge: None,
    },
    VmTest {
        name: "vfio-refused",
        about: "a kexec that this or another device refuses costs nothing, and can be repeated",
        pitfalls: &["gg", "j", "o", "p"],
        machine: Machine { slots: &[plain("igb"), plain("igb")], ..Machine::PLAIN },
        stages: &[
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:01:00.0 0000:02:00.0"),
                    Do::Need("load_next"),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_kexec_test --stage 1 --refused=0000:02:00.0 0000:01:00.0",
                    ),
                ],
                ..Stage::MAIN
            },
            MAIN_PATH[1],
        ],
        timeout: Duration::from_secs(180),
        judge: None,
    },
    VmTest {
        name: "vfio-freeze",
        about: "each reason to refuse a kexec is named, costs nothing, and can be undone",
        pitfalls: &["ff", "gg", "o"],
        machine: Machine { slots: &[plain("igb"), plain("igb")], ..Machine::PLAIN },
        stages: &[
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:01:00.0 0000:02:00.0"),
                    Do::Need("load_next"),
                    Do::Test("vfio/vfio_pci_liveupdate_freeze_test 0000:01:00.0 0000:02:00.0"),
                    Do::Test("vfio/vfio_pci_liveupdate_kexec_test --stage 1 0000:01:00.0"),
                ],
                ..Stage::MAIN
            },
            MAIN_PATH[1],
        ],
        timeout: Duration::from_secs(240),
        judge: None,
    },
    VmTest {
        name: "vfio-unhappy",
        about: "what goes wrong with a session is refused or cleaned up, and harms no other one",
        pitfalls: &["j", "u"],
        machine: Machine { slots: &[plain("virtio-net-pci"); 10], ..Machine::PLAIN },
        stages: &[
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:0{1,2,3,4,5,6,7,8,9,a}:00.0"),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_unhappy_test --stage 1 0000:0{1,2,3,4,5,6,7,8,9,a}:00.0",
                    ),
                ],
                ..Stage::MAIN
            },
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:0{1,2,3,4,5,6,7,8,9,a}:00.0"),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_unhappy_test --stage 2 0000:0{1,2,3,4,5,6,7,8,9,a}:00.0",
                    ),
                    Do::Need("vfio/scripts/cleanup.sh"),
                ],
                ..Stage::MAIN
            },
        ],
        timeout: Duration::from_secs(240),
        judge: None,
    },
    VmTest {
        name: "vfio-life",
        about: "resets, removal, hot-plug, virtual functions and errors, before and after the kexec",
        pitfalls: &["b", "ff", "u"],
        machine: Machine { slots: &[plain("igb"); 8], ..Machine::PLAIN },
        stages: &[
            Stage {
                cmdline: "vfio_pci.enable_sriov=1",
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:0{1,2,3,4,5,6,7,8}:00.0"),
                    Do::Need("load_next"),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_life_test --stage 1 0000:0{1,2,3,4,5,6,7,8}:00.0",
                    ),
                ],
                ..Stage::MAIN
            },
            Stage {
                cmdline: "vfio_pci.enable_sriov=1",
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:0{1,2,3,4,5,6,7,8}:00.0"),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_life_test --stage 2 0000:0{1,2,3,4,5,6,7,8}:00.0",
                    ),
                ],
                ..Stage::MAIN
            },
            // What happened is not in the way of the next kexec, either.
            Stage { commands: &[Do::Test("test -c /dev/liveupdate")], ..Stage::MAIN },
        ],
        timeout: Duration::from_secs(240),
        judge: None,
    },
    VmTest {
        name: "vfio-rounds",
        about: "ten thousand rounds of preserving a device leave nothing behind",
        pitfalls: &["q"],
        machine: IGB,
        stages: &[Stage {
            commands: &[
                Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
                Do::Test("vfio/vfio_pci_liveupdate_rounds_test 0000:01:00.0"),
                Do::Need("vfio/scripts/cleanup.sh"),
                // No reference to the module is left, either.
                Do::Test("modprobe -r vfio-pci"),
            ],
            ..Stage::MAIN
        }],
        timeout: Duration::from_secs(300),
        judge: None,
    },
    VmTest {
        name: "vfio-rounds-debug",
        about: "a thousand rounds on the debug kernel, which is slow, leave nothing behind",
        pitfalls: &["q"],
        machine: IGB,
        stages: &[Stage {
            kernel: Variant::Debug,
            commands: &[
                Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
                Do::Test("vfio/vfio_pci_liveupdate_rounds_test --rounds 1000 0000:01:00.0"),
                Do::Need("vfio/scripts/cleanup.sh"),
            ],
            ..Stage::MAIN
        }],
        timeout: Duration::from_secs(300),
        judge: None,
    },
    VmTest {
        name: "iommufd-uapi",
        about: "which HWPTs can be marked, what may be mapped, in which order all is preserved",
        pitfalls: &["h", "i", "j", "k", "s", "w"],
        machine: IGB,
        stages: &[Stage {
            // Made later, they may be where the next kernel boots, and cannot be mapped.
            cmdline: "hugepages=4",
            commands: &[
                Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
                Do::Test("iommu/iommufd_liveupdate /dev/vfio/devices/vfio0"),
                Do::Need("vfio/scripts/cleanup.sh"),
            ],
            ..Stage::MAIN
        }],
        timeout: Duration::from_secs(180),
        judge: None,
    },
    VmTest {
        name: "iommufd-mock",
        about: "dirty tracking, nested HWPTs and dma-bufs, with an IOMMU that the kernel makes up",
        pitfalls: &["i", "w"],
        machine: Machine::PLAIN,
        stages: &[Stage {
            kernel: Variant::Debug,
            commands: &[Do::Test("iommu/iommufd_liveupdate_mock")],
            ..Stage::MAIN
        }],
        timeout: Duration::from_secs(180),
        judge: None,
    },
    VmTest {
        name: "iommufd-ats",
        about: "a device that goes on has ATS enabled all the time",
        pitfalls: &["z"],
        machine: Machine {
            slots: &[ATS_NIC],
            iommu: "intremap=on,scalable-mode=on,device-iotlb=on",
            ..Machine::PLAIN
        },
        stages: ATS,
        timeout: Duration::from_secs(120),
        judge: None,
    },
    VmTest {
        name: "iommufd-ats-legacy",
        about: "the same in legacy mode",
        pitfalls: &["z"],
        machine: Machine {
            slots: &[ATS_NIC],
            iommu: "intremap=on,scalable-mode=off,device-iotlb=on",
            ..Machine::PLAIN
        },
        stages: ATS,
        timeout: Duration::from_secs(120),
        judge: None,
    },
    VmTest {
        name: "iommufd-kexec",
        about: "a memfd, an iommufd that maps it and a device that is attached survive a kexec",
        pitfalls: &["h", "w"],
        machine: IGB,
        stages: IOMMUFD,
        timeout: Duration::from_secs(180),
        judge: None,
    },
    VmTest {
        name: "vfio-race",
        about: "preserving races with resets, virtual functions, removal, ioctls and debugfs",
        pitfalls: &["b", "g"],
        machine: Machine { slots: &[plain("igb"), plain("e1000e")], ..Machine::PLAIN },
        stages: &[Stage {
            cmdline: "vfio_pci.enable_sriov=1",
            commands: &[
                Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
                Do::Test("vfio/vfio_pci_liveupdate_race_test 0000:01:00.0 0000:02:00.0"),
                Do::Need("vfio/scripts/cleanup.sh"),
            ],
            ..Stage::MAIN
        }],
        timeout: Duration::from_secs(120),
        judge: None,
    },
    VmTest {
        name: "vfio-keeps-mastering",
        about: "a device that was asked to go on keeps bus mastering, and the path above it",
        pitfalls: &["ee"],
        machine: Machine { traces: &["pci_cfg_write"], ..IGB },
        stages: &[
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
                    Do::Test("vfio/vfio_pci_liveupdate_kexec_test --stage 1 0000:01:00.0"),
                    Do::Need("modprobe pci_keep_mastering bdf=0x100"),
                    // The image that is loaded last counts.
                    Do::Need("cp /boot/kernel2 /tmp && declare_other /tmp/kernel2"),
                    Do::Need("load_next /tmp/kernel2"),
                ],
                ..Stage::MAIN
            },
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
                    Do::Test("vfio/vfio_pci_liveupdate_kexec_test --stage 2 0000:01:00.0"),
                    Do::Need("vfio/scripts/cleanup.sh"),
                ],
                ..Stage::MAIN
            },
        ],
        timeout: Duration::from_secs(120),
        judge: Some(judges::keeps_mastering),
    },
    VmTest {
        name: "vfio-stops-for-unaware",
        about: "a device that was asked to go on is stopped, for the next kernel knows no devices",
        pitfalls: &[],
        machine: FED_IGB,
        stages: &[
            Stage { commands: KEEP_FED, ..Stage::MAIN },
            Stage { kernel: Variant::Unaware, commands: USE_FED, ..Stage::MAIN },
        ],
        timeout: Duration::from_secs(180),
        judge: Some(judges::stops_for_unaware),
    },
    VmTest {
        name: "vfio-stops-for-version",
        about: "the same, for the image that was loaded last declares another version",
        pitfalls: &[],
        machine: FED_IGB,
        stages: &[
            Stage {
                commands: &[
                    KEEP_FED[0],
                    KEEP_FED[1],
                    KEEP_FED[2],
                    Do::Need("load_next && declare_other /boot/kernel2"),
                ],
                ..Stage::MAIN
            },
            MAIN_PATH[1],
        ],
        timeout: Duration::from_secs(180),
        judge: Some(judges::stops_for_version),
    },
    VmTest {
        name: "witness-idle",
        about: "each numbered frame for an igb is in memory in time, in order, and nothing else is",
        pitfalls: &[],
        machine: WITNESS,
        stages: &[Stage {
            commands: &[
                Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
                Do::Test("vfio/vfio_pci_liveupdate_witness_test --idle 5 0000:01:00.0"),
                Do::Need("vfio/scripts/cleanup.sh"),
            ],
            ..Stage::MAIN
        }],
        timeout: Duration::from_secs(120),
        judge: Some(judges::idle_witness),
    },
    VmTest {
        name: "witness-kexec",
        about: "numbered frames arrive until the igb is stopped for a kexec, and survive it in a memfd",
        pitfalls: &[],
        machine: WITNESS,
        stages: &[
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
                    Do::Test("vfio/vfio_pci_liveupdate_witness_test --stage 1 0000:01:00.0"),
                ],
                ..Stage::MAIN
            },
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
                    Do::Test("vfio/vfio_pci_liveupdate_witness_test --stage 2 0000:01:00.0"),
                    Do::Need("vfio/scripts/cleanup.sh"),
                ],
                ..Stage::MAIN
            },
        ],
        timeout: Duration::from_secs(180),
        judge: Some(judges::stopped_witness),
    },
    goes_on!(
        "witness-second-stage",
        "in scalable mode, second stage",
        witness_behind("intremap=on,scalable-mode=on")
    ),
    goes_on!(
        "witness-three-levels",
        "in scalable mode, second stage with three levels, where the next kernel has iommu=pt",
        witness_behind("intremap=on,scalable-mode=on,aw-bits=39"),
        "0000:01:00.0",
        "iommu=pt",
        "identity"
    ),
    goes_on!(
        "witness-first-stage",
        "in scalable mode, first stage, where the next kernel has intel_iommu=strict",
        witness_behind("intremap=on,scalable-mode=on,fsts=on"),
        "0000:01:00.0",
        "intel_iommu=strict",
        "DMA"
    ),
    goes_on!("witness-legacy", "in legacy mode", witness_behind("intremap=on,scalable-mode=off")),
    goes_on!(
        "witness-snoop",
        "its IOMMU has snoop control",
        witness_behind("intremap=on,scalable-mode=on,snoop-control=on")
    ),
    goes_on!(
        "witness-snoop-first-stage",
        "its IOMMU has snoop control, first stage",
        witness_behind("intremap=on,scalable-mode=on,fsts=on,snoop-control=on")
    ),
    goes_on!(
        "witness-switch",
        "it is below a switch",
        Machine { slots: &[Slot::Switch(&[WIRED_IGB])], ..WITNESS },
        "0000:03:00.0",
        "",
        "DMA-FQ"
    ),
    goes_on!(
        "witness-switch-legacy",
        "it is below a switch, in legacy mode",
        Machine {
            slots: &[Slot::Switch(&[WIRED_IGB])],
            ..witness_behind("intremap=on,scalable-mode=off")
        },
        "0000:03:00.0",
        "",
        "DMA-FQ"
    ),
    VmTest {
        name: "witness-group",
        about: "two igbs of one IOMMU group go on, both or none",
        pitfalls: &["t"],
        machine: TWO_OF_A_GROUP,
        stages: &[PRESERVE_GROUP, retrieve_group!("")],
        timeout: Duration::from_secs(180),
        judge: Some(judges::running_with_partner),
    },
    VmTest {
        name: "witness-group-legacy",
        about: "the same in legacy mode",
        pitfalls: &["t"],
        machine: Machine { iommu: "intremap=on,scalable-mode=off", ..TWO_OF_A_GROUP },
        stages: &[PRESERVE_GROUP, retrieve_group!("")],
        timeout: Duration::from_secs(180),
        judge: Some(judges::running_with_partner),
    },
    VmTest {
        name: "witness-group-removed",
        about: "the same, and one of them is removed before it is bound: the other one goes on",
        pitfalls: &[],
        machine: Machine { memory: "1G", ..TWO_OF_A_GROUP },
        stages: &[PRESERVE_GROUP, retrieve_group!("--end remove")],
        timeout: Duration::from_secs(300),
        judge: Some(judges::ended_witness),
    },
    VmTest {
        name: "witness-bridge",
        about: "an e1000 below a bridge goes on, whose DMA is device 0's for the IOMMU, in legacy mode",
        pitfalls: &["aa"],
        machine: Machine {
            slots: &[Slot::Conventional(Device { model: "e1000", backend: Backend::Wire })],
            traces: &[
                "pci_cfg_write",
                "vtd_iotlb_page_hit",
                "vtd_iotlb_page_update",
                "vtd_dmar_fault",
                "vtd_dmar_enable",
                "vtd_reg_dmar_root",
                "vtd_ir_enable",
            ],
            ..witness_behind("intremap=on,scalable-mode=off")
        },
        stages: &[preserve_running!("0000:02:01.0"), retrieve_running!("0000:02:01.0")],
        timeout: Duration::from_secs(180),
        judge: Some(judges::running_below_bridge),
    },
    VmTest {
        name: "witness-bystander",
        about: "the same, and a second igb, not preserved and set off from outside, reaches no memory",
        pitfalls: &["x"],
        machine: TWO_WITNESSES,
        stages: &[
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:01:00.0 0000:02:00.0"),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_witness_test --stage 1 --running \
                         --bystander=0000:02:00.0 0000:01:00.0",
                    ),
                ],
                // Its command register: memory space and bus mastering.
                at_jump: &["o /w 0xcf8 0x80020004", "o /h 0xcfc 0x6"],
                ..Stage::MAIN
            },
            retrieve_running!("0000:01:00.0"),
        ],
        timeout: Duration::from_secs(180),
        judge: Some(judges::running_beside_bystander),
    },
    VmTest {
        name: "attack-interrupts",
        about: "a device that goes on writes to where interrupts are raised: none is",
        pitfalls: &["gg"],
        machine: Machine {
            traces: &[
                "pci_cfg_write",
                "igb_rx_desc_buff_write",
                "vtd_dmar_fault",
                "vtd_dmar_enable",
                "vtd_reg_dmar_root",
                "vtd_ir_enable",
                "vtd_ir_remap_msi",
                "vtd_ir_remap_msi_req",
            ],
            ..TWO_WITNESSES
        },
        stages: &[attack!("--aim=0xfeeffff0"), retrieve_running!("0000:01:00.0")],
        timeout: Duration::from_secs(180),
        judge: Some(judges::running_beside_interrupts),
    },
    VmTest {
        name: "attack-holes",
        about: "a device that goes on writes to pages that its memfd lost, and that nobody else got",
        pitfalls: &["k"],
        machine: Machine { memory: "1G", ..WITNESS },
        stages: &[
            preserve_running!("0000:01:00.0", "--rate 100"),
            retrieve_running!("0000:01:00.0", "--rate 100 --pressure"),
        ],
        timeout: Duration::from_secs(300),
        judge: Some(judges::running_into_holes),
    },
    VmTest {
        name: "attack-closed",
        about: "a device goes on while all its files are closed, and is stopped with its session",
        pitfalls: &["j", "k"],
        machine: Machine { memory: "1G", ..WITNESS },
        stages: &[
            preserve_running!("0000:01:00.0", "--rate 100"),
            retrieve_running!("0000:01:00.0", "--rate 100 --end close"),
        ],
        timeout: Duration::from_secs(300),
        judge: Some(judges::ended_witness),
    },
    VmTest {
        name: "witness-removed",
        about: "a device that goes on is removed before it is bound to anything, and comes back stopped",
        pitfalls: &["f"],
        machine: Machine { memory: "1G", ..WITNESS },
        stages: &[
            preserve_running!("0000:01:00.0", "--rate 100"),
            retrieve_running!("0000:01:00.0", "--rate 100 --end remove"),
        ],
        timeout: Duration::from_secs(300),
        judge: Some(judges::ended_witness),
    },
    VmTest {
        name: "attack-outside",
        about: "a device that goes on writes to where nothing is mapped for a minute: nothing is there",
        pitfalls: &[],
        machine: Machine { memory: "2G", is_open: true, ..TWO_WITNESSES },
        stages: &[
            attack!("--rate=50 --aim=0x10000000"),
            Stage { commands: &[Do::Need("sleep 60")], ..Stage::MAIN },
        ],
        timeout: Duration::from_secs(240),
        judge: Some(judges::outside),
    },
    VmTest {
        name: "witness-dropped",
        about: "the same, nobody retrieves it: it goes on until its session is dropped, and can be used",
        pitfalls: &["f", "j"],
        machine: WITNESS,
        stages: &[
            preserve_running!("0000:01:00.0"),
            Stage {
                commands: &[
                    Do::Need(
                        ": </dev/liveupdate && echo witness-0000:01:00.0 \
                         >/sys/devices/virtual/misc/liveupdate/drop_session",
                    ),
                    Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
                    Do::Test("vfio/vfio_pci_liveupdate_uapi_test 0000:01:00.0"),
                    Do::Need("vfio/scripts/cleanup.sh"),
                ],
                ..Stage::MAIN
            },
        ],
        timeout: Duration::from_secs(180),
        judge: Some(judges::dropped_witness),
    },
    VmTest {
        name: "witness-kdump",
        about: "a device goes on, nobody retrieves it, and the crash kernel of the next one works as ever",
        pitfalls: &["cc"],
        machine: WITNESS,
        stages: &[
            Stage { cmdline: "kho_scratch=128M,1536M,256M", ..preserve_running!("0000:01:00.0") },
            Stage {
                // A kernel that is handed memory has no other early on than the scratch areas.
                cmdline: "crashkernel=512M,high crashkernel=0,low unknown_nmi_panic",
                commands: &[Do::Need("sleep 1")],
                end: End::Panic,
                ..Stage::MAIN
            },
            Stage {
                cmdline: "kho=off",
                commands: &[
                    Do::Test("head -c 4 /proc/vmcore | grep -q ELF"),
                    Do::Test("dd if=/proc/vmcore of=/dev/null bs=1M count=256"),
                ],
                ..Stage::MAIN
            },
        ],
        timeout: Duration::from_secs(180),
        judge: Some(judges::crashed_witness),
    },
    VmTest {
        name: "witness-unaware",
        about: "a device that would go on is stopped, for the next kernel knows no devices",
        pitfalls: &[],
        machine: WITNESS,
        stages: &[
            preserve_running!("0000:01:00.0"),
            Stage { kernel: Variant::Unaware, commands: &[Do::Need("sleep 2")], ..Stage::MAIN },
        ],
        timeout: Duration::from_secs(180),
        judge: Some(judges::stops_for_unaware),
    },
    stopped_first!("witness-second-off", "intel_iommu=off"),
    stopped_first!("witness-second-sm-off", "intel_iommu=on,sm_off"),
    stopped_first!("witness-second-liveupdate-off", "liveupdate=off"),
    stopped_first!("witness-second-kho-off", "kho=off liveupdate=off"),
    damaged!(
        "device", "intremap=on,scalable-mode=on", "the device's record";
        Device, 0, 1;
        Device, 1, 1;
        Device, 2, 0x8000;
        Device, 3, 1;
        Device, 4, 0x10;
    ),
    damaged!(
        "links", "intremap=on,scalable-mode=on", "what its record names";
        Device, 6, 0x1000;
        Device, 8, 0x1000;
        Device, 12, 0x1000;
        Device, 14, 1;
        Device, 5, 1;
    ),
    damaged!(
        "domain", "intremap=on,scalable-mode=on", "the record of its domain";
        Domain, 0, 3;
        Domain, 1, 1;
        Domain, 2, 0x1000;
        Domain, 6, 3;
        Domain, 7, 1;
    ),
    damaged!(
        "shape", "intremap=on,scalable-mode=on", "the shape of its domain, and its entries";
        Domain, 8, 1;
        Domain, 9, 1;
        Context, 2, 1;
        Context, 0, 0x1000;
        Context, 0, 1;
    ),
    damaged!(
        "entries", "intremap=on,scalable-mode=on", "its entries in scalable mode";
        Directory, 0, 0x1000;
        Pasid, 0, 0x1000;
        Pasid, 0, 1;
        Pasid, 2, 0x10;
        Root, 0, 0x1000;
    ),
    damaged!(
        "legacy", "intremap=on,scalable-mode=off", "its entries in legacy mode";
        Context, 0, 0x1000;
        Context, 0, 1;
        Context, 2, 1;
        Context, 2, 0x100;
        Root, 0, 0x1000;
    ),
    damaged_unit!("version", Records, 0, 2),
    damaged_unit!("reserved", Records, 1, 1),
    damaged_unit!("list", Records, 2, 0x1000),
    damaged_unit!("page", Page, 2, 0x100),
    damaged_unit!("token", Unit, 2, 0x1000),
    damaged_unit!("root", Unit, 6, 0x1000),
    damaged_unit!("mode", Unit, 14, 1),
    damaged_unit!("capabilities", Unit, 10, 1),
    VmTest {
        name: "witness-reads-idle",
        about: "each read from a slow NVMe disk completes once, with the right data",
        pitfalls: &[],
        machine: SLOW_NVME,
        stages: &[Stage {
            commands: &[
                Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
                Do::Test("vfio/vfio_pci_liveupdate_reads_test --idle 0000:01:00.0"),
                Do::Need("vfio/scripts/cleanup.sh"),
            ],
            ..Stage::MAIN
        }],
        timeout: Duration::from_secs(120),
        judge: Some(judges::idle_reads),
    },
    VmTest {
        name: "witness-reads-kexec",
        about: "the same until the controller is stopped for a kexec, with reads left to do",
        pitfalls: &[],
        machine: SLOW_NVME,
        stages: &[
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
                    Do::Test("vfio/vfio_pci_liveupdate_reads_test --stage 1 0000:01:00.0"),
                ],
                ..Stage::MAIN
            },
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
                    Do::Test("vfio/vfio_pci_liveupdate_reads_test --stage 2 0000:01:00.0"),
                    Do::Need("vfio/scripts/cleanup.sh"),
                ],
                ..Stage::MAIN
            },
        ],
        timeout: Duration::from_secs(180),
        judge: Some(judges::stopped_reads),
    },
    VmTest {
        name: "witness-reads-running",
        about: "the same by a controller that goes on: all reads complete, some while no kernel runs",
        pitfalls: &[],
        machine: SLOW_NVME,
        stages: &[
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_reads_test --stage 1 --running 0000:01:00.0",
                    ),
                ],
                ..Stage::MAIN
            },
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_reads_test --stage 2 --running 0000:01:00.0",
                    ),
                    Do::Need("vfio/scripts/cleanup.sh"),
                ],
                ..Stage::MAIN
            },
        ],
        timeout: Duration::from_secs(180),
        judge: Some(judges::running_reads),
    },
    VmTest {
        name: "vfio-fail-nth",
        about: "each allocation of preserve, freeze and retrieve fails once, and is undone",
        pitfalls: &["m"],
        machine: Machine { slots: FIFTEEN_DEVICES, ..Machine::PLAIN },
        stages: &[
            Stage {
                cmdline: CHECK_FREE,
                finds_leaks: true,
                commands: &[
                    Do::Need(
                        "vfio/scripts/setup.sh 0000:0{1,2}:00.0 0000:00:0{3,4,5,6,7,8,9,a,b,c,d,e,f}.0",
                    ),
                    Do::Need("load_next"),
                    Do::Test("vfio/vfio_pci_liveupdate_fail_nth 0000:01:00.0 0000:02:00.0"),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_fail_nth --stage 1 0000:0{1,2}:00.0 0000:00:0{3,4,5,6,7,8,9,a,b,c,d,e,f}.0",
                    ),
                ],
                ..Stage::MAIN
            },
            Stage {
                cmdline: CHECK_FREE,
                finds_leaks: true,
                commands: &[
                    Do::Need(
                        "vfio/scripts/setup.sh 0000:0{1,2}:00.0 0000:00:0{3,4,5,6,7,8,9,a,b,c,d,e,f}.0",
                    ),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_fail_nth --stage 2 0000:0{1,2}:00.0 0000:00:0{3,4,5,6,7,8,9,a,b,c,d,e,f}.0",
                    ),
                    Do::Need("vfio/scripts/cleanup.sh"),
                ],
                ..Stage::MAIN
            },
        ],
        timeout: Duration::from_secs(240),
        judge: None,
    },
    VmTest {
        name: "vfio-abandoned",
        about: "a device whose session is closed without retrieving it can be opened again",
        pitfalls: &["f", "j"],
        machine: IGB,
        stages: &[
            MAIN_PATH[0],
            Stage {
                commands: &[
                    Do::Need("vfio/scripts/setup.sh 0000:01:00.0"),
                    Do::Test(
                        "vfio/vfio_pci_liveupdate_kexec_test --stage 2 --abandon 0000:01:00.0",
                    ),
                    Do::Need("vfio/scripts/cleanup.sh"),
                ],
                ..Stage::MAIN
            },
        ],
        timeout: Duration::from_secs(180),
        judge: None,
    },
    VmTest {
        name: "vfio-second-off",
        about: "the next kernel has Live Update off: nothing is left of a preserved device's DMA",
        pitfalls: &[],
        machine: FED_IGB,
        stages: &second_off("liveupdate=off"),
        timeout: Duration::from_secs(180),
        judge: Some(judges::dropped_igb),
    },
    VmTest {
        name: "vfio-second-kho-off",
        about: "the same, and the next kernel has Kexec HandOver off, too",
        pitfalls: &[],
        machine: FED_IGB,
        stages: &second_off("kho=off liveupdate=off"),
        timeout: Duration::from_secs(180),
        judge: Some(judges::dropped_igb),
    },
    VmTest {
        name: "vfio-second-unaware",
        about: "the next kernel does live updates, but not of devices: memory arrives all the same",
        pitfalls: &[],
        machine: FED_IGB,
        stages: &[
            Stage {
                commands: &[
                    Do::Test("liveupdate/luo_kexec_simple -s 1"),
                    PRESERVE_FED.commands[0],
                    PRESERVE_FED.commands[1],
                ],
                ..Stage::MAIN
            },
            Stage {
                kernel: Variant::Unaware,
                commands: &[
                    USE_FED[0],
                    USE_FED[1],
                    USE_FED[2],
                    Do::Test("liveupdate/luo_kexec_simple -s 2"),
                ],
                ..Stage::MAIN
            },
        ],
        timeout: Duration::from_secs(180),
        judge: Some(judges::stopped_igb),
    },
    VmTest {
        name: "vfio-modules",
        about: "vfio-pci and iommufd are modules in both kernels, and loaded after the first look",
        pitfalls: &[],
        machine: IGB,
        stages: &[
            Stage { loads_late: true, commands: LOAD_AND_PRESERVE, ..Stage::MAIN },
            Stage { loads_late: true, commands: LOAD_AND_RETRIEVE, ..Stage::MAIN },
        ],
        timeout: Duration::from_secs(180),
        judge: None,
    },
    VmTest {
        name: "vfio-on-demand",
        about: "a session loads the module that its files need, and only then",
        pitfalls: &[],
        machine: IGB,
        stages: &[
            Stage { loads_late: true, commands: LOAD_AND_PRESERVE, ..Stage::MAIN },
            Stage {
                loads_late: true,
                commands: &[Do::Test("vfio/vfio_pci_liveupdate_ondemand_test 0000:01:00.0")],
                ..Stage::MAIN
            },
        ],
        timeout: Duration::from_secs(180),
        judge: None,
    },
    forged!("good", "a hand-over that is as it has to be"),
    forged!("files", "records of files that name the wrong device, or are none"),
    forged!("unknown", "a file that no handler of the kernel is for", "v"),
    forged!("twice", "files in two sessions that name the same device"),
    forged!("twice-unlisted", "the same, and no list of the drivers"; "no_drivers=1"),
    forged!("refcount", "a list of PCI devices with counts that make no sense"),
    forged!("missing", "a list of PCI devices with one that is not there"),
    forged_mastering!(
        "version",
        "a list of PCI devices of a version that the kernel does not know"
    ),
    forged_mastering!("count", "a list of PCI devices that announces more than it has"),
    forged_mastering!("duplicate", "a list of PCI devices that has one twice"),
    forged_mastering!("domain", "a list of PCI devices with a domain that there cannot be"),
    forged_mastering!("null", "no address instead of a list of PCI devices"),
    forged_mastering!(
        "foreign",
        "memory that was not handed over instead of a list of PCI devices"
    ),
    forged_mastering!("block-foreign", "a block of PCI devices in memory that was not handed over"),
    forged_mastering!("block-loop", "a block of PCI devices that is followed by itself"),
    forged_mastering!("block-long", "a block with more PCI devices than it has room for"),
    forged_mastering!("block-empty", "a block without PCI devices"),
    forged!("drivers-absent", "no list of the drivers for PCI devices"; "no_drivers=1"),
    forged_mastering!(
        "drivers-version",
        "a list of drivers of a version that the kernel does not know"
    ),
    forged_mastering!(
        "drivers-compatible",
        "a list of drivers with one that the kernel does not have"
    ),
    forged!("drivers-data", "a list of drivers that gives a device to another file"),
    forged!("probes-version", "a list of registers of a version that the kernel does not know"),
    forged!("probes-count", "a list of registers that announces more than it has"),
    forged!("probes-order", "a list of registers that has one twice"),
    forged!("probes-register", "a list of registers with one that there cannot be"),
    forged_mastering!(
        "probes-vendor",
        "a device of another vendor than the list of registers says"
    ),
    forged_mastering!("probes-class", "a device of another class than the list of registers says"),
];
