// SPDX-License-Identifier: GPL-2.0

//! The emulated machine of a test, and QEMU's command line for it.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::stage::output;

/// The emulator.
const QEMU: &str = "qemu-system-x86_64";

/// Memory of the host, in KiB, that a machine may fill: no test touches more.
const RESIDENT_KIB: usize = 3 << 20;

/// The size of a disk: a sparse file, of which little is ever written.
const DISK_BYTES: u64 = 64 << 20;

/// What is at the other end of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Backend {
    /// Nothing.
    None,
    /// The harness, which feeds it Ethernet frames.
    Frames,
    /// The harness, which sends it numbered frames when the VM asks for them.
    Wire,
    /// A disk of its own, empty.
    Disk,
    /// The same, from which no more than this many reads per second are done.
    SlowDisk(u32),
}

/// A device.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// QEMU's name for it, and properties.
    pub model: String,
    /// What it is connected to.
    pub backend: Backend,
}

/// The number of an expander's bus.
const EXPANDER_BUS: usize = 0x40;

/// What is behind a root port.
///
/// Firmware numbers the buses depth first, in the order of the slots, from 1 on: a device takes
/// one bus, a switch one for its upstream port, one for all its downstream ports, and one per
/// device. So with a single slot the device is at `0000:01:00.0`, or if it is below a switch, at
/// `0000:03:00.0` (upstream port `0000:01:00.0`, its downstream port `0000:02:00.0`). The device
/// below a bridge to conventional PCI is at `0000:02:01.0`.
#[derive(Clone, Debug, PartialEq)]
pub enum Slot {
    /// A device.
    Device(Device),
    /// A device without a root port: on the root bus itself.
    Integrated(Device),
    /// A switch with these devices, each behind a downstream port.
    Switch(Vec<Device>),
    /// The same, where nothing can be plugged in.  Firmware keeps no addresses free for that, of which
    /// there are too few for many ports.
    Fixed(Vec<Device>),
    /// A switch where the downstream ports are functions of one device: nothing keeps what is behind
    /// them from each other, and all of it is one IOMMU group.
    Group(Vec<Device>),
    /// Functions of one device behind a root port.  Such devices have ARI capabilities that do not
    /// lead from one to the next, so that a kernel finds them with `pci=noari` only.
    Functions(Vec<Device>),
    /// A bridge to conventional PCI, with a device below it.
    Conventional(Device),
    /// A device whose root port is not on the first root bus, but on that of an expander: root port
    /// `0000:40:00.0`, device `0000:41:00.0`.
    Expander(Device),
    /// Nothing yet. Takes as many buses besides its own, for bridges that are plugged in.
    Empty(u8),
}

impl Slot {
    fn devices(&self) -> &[Device] {
        match self {
            Self::Device(device)
            | Self::Integrated(device)
            | Self::Conventional(device)
            | Self::Expander(device) => std::slice::from_ref(device),
            Self::Switch(devices)
            | Self::Fixed(devices)
            | Self::Group(devices)
            | Self::Functions(devices) => devices,
            Self::Empty(_) => &[],
        }
    }
}

/// What QEMU calls AMD's IOMMU, and the number that it has on the root bus: behind all slots.
const AMD_IOMMU: &str = "amd-iommu";
const AMD_IOMMU_DEVICE: u8 = 0x1e;

/// A test's machine: a q35 with an IOMMU and these devices.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Memory, as QEMU's `-m` takes it.
    pub memory: String,
    /// What else QEMU is told: of nodes, of memory that is added, and of another processor, for which
    /// the last word counts.
    pub options: Vec<String>,
    /// QEMU's name for the IOMMU.
    pub iommu_model: String,
    /// Properties of it.
    pub iommu: String,
    /// What is on the root bus, in the order of its device numbers.
    pub slots: Vec<Slot>,
    /// QEMU trace events to record.
    pub traces: Vec<String>,
    /// Whether its memory can be changed from outside.
    pub is_open: bool,
    /// Whether it has one processor, for which each instruction takes a nanosecond.
    pub counts_instructions: bool,
}

/// The processor: what QEMU can emulate, but for the string instructions being fast.  Emulated, they
/// are slow, and kernel and C library have loops that they take in their place.  Hosts have them, so
/// they are on where instructions are counted.
const PROCESSOR: &str = "max,erms=off,fsrm=off,fzrm=off,fsrs=off";

/// What makes memory that can be changed from outside, and what QEMU calls its file.
pub const MEMORY_TYPE: &str = "memory-backend-memfd";

impl Default for Machine {
    /// The machine without devices.
    fn default() -> Self {
        Self {
            memory: "2G".to_owned(),
            iommu_model: "intel-iommu".to_owned(),
            iommu: "intremap=on,scalable-mode=on".to_owned(),
            slots: Vec::new(),
            options: Vec::new(),
            traces: Vec::new(),
            is_open: false,
            counts_instructions: false,
        }
    }
}

impl Machine {
    /// Whether the harness feeds one of its devices.
    pub fn is_fed(&self) -> bool {
        self.devices().any(|device| device.backend == Backend::Frames)
    }

    /// What the devices at the end of a wire are called in names of files, in the order of their
    /// buses.
    pub fn wires(&self) -> Vec<String> {
        let named = self.slots.iter().zip(1..).flat_map(|(slot, n): (&Slot, usize)| {
            let has_several = matches!(
                slot,
                Slot::Switch(_) | Slot::Fixed(_) | Slot::Group(_) | Slot::Functions(_)
            );
            slot.devices().iter().zip(1..).map(move |(device, m): (&Device, usize)| {
                (device, if has_several { format!("{n}.{m}") } else { n.to_string() })
            })
        });
        named.filter(|(device, _)| device.backend == Backend::Wire).map(|(_, id)| id).collect()
    }

    /// The devices, in the order of their buses.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.slots.iter().flat_map(Slot::devices)
    }

    /// QEMU's command, with its sockets, logs and disks in `dir`; the processors wait for `cont`.
    pub fn command(
        &self,
        dir: &Path,
        kernel: &Path,
        initrd: &Path,
        cmdline: &str,
    ) -> Result<Command> {
        let at = |name: &str| dir.join(name).display().to_string();
        let mut qemu = Command::new(QEMU);
        let (processor, processors) =
            if self.counts_instructions { ("max", "1") } else { (PROCESSOR, "2") };
        qemu.args(["-M", "q35,kernel-irqchip=split", "-accel", "tcg", "-cpu", processor])
            .args(["-smp", processors])
            .args(["-m", &self.memory, "-nodefaults", "-no-reboot", "-display", "none", "-S"])
            .args(["-run-with", "exit-with-parent=on"])
            .args([
                "-chardev",
                &format!("file,id=console,path={}", at("console.fifo")),
                "-serial",
                "chardev:console",
            ])
            .args([
                "-chardev",
                &format!("file,id=output,path={}", at("output.fifo")),
                "-serial",
                "chardev:output",
            ])
            .args(["-qmp", &format!("unix:{}", at("qmp.sock"))])
            .args(["-msg", "timestamp=on", "-D", &at("trace.log")])
            .args(self.iommu_devices())
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", cmdline])
            .args(&self.options);
        for event in &self.traces {
            qemu.args(["-trace", event]);
        }
        if self.counts_instructions {
            qemu.args(["-icount", "shift=0,sleep=off"]);
        }
        if self.is_open {
            let memory = format!("{MEMORY_TYPE},id=open,size={}", self.memory);
            qemu.args(["-object", &memory, "-machine", "memory-backend=open"]);
        }
        for (index, slot) in self.slots.iter().enumerate() {
            let n = index + 1;
            if let Slot::Integrated(device) = slot {
                add(&mut qemu, dir, device, &n.to_string(), &format!("pcie.0,addr={n:#x}"))?;
                continue;
            }
            let mut port = format!("pcie-root-port,id=rp{n},chassis={n},addr={n:#x}");
            if let Slot::Expander(_) = slot {
                let expander = format!("pxb-pcie,id=pxb{n},bus_nr={EXPANDER_BUS},addr={n:#x}");
                qemu.args(["-device", &expander]);
                port = format!("pcie-root-port,id=rp{n},chassis={n},bus=pxb{n},addr=0");
            }
            if let Slot::Empty(buses) = slot {
                port.push_str(&format!(",bus-reserve={buses}"));
            }
            qemu.args(["-device", &port]);
            match slot {
                Slot::Empty(_) | Slot::Integrated(_) => {}
                Slot::Device(device) | Slot::Expander(device) => {
                    add(&mut qemu, dir, device, &n.to_string(), &format!("rp{n}"))?
                }
                Slot::Functions(devices) => {
                    for (index, device) in devices.iter().enumerate() {
                        let at = format!("rp{n},addr=0.{index},multifunction=on");
                        add(&mut qemu, dir, device, &format!("{n}.{}", index + 1), &at)?;
                    }
                }
                Slot::Conventional(device) => {
                    qemu.args(["-device", &format!("pcie-pci-bridge,id=pci{n},bus=rp{n}")]);
                    // Requests come from device 0 for the IOMMU, whichever it is.
                    let bus = format!("pci{n},addr=1");
                    add(&mut qemu, dir, device, &n.to_string(), &bus)?;
                }
                Slot::Switch(devices) | Slot::Fixed(devices) | Slot::Group(devices) => {
                    qemu.args(["-device", &format!("x3130-upstream,id=up{n},bus=rp{n}")]);
                    for (index, device) in devices.iter().enumerate() {
                        let m = index + 1;
                        let at = match slot {
                            Slot::Group(_) => format!("0.{index},multifunction=on"),
                            Slot::Fixed(_) => format!("{index:#x},hotplug=off"),
                            _ => format!("{index:#x}"),
                        };
                        let port = format!(
                            "xio3130-downstream,id=down{n}.{m},bus=up{n},chassis={n},slot={m},addr={at}"
                        );
                        qemu.args(["-device", &port]);
                        let id = format!("{n}.{m}");
                        add(&mut qemu, dir, device, &id, &format!("down{id}"))?;
                    }
                }
            }
        }
        Ok(qemu)
    }

    /// QEMU's words for the IOMMU, which come before all devices.
    fn iommu_devices(&self) -> Vec<String> {
        let (model, properties) = (&self.iommu_model, &self.iommu);
        let devices = if model == AMD_IOMMU {
            // It is a PCI device, too, and would take the place of the first slot.
            let pci = format!("AMDVI-PCI,id=amdvi,addr={AMD_IOMMU_DEVICE:#x}");
            vec![pci, format!("{model},pci-id=amdvi,{properties}")]
        } else {
            vec![format!("{model},{properties}")]
        };
        devices.into_iter().flat_map(|device| ["-device".to_owned(), device]).collect()
    }

    /// Refuses a machine that this QEMU cannot emulate.
    pub fn check_supported(&self) -> Result<()> {
        let known = output(Command::new(QEMU).args(["-device", "help"]))?;
        let mut models = vec![self.iommu_model.as_str(), "pcie-root-port"];
        let names = self.devices().filter_map(|device| device.model.split(',').next());
        models.extend(names);
        for slot in &self.slots {
            match slot {
                Slot::Device(_) | Slot::Integrated(_) | Slot::Functions(_) | Slot::Empty(_) => {}
                Slot::Switch(_) | Slot::Fixed(_) | Slot::Group(_) => {
                    models.extend(["x3130-upstream", "xio3130-downstream"])
                }
                Slot::Conventional(_) => models.push("pcie-pci-bridge"),
                Slot::Expander(_) => models.push("pxb-pcie"),
            }
        }
        for model in models {
            if !known.contains(&format!("name \"{model}\"")) {
                bail!(
                    "{QEMU} in the build root has no device `{model}`: `make clean` and start over with a newer one"
                );
            }
        }
        Ok(())
    }
}

/// The socket of the wire to device `id`. A stream, because it holds a second's frames, as long as
/// the host may be busy with something else; one of datagrams holds ten.
pub fn wire_socket(id: &str) -> String {
    format!("wire{id}.sock")
}

/// How many machines can run at a time beside each other, of `most`.
pub fn room(most: usize) -> usize {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    fitting(&text).min(most).max(1)
}

/// How many machines fit into what `meminfo` says is available.
fn fitting(meminfo: &str) -> usize {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let available: Option<usize> =
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    available.unwrap_or(0) / RESIDENT_KIB
}

/// Adds `device` at `bus`, with what it is connected to.
fn add(qemu: &mut Command, dir: &Path, device: &Device, id: &str, bus: &str) -> Result<()> {
    let at = |name: &str| dir.join(name).display().to_string();
    let mut options = format!("{},id=dev{id},bus={bus}", device.model);
    match device.backend {
        Backend::None => {}
        Backend::Frames => {
            let socket = |end: &str, name: &str| format!("{end}.type=unix,{end}.path={}", at(name));
            let ends = [socket("local", "nic.sock"), socket("remote", "feed.sock")].join(",");
            qemu.args(["-netdev", &format!("dgram,id=net{id},{ends}")]);
            options.push_str(&format!(",netdev=net{id}"));
        }
        Backend::Wire => {
            let path = at(&wire_socket(id));
            let end = format!("stream,id=net{id},server=off,addr.type=unix,addr.path={path}");
            qemu.args(["-netdev", &end]);
            options.push_str(&format!(",netdev=net{id}"));
        }
        Backend::Disk | Backend::SlowDisk(_) => {
            let path = dir.join(format!("disk{id}"));
            File::create(&path)
                .and_then(|file| file.set_len(DISK_BYTES))
                .with_context(|| format!("making {}", path.display()))?;
            qemu.args([
                "-blockdev",
                &format!("file,node-name=disk{id},filename={}", path.display()),
            ]);
            let mut drive = format!("disk{id}");
            if let Backend::SlowDisk(reads) = device.backend {
                let group = format!("throttle-group,id=pace{id},x-iops-read={reads}");
                let slow =
                    format!("throttle,node-name=slow{id},throttle-group=pace{id},file={drive}");
                qemu.args(["-object", &group, "-blockdev", &slow]);
                drive = format!("slow{id}");
            }
            options.push_str(&format!(",drive={drive},serial={id}"));
        }
    }
    qemu.args(["-device", &options]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wires_are_called_as_their_devices_are() {
        let igb = |backend| Device { model: "igb".to_owned(), backend };
        let wired = || igb(Backend::Wire);
        let switch = Slot::Switch(vec![igb(Backend::None), wired()]);
        let functions = Slot::Functions(vec![wired(), igb(Backend::None)]);
        let slots = vec![Slot::Device(wired()), switch, Slot::Expander(wired()), functions];
        let machine = Machine { slots, ..Machine::default() };
        assert_eq!(machine.wires(), ["1", "2.2", "3", "4.1"]);
        assert!(Machine::default().wires().is_empty());
    }

    #[test]
    fn iommu_is_vt_d_unless_it_is_amds() {
        let machine = Machine::default();
        assert_eq!(
            machine.iommu_devices(),
            ["-device", "intel-iommu,intremap=on,scalable-mode=on"]
        );
        let machine = Machine {
            iommu_model: AMD_IOMMU.to_owned(),
            iommu: "intremap=on".to_owned(),
            ..Machine::default()
        };
        let amd = [
            "-device",
            "AMDVI-PCI,id=amdvi,addr=0x1e",
            "-device",
            "amd-iommu,pci-id=amdvi,intremap=on",
        ];
        assert_eq!(machine.iommu_devices(), amd);
    }

    #[test]
    fn room_is_what_memory_allows_and_one_at_least() {
        let meminfo = |gib: usize| format!("MemTotal: 99 kB\nMemAvailable:   {} kB\n", gib << 20);
        assert_eq!(fitting(&meminfo(2)), 0);
        assert_eq!(fitting(&meminfo(7)), 2);
        assert_eq!(fitting("strange"), 0);
        assert_eq!(room(0), 1);
        assert!(room(2) <= 2);
    }
}
