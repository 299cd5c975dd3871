// SPDX-License-Identifier: GPL-2.0

//! What a device is attached to, and what becomes of that.

use super::CoreDevice;
use crate::plan::Unkept;
use kernel::{
    bindings,
    error::to_result,
    liveupdate::OutgoingSession,
    prelude::*,
    sync::atomic::{
        atomic_store,
        Release, //
    }, //
};

/// What becomes of a device and of what it is attached to, as its iommufd decided: the first values of
/// `enum iommufd_liveupdate_passage`. If it has no iommufd, it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attachment {
    /// It ends, and the device is stopped.
    Ends,
    /// It stays as it is, and the device is stopped.
    Stays,
    /// It stays as it is, in the next kernel, too: the device goes on doing DMA.
    GoesOn,
}

/// That the attachment of a device is kept as it is, as far as it stays.
///
/// To be given back to [`CoreDevice::release_attachment`].
///
/// # Invariants
///
/// `outcome` is what was decided for `device`, and not undone since. The address is not followed.
#[must_use]
pub(crate) struct KeptAttachment {
    outcome: Attachment,
    device: usize,
}

impl KeptAttachment {
    /// Returns what becomes of what the device is attached to.
    pub(crate) fn outcome(&self) -> Attachment {
        self.outcome
    }
}

impl CoreDevice<'_> {
    /// Keeps what the device is attached to as it is, if that goes through the live update, too.
    ///
    /// The file of the device is the one that is to be preserved. What another file of the device attached
    /// it to ends with that one.
    ///
    /// # Errors
    ///
    /// Why it cannot be preserved. Then nothing changes.
    pub(crate) fn keep_attachment(
        self,
        session: &OutgoingSession<'_>,
    ) -> Result<KeptAttachment, Unkept> {
        let set = self.lock_set().map_err(Unkept::GaveWay)?;
        let device = set.as_raw();
        // INVARIANT: Nothing is undone that ends; what does not is kept below.
        let kept = |outcome| KeptAttachment {
            outcome,
            device: self.id(),
        };

        // SAFETY: The lock that protects it is held.
        let attached = unsafe { bindings::vfio_device::iommufd_attached_raw(device) } != 0;
        // SAFETY: The lock that protects it is held.
        let idev = unsafe { (*device).iommufd_device };
        if idev.is_null() {
            return Ok(kept(Attachment::Ends));
        }

        // SAFETY: Initialised while the device is bound to an iommufd.
        let has_pasids = !unsafe { bindings::ida_is_empty(&raw const (*device).pasids) };
        if !attached && !has_pasids {
            return Ok(kept(Attachment::Ends));
        }

        // SAFETY: The lock is held without which it is not attached to anything else, nor
        // unbound. The session is that of the callback that runs.
        let verdict = unsafe {
            bindings::iommufd_device_liveupdate_preserve(idev, session.as_raw(), has_pasids)
        };
        let attachment = outcome(verdict)?;

        if !self.file().is_bound() && attachment != Attachment::Ends {
            if let Attachment::GoesOn = attachment {
                // SAFETY: Just preserved, and bound and attached as before.
                unsafe { bindings::iommufd_device_liveupdate_unpreserve(idev) };
            }
            return Err(Unkept::OtherFile);
        }

        // SAFETY: By the type invariants.
        let attached = unsafe { &raw mut (*device).liveupdate_attached };

        // SAFETY: Valid, and C code accesses it atomically.
        unsafe { atomic_store(attached, attachment != Attachment::Ends, Release) };
        Ok(kept(attachment))
    }

    /// Lets the attachment of the device change that [`keep_attachment`](Self::keep_attachment) kept.
    ///
    /// What was kept of another device stays as it is.
    ///
    /// Takes no lock of the device: whoever attaches another one may have it, and wait for user space.
    pub(crate) fn release_attachment(self, kept: KeptAttachment) {
        if kept.outcome == Attachment::Ends || kept.device != self.id() {
            return;
        }

        let device = self.as_raw();

        if let Attachment::GoesOn = kept.outcome {
            // SAFETY: By the type invariants it goes on, so that the file that it is bound by is preserved,
            // and stays open and attached to what it was until the flag below is cleared.
            unsafe { bindings::iommufd_device_liveupdate_unpreserve((*device).iommufd_device) };
        }

        // SAFETY: By the type invariants.
        let attached = unsafe { &raw mut (*device).liveupdate_attached };

        // ORDERING: Pairs with `vfio_device_keeps_attachments()`: who may attach it comes later.
        //
        // SAFETY: Valid, and C code accesses it atomically while others can.
        unsafe { atomic_store(attached, false, Release) };
    }
}

/// Returns what an iommufd said that becomes of a device.
fn outcome(verdict: bindings::iommufd_liveupdate_verdict) -> Result<Attachment, Unkept> {
    match verdict.passage {
        bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_ENDS => Ok(Attachment::Ends),
        bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_STAYS => Ok(Attachment::Stays),
        bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_GOES_ON => Ok(Attachment::GoesOn),
        bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_UNMARKED => Err(Unkept::Unmarked),
        bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_ORDER => Err(Unkept::Order),
        bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_PASIDS => Err(Unkept::Pasids),
        bindings::iommufd_liveupdate_passage_IOMMUFD_LIVEUPDATE_BUSY => Err(Unkept::Busy),
        // That it failed; nothing else is said.
        _ => Err(match to_result(verdict.error) {
            // The kernel gave way within.
            Err(err) if err == EINTR || err == ERESTARTNOINTR => Unkept::GaveWay(err),
            Err(err) => Unkept::Iommu(err),
            Ok(()) => Unkept::Iommu(EINVAL),
        }),
    }
}
