// SPDX-License-Identifier: GPL-2.0

//! Keeps what is outgoing and what is incoming, and has drivers of IOMMUs do what was decided.

mod end;
mod incoming;
mod outgoing;
mod passengers;

pub(crate) use self::{
    end::{
        can_end,
        end,
        finish,
        has_beyond_reach,
        has_incoming,
        set_contained,
        set_owner, //
    },
    incoming::{
        adopt,
        block,
        for_each_device_of,
        iommu,
        refuse_domain,
        release_domain,
        restore,
        stop,
        take_domain,
        was_preserved,
        HandedOver, //
    },
    outgoing::{
        is_group_whole,
        is_unchanged,
        prepare_kexec,
        preserve_device,
        preserve_domain,
        unpreserve_device,
        unpreserve_domain, //
    },
    passengers::{
        set_unknown,
        was_cut_off, //
    },
};

use self::{
    incoming::Incoming,
    outgoing::Outgoing, //
};
use super::{
    ffi,
    plan::Which, //
};
use kernel::{
    liveupdate::{
        Flb,
        FlbCell,
        Handle,
        IncomingFlb, //
    },
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

/// The FLB of all that is preserved.
pub(crate) static IOMMUS: FlbCell<Iommus> = FlbCell::new();

/// Names the FLB.
pub(crate) struct Iommus;

/// Compatible strings of IOMMU FLBs of other kernels, whose layouts this kernel cannot read. See
/// `include/linux/kho/abi/iommu.h`.
const FOREIGN: [&CStr; 2] = [c"iommu-liveupdate", c"iommu-liveupdate-v1"];

/// The first one of [`FOREIGN`].
static FOREIGN_NEW: FlbCell<Foreign<0>> = FlbCell::new();

/// The second one of [`FOREIGN`].
static FOREIGN_OLD: FlbCell<Foreign<1>> = FlbCell::new();

/// Names an FLB that is not read.
struct Foreign<const INDEX: usize>;

#[vtable]
impl<const INDEX: usize> Flb for Foreign<INDEX> {
    const COMPATIBLE: &'static CStr = FOREIGN[INDEX];

    type Outgoing = ();
    type Incoming = ();

    /// Never called: no handler has files that share it.
    fn preserve() -> Result<(Pin<KBox<Self::Outgoing>>, Handle)> {
        Err(EOPNOTSUPP)
    }

    /// Logs that the FLB is ignored, and fails for good: LUO keeps the error.
    fn retrieve(_handle: Handle) -> Result<Pin<KBox<Self::Incoming>>> {
        pr_warn!(
            "no IOMMU is taken over: '{}' was handed over, in a layout of other kernels\n",
            FOREIGN[INDEX]
        );
        Err(EOPNOTSUPP)
    }
}

/// Returns the incoming FLB of IOMMUs, and logs the name of a foreign one if there is none.
fn handed_over() -> Result<IncomingFlb<Iommus>> {
    IOMMUS.incoming().inspect_err(|err| {
        // There are FLBs, and this is none of them.
        if *err == ENOENT {
            let _ = FOREIGN_NEW.incoming();
            let _ = FOREIGN_OLD.incoming();
        }
    })
}

#[vtable]
impl Flb for Iommus {
    const COMPATIBLE: &'static CStr = ffi::COMPATIBLE;

    type Outgoing = Mutex<Outgoing>;
    type Incoming = Mutex<Incoming>;

    fn preserve() -> Result<(Pin<KBox<Self::Outgoing>>, Handle)> {
        let outgoing = Outgoing::new()?;
        let handle = outgoing.handle();

        Ok((KBox::pin_init(new_mutex!(outgoing), GFP_KERNEL)?, handle))
    }

    /// Returns empty lists for an unreadable record: LUO would keep an error for all callers. What is read
    /// once is not lost for want of memory, see [`incoming`].
    fn retrieve(handle: Handle) -> Result<Pin<KBox<Self::Incoming>>> {
        let mut incoming = Incoming::read(handle);

        passengers::list(incoming.lists().addresses())?;
        KBox::pin_init(new_mutex!(incoming), GFP_KERNEL | __GFP_NOFAIL)
    }

    /// Frees page tables of lost devices, and restored domains to which no device is
    /// attached.
    fn finish(incoming: Pin<KBox<Self::Incoming>>) {
        end::free_tables(&incoming, Which::Lost);

        let made = incoming.lock().take_made();

        for (domain, is_attached) in made {
            if is_attached {
                // It is the IOMMU group's that devices which were not finished are in.
                core::mem::forget(domain);
            }
        }
    }
}
