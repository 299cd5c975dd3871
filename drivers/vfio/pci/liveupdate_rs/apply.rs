// SPDX-License-Identifier: GPL-2.0

//! Preserves and retrieves files.

use super::{
    entries::RawCoreDeviceSer,
    ffi::{
        self,
        Attachment,
        CoreDevice,
        KeptAttachment, //
    },
    plan::{
        self,
        Lost,
        Progress,
        Refusal,
        Treatment,
        Unkept, //
    },
};
use kernel::{
    dev_warn_ratelimited,
    fs::LocalFile,
    liveupdate::{
        kho,
        pci::{
            self as lu_pci,
            Address,
            RawAddress, //
        },
        FileHandler,
        FreezeError,
        Handle,
        Handler,
        Incoming,
        Outgoing,
        PhysRef,
        Retrieval, //
    },
    pci,
    prelude::*,
    sync::aref::ARef, //
};

kernel::assert_same_layout!(RawCoreDeviceSer, vfio_pci_core_device_ser { domain, bdf });

/// The handler of vfio-pci device files.
static HANDLER: Handler<VfioPci> = Handler::new();

/// Names the handler.
pub(crate) struct VfioPci;

impl From<Unkept> for Error {
    fn from(unkept: Unkept) -> Self {
        match unkept {
            Unkept::Unmarked => EINVAL,
            Unkept::Order => ENOENT,
            Unkept::Pasids => EOPNOTSUPP,
            Unkept::Busy | Unkept::OtherFile => EBUSY,
            Unkept::Iommu(err) | Unkept::GaveWay(err) => err,
        }
    }
}

/// A file that is preserved.
pub(crate) struct Preserved {
    /// What its device is attached to.
    attachment: KeptAttachment,
    /// Exists for the next kernel.
    _record: kho::Outgoing<RawCoreDeviceSer>,
}

/// A file that user space cannot use any more.
pub(crate) struct Frozen(Preserved);

#[vtable]
impl FileHandler for VfioPci {
    const COMPATIBLE: &'static CStr = ffi::COMPATIBLE;

    type Preserved = Preserved;
    type Frozen = Frozen;

    fn can_preserve(file: &LocalFile) -> bool {
        let Some(kind) = ffi::kind(file) else {
            return false;
        };
        let decision = plan::can_preserve(kind);

        // Nobody else says why: user space gets `ENOENT`, as for any file without a handler. Devices of
        // other drivers may have one.
        if let (Err(unfit), Some(device)) = (decision, CoreDevice::of(file)) {
            dev_warn_ratelimited!(device.pci(), "cannot be preserved: {}\n", unfit.explain());
        }
        decision.is_ok()
    }

    /// Two opens of one character device are legal, but only one of them can be preserved.
    fn id(file: &LocalFile) -> usize {
        CoreDevice::of(file).map_or(0, CoreDevice::id)
    }

    fn preserve(outgoing: &Outgoing<'_>) -> Result<(Preserved, Handle)> {
        let device = CoreDevice::of(outgoing.file()).ok_or(EINVAL)?;

        plan::preserve(device.obstacles()).map_err(|refusal| {
            dev_warn_ratelimited!(device.pci(), "cannot be preserved: {}\n", refusal.explain());
            match refusal {
                Refusal::GoingAway => ENODEV,
                _ => EOPNOTSUPP,
            }
        })?;

        let record = RawCoreDeviceSer::from(lu_pci::address(device.pci()));
        let record = kho::Outgoing::new(record, GFP_KERNEL_ACCOUNT)?;
        let handle = record.handle();

        let attachment = device
            .keep_attachment(&outgoing.session())
            .map_err(|unkept| {
                if let Some(what) = unkept.explain() {
                    dev_warn_ratelimited!(device.pci(), "cannot be preserved: {what}\n");
                }
                Error::from(unkept)
            })?;
        if let Err(err) = preserve(device, handle, attachment.outcome()) {
            device.release_attachment(attachment);
            return Err(err);
        }
        if let Attachment::Stays = attachment.outcome() {
            dev_warn_ratelimited!(
                device.pci(),
                "will be stopped: the driver of its IOMMU hands over no page tables\n"
            );
        }

        let preserved = Preserved {
            attachment,
            _record: record,
        };
        Ok((preserved, handle))
    }

    fn unpreserve(outgoing: &Outgoing<'_>, preserved: Preserved) {
        if let Some(device) = CoreDevice::of(outgoing.file()) {
            device.unpreserve();
            device.release_attachment(preserved.attachment);
        }
    }

    fn freeze(
        outgoing: &Outgoing<'_>,
        preserved: Preserved,
        _handle: &mut Handle,
    ) -> Result<Frozen, FreezeError<Preserved>> {
        let Some(device) = CoreDevice::of(outgoing.file()) else {
            return Err((EINVAL, preserved));
        };

        match device.freeze(plan::freeze) {
            Ok(treatment) => {
                if let Treatment::Quiesced { left_on: true } = treatment {
                    dev_info!(
                        device.pci(),
                        "its owner is gone, and left interrupts, ioeventfds or a low power state on: turned off\n"
                    );
                }
                Ok(Frozen(preserved))
            }
            Err(refusal) => {
                let session = outgoing.session();

                dev_warn_ratelimited!(
                    device.pci(),
                    "refuses the kexec, as token {:#x} of session '{}': {}\n",
                    session.token_of(outgoing.file()).unwrap_or(u64::MAX),
                    session.name(),
                    refusal.explain()
                );
                let err = match refusal {
                    Refusal::Operation | Refusal::GoingAway | Refusal::Topology => EBUSY,
                    _ => EINVAL,
                };
                Err((err, preserved))
            }
        }
    }

    fn unfreeze(outgoing: &Outgoing<'_>, Frozen(preserved): Frozen) -> Preserved {
        if let Some(device) = CoreDevice::of(outgoing.file()) {
            device.unfreeze();
        }
        preserved
    }

    fn retrieve(incoming: &Incoming<'_>) -> Result<ARef<LocalFile>> {
        retrieve(incoming.handle()).map_err(|(err, lost)| {
            if kernel::liveupdate_may_log!() {
                let session = incoming.session();

                pr_warn!(
                    "a file of session '{}' cannot be retrieved: {lost}\n",
                    session.name()
                );
            }
            err
        })
    }

    fn can_finish(incoming: &Incoming<'_>) -> bool {
        let progress = progress(incoming);

        if let Some(missing) = progress.missing() {
            report_missing(incoming, missing);
        }
        plan::can_finish(progress)
    }

    fn finish(incoming: &Incoming<'_>) {
        let abandoned = !plan::can_finish(progress(incoming));

        // Its record was taken over when it was retrieved.
        if let Retrieval::Done(file) = incoming.retrieval() {
            if let Some(device) = CoreDevice::of(file) {
                if abandoned {
                    report_abandoned(device.pci(), incoming);
                }
                ffi::take_over(device.pci());
                device.reset_unless_open();
                ffi::finish(device.pci());
            }
            return;
        }

        // Dropping the record frees it. It is not there for a second file that names the same one.
        let record =
            PhysRef::<RawCoreDeviceSer>::try_from(incoming.handle()).and_then(|reference| {
                reference.check_length()?;
                reference.restore()
            });

        match record.and_then(|record| address(*record)).map(lu_pci::find) {
            // Nobody says whose it is if the previous kernel did not list drivers: then the file
            // that it was retrieved with may have it in use.
            Ok(Some(device))
                if ffi::is_incoming_for(&device, incoming.handle()) && !ffi::is_open(&device) =>
            {
                if abandoned {
                    report_abandoned(&device, incoming);
                }
                ffi::take_over(&device);
                ffi::reset(&device);
                ffi::finish(&device);
            }
            // Somebody else's: the record is a wrong one.
            Ok(Some(_)) => (),
            // The PCI core reports a device that is missing.
            Ok(None) => (),
            Err(err) => pr_err!("a file was handed over with a bad record: {err:?}\n"),
        }
    }
}

/// Has the PCI core preserve a device, which goes on doing DMA if its attachment lets it.
fn preserve(device: CoreDevice<'_>, handle: Handle, attachment: Attachment) -> Result {
    device.preserve(handle)?;
    if let Attachment::GoesOn = attachment {
        lu_pci::keep_mastering(device.pci()).inspect_err(|_| device.unpreserve())?;
    }
    Ok(())
}

/// How far a file of the previous kernel has got.
fn progress(incoming: &Incoming<'_>) -> Progress {
    match incoming.retrieval() {
        Retrieval::NotAttempted => Progress::NotRetrieved,
        Retrieval::Failed(err) if err == EAGAIN => Progress::Waiting,
        Retrieval::Failed(_) => Progress::Failed,
        Retrieval::Done(file) => match CoreDevice::of(file) {
            Some(device) if device.is_open() && ffi::is_unclaimed(device.pci()) => {
                Progress::Unattached
            }
            Some(device) if device.is_open() => Progress::Bound,
            _ => Progress::Unbound,
        },
    }
}

/// Says why a session cannot be finished.
fn report_missing(incoming: &Incoming<'_>, missing: &str) {
    if !kernel::liveupdate_may_log!() {
        return;
    }
    let session = incoming.session();

    if let Retrieval::Done(file) = incoming.retrieval() {
        if let Some(device) = CoreDevice::of(file) {
            dev_warn!(
                device.pci(),
                "session '{}' cannot be finished: {missing}\n",
                session.name()
            );
        }
    } else {
        pr_warn!(
            "session '{}' cannot be finished: a device of it cannot: {missing}\n",
            session.name()
        );
    }
}

/// Says that a device does not go on, for its session ended before it could be finished.
fn report_abandoned(device: &pci::Device, incoming: &Incoming<'_>) {
    let is_bound = progress(incoming) == Progress::Unattached;

    dev_warn_ratelimited!(
        device,
        "is stopped{}: session '{}' was closed or dropped before it was {}\n",
        if is_bound { "" } else { " and reset" },
        incoming.session().name(),
        if is_bound { "attached" } else { "bound" }
    );
}

/// Makes the file of a device again, or says why that is not possible.
///
/// With `EAGAIN` and `ENODEV` nothing has changed, and LUO lets user space ask again.
fn retrieve(handle: Handle) -> Result<ARef<LocalFile>, (Error, Lost)> {
    let reference = PhysRef::try_from(handle).map_err(|err| (err, Lost::Record))?;
    let record = reference.peek().map_err(|err| (err, Lost::Record))?;
    reference.check_length().map_err(|err| {
        if err == E2BIG {
            (EINVAL, Lost::Length)
        } else {
            (err, Lost::Record)
        }
    })?;
    let address = address(record).map_err(|err| (err, Lost::Address))?;
    let device = lu_pci::find(address).ok_or((ENODEV, Lost::Missing(address)))?;

    // A record of a device that the PCI core does not expect for it is a wrong one.
    if !ffi::is_incoming_for(&device, handle) {
        return Err((EINVAL, Lost::NotPreserved(address)));
    }
    let file = ffi::open(&device).map_err(|err| not_opened(&device, address, err))?;

    // The device is this file's from here on: no other one can be finished in its place. Registers of the
    // device can be written to when it is bound.
    reference.restore().map_err(|err| (err, Lost::Record))?;
    Ok(file)
}

/// What retrieving the file of a device fails with that cannot be opened, and why.
fn not_opened(device: &pci::Device, address: Address, err: Error) -> (Error, Lost) {
    if err == ENODEV && ffi::may_bind(device) {
        (EAGAIN, Lost::NotBound(address))
    } else if err == ENODEV {
        (EACCES, Lost::Barred(address))
    } else if err == ENOMEM || err == ENFILE {
        (EAGAIN, Lost::NoFile(address))
    } else {
        (err, Lost::NotOpened(address))
    }
}

/// Checks the address that a record names.
fn address(record: RawCoreDeviceSer) -> Result<Address> {
    Ok(Address::try_from(RawAddress::from(record))?)
}

/// Lets files be preserved and retrieved.
///
/// # Errors
///
/// As [`ffi::register`]: `EOPNOTSUPP` if the Live Update Orchestrator does not run. Then nothing is
/// registered.
pub(crate) fn register() -> Result {
    ffi::register(&HANDLER)
}

/// Unregisters the file handler that [`register`] registered, if it did.
pub(crate) fn unregister() {
    HANDLER.unregister();
}
