// SPDX-License-Identifier: GPL-2.0

//! The emulated machine of a test, and QEMU's command line for it.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::stage::output;

/// The emulator.
const QEMU: &str = "qemu-system-x86_64";

/// A device behind a root port of its own; the n-th is at `0000:0n:00.0`.
#[derive(Clone, Copy)]
pub struct Device {
    /// QEMU's name for it.
    pub model: &'static str,
    /// Whether the harness feeds it Ethernet frames.
    pub fed: bool,
}

/// A test's machine: a q35 with two processors, VT-d and these devices.
#[derive(Clone, Copy)]
pub struct Machine {
    /// Memory, as QEMU's `-m` takes it.
    pub memory: &'static str,
    /// Properties of the `intel-iommu` device.
    pub iommu: &'static str,
    /// The devices, in the order of their buses.
    pub devices: &'static [Device],
    /// QEMU trace events to record.
    pub traces: &'static [&'static str],
}

impl Machine {
    /// The machine without devices.
    pub const PLAIN: Self =
        Self { memory: "2G", iommu: "intremap=on,scalable-mode=on", devices: &[], traces: &[] };

    /// QEMU's command, with its sockets and logs in `dir`; the processors wait for `cont`.
    pub fn command(&self, dir: &Path, kernel: &Path, initrd: &Path, cmdline: &str) -> Command {
        let at = |name: &str| dir.join(name).display().to_string();
        let mut qemu = Command::new(QEMU);
        qemu.args(["-M", "q35,kernel-irqchip=split", "-accel", "tcg", "-cpu", "max", "-smp", "2"])
            .args(["-m", self.memory, "-nodefaults", "-no-reboot", "-display", "none", "-S"])
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
            .args(["-device", &format!("intel-iommu,{}", self.iommu)])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", cmdline]);
        for event in self.traces {
            qemu.args(["-trace", event]);
        }
        for (index, device) in self.devices.iter().enumerate() {
            let n = index + 1;
            qemu.args(["-device", &format!("pcie-root-port,id=rp{n},chassis={n},addr={n:#x}")]);
            let mut options = format!("{},id=dev{n},bus=rp{n}", device.model);
            if device.fed {
                qemu.args([
                    "-netdev",
                    &format!(
                        "dgram,id=net{n},local.type=unix,local.path={},remote.type=unix,remote.path={}",
                        at("nic.sock"),
                        at("feed.sock")
                    ),
                ]);
                options.push_str(&format!(",netdev=net{n}"));
            }
            qemu.args(["-device", &options]);
        }
        qemu
    }

    /// Refuses a machine that this QEMU cannot emulate.
    pub fn check_supported(&self) -> Result<()> {
        let known = output(Command::new(QEMU).args(["-device", "help"]))?;
        let models =
            self.devices.iter().map(|device| device.model).chain(["intel-iommu", "pcie-root-port"]);
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
