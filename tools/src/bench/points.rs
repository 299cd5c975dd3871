// SPDX-License-Identifier: GPL-2.0

//! What `make bench` measures: each in a VM test of its own.

use std::time::Duration;

use crate::kernel::Variant;
use crate::machine::{Backend, Device, Machine, Slot};
use crate::vm_test::{Do, Stage, VmTest};

/// What is measured in one run.
#[derive(Clone, Copy, PartialEq)]
pub struct Point {
    /// How many devices go on, each with tables of its own.
    pub devices: usize,
    /// How much each has mapped, in GiB.
    pub gib: u64,
    /// Whether in pages of 2 MiB, not of 4 KiB.
    pub huge: bool,
    /// Whether they go on: otherwise the memory alone is preserved.
    pub marked: bool,
    /// How much of it is mapped at once, in MiB.
    pub area: u64,
    /// Whether pages left the memfd meanwhile, so that all that are mapped are looked at.
    pub looked_at: bool,
    /// Whether they are of the kind that there can be many of, though they are few.
    pub alike: bool,
}

/// How much is mapped at once, in MiB, if nothing else is measured.
pub const AREA: u64 = 256;

/// One device that has a GiB mapped in small pages.
pub const SMALL: Point = Point {
    devices: 1,
    gib: 1,
    huge: false,
    marked: true,
    area: AREA,
    looked_at: false,
    alike: false,
};

/// The same in large ones.
pub const HUGE: Point = Point { huge: true, ..SMALL };

/// The same as the first one in many areas.
pub const PARTS: Point = Point { area: 2, ..SMALL };

/// What is always measured.
pub const POINTS: [Point; 17] = [
    Point { marked: false, ..SMALL },
    SMALL,
    Point { gib: 4, ..SMALL },
    Point { gib: 16, ..SMALL },
    Point { gib: 64, ..SMALL },
    HUGE,
    Point { gib: 32, ..HUGE },
    Point { gib: 1024, ..HUGE },
    PARTS,
    Point { looked_at: true, ..SMALL },
    Point { gib: 32, looked_at: true, ..HUGE },
    Point { devices: 2, ..HUGE },
    Point { devices: 4, ..HUGE },
    Point { devices: 8, ..HUGE },
    Point { devices: 8, alike: true, ..HUGE },
    Point { devices: 32, ..HUGE },
    Point { devices: MOST_DEVICES, ..HUGE },
];

/// What takes a quarter of an hour, and two GiB of tables.
pub const FULL: [Point; 2] = [Point { gib: 256, ..SMALL }, Point { gib: 1024, ..SMALL }];

/// Pages of memory that are preserved, without a device.
#[derive(Clone, Copy, PartialEq)]
pub struct Pages {
    /// How many.
    pub count: u64,
    /// Whether each is by itself, and not next to others.
    pub isolated: bool,
}

/// How many pages.
const PAGES: [u64; 4] = [8192, 16384, 32768, 65536];

/// A device whose owner preserves and closes everything in rounds, and has it frozen.
#[derive(Clone, Copy, PartialEq)]
pub struct Rounds {
    /// Whether a hostile neighbour does the same with what is large, all the time.
    pub beside: bool,
}

/// How often it does.
const ROUNDS: u32 = 200;

/// How many devices have a root port each.  More are behind switches: there are too few root ports.
pub const ON_ROOT_PORTS: usize = 8;

/// How many devices are behind a switch.
const ON_SWITCH: usize = 32;

/// How many buses a switch takes: one for its upstream port, one for all its downstream ports, and one
/// per device.
const BUSES_OF_SWITCH: usize = ON_SWITCH + 2;

/// How many devices there are at most.  There are buses for seven switches, but enumerating what is
/// behind them takes QEMU more than five minutes per boot.
pub const MOST_DEVICES: usize = 4 * ON_SWITCH;

/// What goes on behind a root port.
const IGB: &str = "igb";

/// What goes on behind a switch.  It has no I/O ports, of which there are too few for that many.
const NVME: &str = "nvme,serial=bench";

impl Point {
    /// What it is called.
    pub fn name(&self) -> String {
        let Self { devices, gib, huge, marked, area, looked_at, alike } = self;
        let page = if *huge { "2M" } else { "4K" };
        let marked = if *marked { "" } else { "-unmarked" };
        let area = if *area == AREA { String::new() } else { format!("-by-{area}M") };
        let looked_at = if *looked_at { "-looked-at" } else { "" };
        let alike = if *alike { "-alike" } else { "" };
        format!("bench-{devices}x{gib}G-{page}{marked}{area}{looked_at}{alike}")
    }

    fn is_behind_switch(&self) -> bool {
        self.alike || self.devices > ON_ROOT_PORTS
    }

    /// What its machine has.
    fn slots(&self) -> Vec<Slot> {
        let device = |model: &str| Device { model: model.to_owned(), backend: Backend::None };
        if !self.is_behind_switch() {
            return vec![Slot::Device(device(IGB)); self.devices];
        }
        let switch = Slot::Fixed(vec![device(NVME); ON_SWITCH]);
        vec![switch; self.devices.div_ceil(ON_SWITCH)]
    }

    /// The addresses of the devices.
    fn bdfs(&self) -> Vec<String> {
        let buses = (0..self.devices).map(|number| {
            if !self.is_behind_switch() {
                return 1 + number;
            }
            1 + number / ON_SWITCH * BUSES_OF_SWITCH + 2 + number % ON_SWITCH
        });
        buses.map(|bus| format!("0000:{bus:02x}:00.0")).collect()
    }

    /// The test that measures it.
    pub fn test(&self) -> VmTest {
        let flag = |is_set, flag| if is_set { flag } else { "" };
        let unmarked = flag(!self.marked, " --unmarked");
        let cdevs = (0..self.devices).map(|number| format!(" /dev/vfio/devices/vfio{number}"));
        let cdevs = cdevs.collect::<Vec<_>>().concat();
        let bench = "iommu/iommufd_liveupdate_bench";
        let setup = format!("vfio/scripts/setup.sh {}", self.bdfs().join(" "));
        let preserve = format!(
            "{bench} --stage 1 --size {} --area {}{}{unmarked}{}{cdevs}",
            self.gib,
            self.area,
            flag(self.huge, " --huge"),
            flag(self.looked_at, " --look"),
        );
        let retrieve = format!("{bench} --stage 2{unmarked} {}", self.devices);
        let first = vec![Do::Need(setup.clone()), Do::Test(preserve)];
        let second = vec![
            Do::Need("iommu/iommufd_liveupdate_bench --now".to_owned()),
            Do::Need("mount -t tracefs trace /sys/kernel/tracing".to_owned()),
            Do::Need("cat /sys/kernel/tracing/trace".to_owned()),
            Do::Need(setup),
            Do::Test(retrieve),
        ];
        let traced = "nokaslr trace_event=iommu:attach_device_to_domain trace_clock=x86-tsc";
        let machine =
            Machine { memory: "12G".to_owned(), slots: self.slots(), ..Machine::default() };
        test(self.name(), machine, vec![stage("nokaslr", first), stage(traced, second)])
    }
}

impl Pages {
    /// All that are measured, what is compared one after the other.
    pub fn all() -> impl Iterator<Item = Self> {
        let of = |isolated| PAGES.iter().map(move |&count| Self { count, isolated });
        of(false).chain(of(true))
    }

    /// What it is called.
    pub fn name(&self) -> String {
        format!("bench-{}-pages{}", self.count, if self.isolated { "-isolated" } else { "" })
    }

    /// The test that measures them.
    pub fn test(&self) -> VmTest {
        let bench = format!("iommu/iommufd_liveupdate_bench --pages {} --stage", self.count);
        let isolated = if self.isolated { " --isolated" } else { "" };
        let first = vec![Do::Test(format!("{bench} 1{isolated}"))];
        let second = vec![
            Do::Need("iommu/iommufd_liveupdate_bench --now".to_owned()),
            Do::Test(format!("{bench} 2")),
        ];
        let machine = Machine { memory: "4G".to_owned(), ..Machine::default() };
        let told = "nokaslr";
        test(self.name(), machine, vec![stage(told, first), stage(told, second)])
    }
}

impl Rounds {
    /// What is compared.
    pub const ALL: [Self; 2] = [Self { beside: false }, Self { beside: true }];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        if self.beside { "bench-rounds-beside-a-neighbour" } else { "bench-rounds" }
    }

    /// The test that measures it.  The neighbour's device is there even if the neighbour is not. The
    /// third device refuses kexecs into the image that is loaded.
    pub fn test(self) -> VmTest {
        let bench = "iommu/iommufd_liveupdate_bench";
        let bdfs = "0000:01:00.0 0000:02:00.0 0000:03:00.0";
        let setup = Do::Need(format!("vfio/scripts/setup.sh {bdfs}"));
        let cdev = |number| format!("/dev/vfio/devices/vfio{number}");
        let neighbour =
            if self.beside { format!("--neighbour {} ", cdev(1)) } else { String::new() };
        let first = vec![
            setup.clone(),
            Do::Need("load_next".to_owned()),
            Do::Test(format!(
                "{bench} --stage 1 --huge --rounds {ROUNDS} --refuser {} {neighbour}{}",
                cdev(2),
                cdev(0),
            )),
        ];
        let second = vec![
            Do::Need(format!("{bench} --now")),
            setup,
            Do::Test(format!("{bench} --stage 2 1")),
        ];
        let device = Slot::Device(Device { model: IGB.to_owned(), backend: Backend::None });
        let machine =
            Machine { memory: "4G".to_owned(), slots: vec![device; 3], ..Machine::default() };
        test(
            self.name().to_owned(),
            machine,
            vec![stage("nokaslr", first), stage("nokaslr", second)],
        )
    }
}

/// A boot of a test that measures something.
pub fn stage(cmdline: &str, commands: Vec<Do>) -> Stage {
    Stage { kernel: Variant::Bench, cmdline: cmdline.to_owned(), commands, ..Stage::default() }
}

/// A test that measures something.
pub fn test(name: String, machine: Machine, stages: Vec<Stage>) -> VmTest {
    VmTest {
        name,
        about: "what a live update costs".to_owned(),
        pitfalls: Vec::new(),
        machine: Machine { counts_instructions: true, ..machine },
        stages,
        timeout: Duration::from_secs(3600),
        judge: None,
        is_repetition: false,
        variations: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_has_a_name_and_a_test_of_its_own() {
        let all: Vec<Point> = POINTS.into_iter().chain(FULL).collect();
        for (index, point) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|other| other.name() != point.name()));
            let devices = point.test().machine.devices().count();
            assert!(devices == point.devices || point.alike && devices == ON_SWITCH);
            let mut bdfs = point.bdfs();
            bdfs.sort();
            bdfs.dedup();
            assert!(bdfs.len() == point.devices && bdfs.iter().all(|bdf| bdf.len() == 12));
        }
    }
}
