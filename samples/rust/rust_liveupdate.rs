// SPDX-License-Identifier: GPL-2.0

//! Rust Live Update sample.
//!
//! Lets `/dev/zero` files go through a live update. Such a file has hardly any state, so this shows
//! what a handler has to do and little else: it hands over how the file was opened, and opens the
//! device in the same way in the next kernel. How often each way was used is data that all files
//! share, which goes along as File-Lifecycle-Bound data: a record, and memory that the record names.
//!
//! To see it at work, have `tools/testing/selftests/liveupdate/luo_rust_sample` preserve a file,
//! kexec, and have it retrieve the file.

use core::num::NonZero;
use kernel::{
    fs::{
        file::flags,
        LocalFile, //
    },
    liveupdate::{
        self,
        kho::{
            self,
            Folio,
            Pages,
            Preserved, //
        },
        FileHandler,
        Flb,
        FlbCell,
        Handle,
        Handler,
        Incoming,
        Outgoing,
        PhysRef,
        Registration, //
    },
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Mutex, //
    },
};
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

module! {
    type: LiveUpdateSample,
    name: "rust_liveupdate",
    authors: ["liveupdate_rs maintainers"],
    description: "Rust Live Update sample",
    license: "GPL",
}

/// Major and minor number of `/dev/zero`.
const ZERO: (u32, u32) = (1, 5);

/// A preserved file, as the next kernel finds it.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawFileSer {
    /// How the file was opened.
    flags: u32,
}

/// How a file is opened: what is believed of a [`RawFileSer`].
#[derive(Clone, Copy)]
struct AccessMode(u32);

impl AccessMode {
    /// Returns where this way to open a file is counted.
    fn index(self) -> usize {
        match self.0 {
            flags::O_RDONLY => 0,
            flags::O_WRONLY => 1,
            _ => 2,
        }
    }
}

impl TryFrom<RawFileSer> for AccessMode {
    type Error = Error;

    fn try_from(raw: RawFileSer) -> Result<Self> {
        match raw.flags {
            flags::O_RDONLY | flags::O_WRONLY | flags::O_RDWR => Ok(Self(raw.flags)),
            _ => Err(EINVAL),
        }
    }
}

/// The handler of `/dev/zero` files.
struct ZeroFiles;

#[vtable]
impl FileHandler for ZeroFiles {
    const COMPATIBLE: &'static CStr = c"rust-sample-zero-v1";

    // The record is all that there is of a preserved file; dropping it unpreserves the file.
    type Preserved = kho::Outgoing<RawFileSer>;
    type Frozen = ();

    fn can_preserve(file: &LocalFile) -> bool {
        liveupdate::device_number(file) == Some(ZERO)
    }

    fn preserve(outgoing: &Outgoing<'_>) -> Result<(Self::Preserved, Handle)> {
        let flags = outgoing.file().flags() & flags::O_ACCMODE;
        let mode = AccessMode::try_from(RawFileSer { flags })?;
        let record = kho::Outgoing::new(RawFileSer { flags }, GFP_KERNEL_ACCOUNT)?;
        let handle = record.handle();

        STATISTICS.outgoing()?.lock().count(mode);
        Ok((record, handle))
    }

    fn retrieve(incoming: &Incoming<'_>) -> Result<ARef<LocalFile>> {
        let record = PhysRef::<RawFileSer>::try_from(incoming.handle())?.peek()?;
        let mode = AccessMode::try_from(record)?;

        // That it was counted is what the statistics are good for.
        if STATISTICS.incoming()?.of(mode) == 0 {
            return Err(EINVAL);
        }
        liveupdate::open(c"/dev/zero", mode.0).map_err(|err| {
            // Nothing was consumed, and user space may make the device's node and ask again.
            if err == ENOENT {
                EAGAIN
            } else {
                err
            }
        })
    }

    fn finish(incoming: &Incoming<'_>) {
        // Frees the record.
        if let Err(err) =
            PhysRef::<RawFileSer>::try_from(incoming.handle()).and_then(PhysRef::restore)
        {
            pr_err!("a file was handed over with a bad record: {err:?}\n");
        }
    }
}

static HANDLER: Handler<ZeroFiles> = Handler::new();

/// The shared data, as the next kernel finds it.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawStatisticsSer {
    /// Physical address of a folio that begins with a counter for each way to open a file.
    counters: u64,
    /// Physical address of pages that say which way is which.
    legend: u64,
}

/// The order of the folio with the counters.
const COUNTERS_ORDER: u32 = 1;

/// The number of pages with the legend.
const LEGEND_PAGES: NonZero<usize> = NonZero::new(3).unwrap();

/// What the pages with the legend begin with.
const LEGEND: &[u8] = b"O_RDONLY, O_WRONLY, O_RDWR";

/// Names the shared data.
struct Statistics;

/// How often files were preserved in which way, to be handed over.
struct OutgoingStatistics {
    counters: Preserved<Folio>,
    /// Exist for the next kernel.
    _legend: Preserved<Pages>,
    _record: kho::Outgoing<RawStatisticsSer>,
}

impl OutgoingStatistics {
    /// Counts a file.
    fn count(&mut self, mode: AccessMode) {
        if let Some(counter) = self.counters.get_mut(mode.index()) {
            *counter = counter.saturating_add(1);
        }
    }
}

/// How often files were preserved in which way, as it was handed over.
struct IncomingStatistics {
    counters: Folio,
    /// Freed with the rest.
    _record: kho::Restored<RawStatisticsSer>,
}

impl IncomingStatistics {
    /// Returns how often files were preserved that were opened in this way.
    fn of(&self, mode: AccessMode) -> u8 {
        self.counters.get(mode.index()).copied().unwrap_or(0)
    }
}

#[vtable]
impl Flb for Statistics {
    const COMPATIBLE: &'static CStr = c"rust-sample-statistics-v1";

    type Outgoing = Mutex<OutgoingStatistics>;
    type Incoming = IncomingStatistics;

    fn preserve() -> Result<(Pin<KBox<Self::Outgoing>>, Handle)> {
        let counters = Folio::new(GFP_KERNEL, COUNTERS_ORDER)?;
        let counters = Preserved::new(counters).map_err(|(err, _)| err)?;

        let mut legend = Pages::new(GFP_KERNEL, LEGEND_PAGES)?;
        legend[..LEGEND.len()].copy_from_slice(LEGEND);
        let legend = Preserved::new(legend).map_err(|(err, _)| err)?;

        // All files share it, so nobody is charged for it.
        let record = RawStatisticsSer {
            counters: counters.phys(),
            legend: legend.phys(),
        };
        let record = kho::Outgoing::new(record, GFP_KERNEL)?;
        let handle = record.handle();

        let statistics = OutgoingStatistics {
            counters,
            _legend: legend,
            _record: record,
        };
        Ok((KBox::pin_init(new_mutex!(statistics), GFP_KERNEL)?, handle))
    }

    fn retrieve(handle: Handle) -> Result<Pin<KBox<Self::Incoming>>> {
        let record = PhysRef::<RawStatisticsSer>::try_from(handle)?.restore()?;
        let counters = Folio::restore(record.counters, COUNTERS_ORDER)?;
        let legend = Pages::restore(record.legend, LEGEND_PAGES)?;

        // A kernel that means something else by the counters.
        if !legend.starts_with(LEGEND) {
            return Err(EINVAL);
        }

        let statistics = IncomingStatistics {
            counters,
            _record: record,
        };
        Ok(KBox::pin(statistics, GFP_KERNEL)?)
    }
}

static STATISTICS: FlbCell<Statistics> = FlbCell::new();

/// Keeps the handler registered while the module is loaded.
struct LiveUpdateSample {
    _registration: Registration<ZeroFiles>,
}

impl kernel::Module for LiveUpdateSample {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _registration: HANDLER.register()?.attach(&STATISTICS)?.publish(),
        })
    }
}
