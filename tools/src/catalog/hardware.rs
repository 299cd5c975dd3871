// SPDX-License-Identifier: GPL-2.0

//! Makes machines of what files of VM tests say.

use std::collections::BTreeMap;
use std::num::NonZero;

use anyhow::Result;
use toml::Spanned;

use super::named::Named;
use super::source::Sources;
use super::text::{self, Or, Text};
use crate::job::gib;
use crate::machine::{Backend, Device, Machine, Slot};

/// The machines that have names.
pub struct Machines(Named<text::Machine>);

impl Machines {
    /// None yet.
    pub fn new() -> Self {
        Self(Named::new("machine"))
    }

    /// Adds what one more file has.
    pub fn add(&mut self, sources: &Sources, more: BTreeMap<Text, text::Machine>) -> Result<()> {
        self.0.add(sources, more)
    }

    /// What nobody used so far.
    #[cfg(test)]
    pub fn unused(&self) -> Vec<String> {
        self.0.unused()
    }

    /// The machine that is described or named.
    pub fn read(&self, sources: &Sources, machine: &Spanned<Or<text::Machine>>) -> Result<Machine> {
        let own = match machine.get_ref() {
            Or::Own(own) => own.clone(),
            Or::Name(name) => text::Machine {
                base: Some(Spanned::new(machine.span(), name.clone())),
                ..text::Machine::default()
            },
        };
        let all = self.0.complete(sources, own)?;
        let mut machine = Machine::default();
        if let Some(memory) = all.memory {
            if gib(memory.get_ref()) == 0 {
                let what = "memory is a number of GiB, like \"2G\"";
                return Err(sources.error(&memory.span(), what));
            }
            machine.memory = memory.into_inner();
        }
        machine.options = all.options.into_iter().flatten().map(Spanned::into_inner).collect();
        if let Some(model) = all.iommu_model {
            machine.iommu_model = model.into_inner();
        }
        if let Some(iommu) = all.iommu {
            machine.iommu = iommu.into_inner();
        }
        for slot in all.slots.iter().flatten() {
            machine.slots.extend(slots_of(sources, slot)?);
        }
        machine.traces = all.traces.into_iter().flatten().map(Spanned::into_inner).collect();
        machine.is_open = all.is_open.unwrap_or(false);
        machine.counts_instructions = all.counts_instructions.unwrap_or(false);
        Ok(machine)
    }
}

/// What is in one slot, or in each of several.
fn slots_of(sources: &Sources, slot: &Spanned<Or<text::Slot>>) -> Result<Vec<Slot>> {
    let at = slot.span();
    let slot = match slot.get_ref() {
        Or::Own(slot) => slot,
        Or::Name(model) => {
            let device = Device { model: model.clone(), backend: Backend::None };
            return Ok(vec![Slot::Device(device)]);
        }
    };
    let one = |kind: fn(Device) -> Slot, device: &Option<Spanned<Or<text::Device>>>| {
        device.as_ref().map(|device| Ok(kind(device_of(sources, device)?)))
    };
    type Devices = Option<Vec<Spanned<Or<text::Device>>>>;
    let several = |kind: fn(Vec<Device>) -> Slot, devices: &Devices| {
        let devices = devices.as_ref()?.iter().map(|device| device_of(sources, device));
        Some(devices.collect::<Result<_>>().map(kind))
    };
    let all = [
        one(Slot::Device, &slot.device),
        one(Slot::Integrated, &slot.integrated),
        one(Slot::Conventional, &slot.conventional),
        one(Slot::Expander, &slot.expander),
        several(Slot::Switch, &slot.switch),
        several(Slot::Fixed, &slot.fixed),
        several(Slot::Group, &slot.group),
        several(Slot::Functions, &slot.functions),
        slot.empty.map(|buses| Ok(Slot::Empty(buses))),
    ];
    let all = all.into_iter().flatten().collect::<Result<Vec<Slot>>>()?;
    match &all[..] {
        [one] => Ok(vec![one.clone(); slot.times.map_or(1, NonZero::get)]),
        _ => Err(sources.error(
            &at,
            "a slot has one of `device`, `integrated`, `conventional`, `expander`, `switch`, \
             `fixed`, `group`, `functions` and `empty`",
        )),
    }
}

/// A device, and what it is connected to.
fn device_of(sources: &Sources, device: &Spanned<Or<text::Device>>) -> Result<Device> {
    let at = device.span();
    let device = match device.get_ref() {
        Or::Own(device) => device,
        Or::Name(model) => {
            return Ok(Device { model: model.clone(), backend: Backend::None });
        }
    };
    let backend = match (device.backend, device.reads_per_second) {
        (text::Backend::Frames, None) => Backend::Frames,
        (text::Backend::Wire, None) => Backend::Wire,
        (text::Backend::Disk, None) => Backend::Disk,
        (text::Backend::Disk, Some(reads)) => Backend::SlowDisk(reads),
        (_, Some(_)) => {
            return Err(sources.error(&at, "`reads_per_second` is for the backend `disk` only"));
        }
    };
    Ok(Device { model: device.model.clone(), backend })
}
