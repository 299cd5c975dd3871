// SPDX-License-Identifier: GPL-2.0

//! Keeps what the pure files decide, in memory of the host.

// Here and not in the crate root: the pure files shall not find it.
extern crate std;

use crate::{
    entries::{
        BadRecord,
        DriverEntry,
        Entry,
        ProbeEntry,
        RawDevSer,
        RawDriverSer,
        RawProbeSer,
        RawSer,
        VERSION, //
    },
    plan::{
        self,
        Finding,
        List,
        Refusal, //
    },
};
use core::convert::Infallible;
use kernel::liveupdate::pci::Address;
use std::vec::Vec;

impl<T> List<T> for Vec<T> {
    type Error = Infallible;

    fn append(&mut self, item: T) -> Result<(), Infallible> {
        self.push(item);
        Ok(())
    }

    fn cut(&mut self, length: usize) {
        self.truncate(length);
    }
}

impl From<Infallible> for BadRecord {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<Infallible> for Refusal {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// What is known of the devices of the previous kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) entries: Vec<Entry>,
    pub(crate) quarantined: Vec<Address>,
    pub(crate) findings: Vec<Finding>,
}

/// Returns what is handed over for a list.
fn write<T: Copy, R: From<T>>(list: &[T], devices: u64) -> (RawSer, Vec<R>) {
    let header = RawSer {
        version: VERSION,
        nr_devices: list.len().try_into().unwrap(),
        devices,
    };

    (header, list.iter().copied().map(R::from).collect())
}

/// Returns what is handed over for the devices.
pub(crate) fn write_devices(entries: &[Entry], devices: u64) -> (RawSer, Vec<RawDevSer>) {
    write(entries, devices)
}

/// Returns what is handed over for the drivers.
pub(crate) fn write_drivers(drivers: &[DriverEntry], devices: u64) -> (RawSer, Vec<RawDriverSer>) {
    write(drivers, devices)
}

/// Returns what is handed over for the registers.
pub(crate) fn write_probes(probes: &[ProbeEntry], devices: u64) -> (RawSer, Vec<RawProbeSer>) {
    write(probes, devices)
}

/// Returns the devices that were handed over.
pub(crate) fn read_devices(header: &RawSer, records: &[RawDevSer]) -> Result<Known, BadRecord> {
    header.check_version()?;

    let mut known = Known::default();
    plan::read::<BadRecord, _, _>(
        header,
        records.iter().copied(),
        &mut known.entries,
        &mut known.quarantined,
        |finding| known.findings.push(finding),
    )?;
    Ok(known)
}

/// Returns the drivers that were handed over.
pub(crate) fn read_drivers(
    header: &RawSer,
    records: &[RawDriverSer],
) -> Result<Vec<DriverEntry>, BadRecord> {
    header.check_version()?;

    let mut drivers = Vec::new();
    plan::read_drivers::<BadRecord, _>(header, records.iter().copied(), &mut drivers)?;
    Ok(drivers)
}

/// Returns the registers that were handed over.
pub(crate) fn read_probes(
    header: &RawSer,
    records: &[RawProbeSer],
) -> Result<Vec<ProbeEntry>, BadRecord> {
    header.check_version()?;

    let mut probes = Vec::new();
    plan::read_probes::<BadRecord, _>(header, records.iter().copied(), &mut probes)?;
    Ok(probes)
}
