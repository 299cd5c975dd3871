// SPDX-License-Identifier: GPL-2.0

//! Marks HWPTs, and preserves and retrieves iommufds.

use super::{
    entries::{
        self,
        BadRecord,
        Hwpt,
        RawHwptSer,
        RawSer,
        Token, //
    },
    ffi::{
        self,
        Area,
        Context,
        Device,
        DomainHandle,
        Held,
        Kept,
        Pages,
        PreservedDevice, //
    },
    plan::{
        self,
        Candidate,
        NoPassage,
        Passage,
        Passenger,
        Range,
        Refusal,
        Rule,
        Source,
        Unproved, //
    },
};
use core::num::NonZeroU64;
use kernel::{
    fs::LocalFile,
    liveupdate::{
        kho::{
            self,
            BlockSet,
            IncomingBlocks,
            Restored, //
        },
        FileHandler,
        FreezeError,
        Handle,
        Handler,
        Incoming,
        Outgoing,
        OutgoingSession,
        PhysRef,
        ReadError,
        RecordFlaw,
        Retrieval, //
    },
    prelude::*,
    sync::aref::ARef, //
};

kernel::assert_same_layout!(RawHwptSer, iommufd_hwpt_ser { token, domain_data });
kernel::assert_same_layout!(
    RawSer,
    iommufd_ser {
        nr_hwpts,
        reserved,
        hwpts
    }
);

/// The handler of iommufds.
static HANDLER: Handler<Iommufd> = Handler::new();

/// Names the handler.
pub(crate) struct Iommufd;

/// An iommufd that is preserved.
pub(crate) struct Preserved {
    /// The marked HWPTs, whose mappings are held until these are dropped.
    _hwpts: Kept,
    /// What the next kernel is told of them.
    _blocks: BlockSet<RawHwptSer>,
    _record: kho::Outgoing<RawSer>,
}

/// An iommufd whose HWPTs map what they may, before a kexec.
pub(crate) struct Frozen(Preserved);

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Preserved => EBUSY,
            Refusal::Faults => EINVAL,
            Refusal::TokenInUse => EADDRINUSE,
        }
    }
}

impl From<Rule> for Error {
    fn from(rule: Rule) -> Self {
        match rule {
            Rule::Process | Rule::DmaBuf => EINVAL,
            Rule::Session => ENOENT,
            Rule::Stale => ESTALE,
        }
    }
}

/// Marks the HWPT that user space names, or gives it another token.
pub(crate) fn mark(context: Context<'_>, id: u32, token: u64) -> Result {
    let named = context.hwpt(id)?;
    let mut hwpt = named.lock();

    plan::mark(Candidate {
        preserved: hwpt.is_preserved(),
        faults: named.has_faults(),
        token_in_use: hwpt.is_token_of_other(token),
    })?;

    hwpt.set_token(Some(token))
}

/// Takes the mark from the HWPT that user space names.
pub(crate) fn unmark(context: Context<'_>, id: u32) -> Result {
    let named = context.hwpt(id)?;
    let mut hwpt = named.lock();

    if hwpt.is_preserved() {
        return Err(EBUSY);
    }
    if !hwpt.is_marked() {
        return Err(ENOENT);
    }
    hwpt.set_token(None)
}

/// Decides what becomes of a device that is to be preserved in a session, and preserves what it does
/// DMA with.
pub(crate) fn preserve_device(
    device: Device<'_>,
    session: &OutgoingSession<'_>,
    has_pasids: bool,
) -> Result<Passage, NoPassage<Error>> {
    let token = device
        .context()
        .and_then(|context| context.token_in(session));

    // The caller holds a lock that owners of other devices wait for. How long it takes to preserve
    // the iommufd is up to the owner of this one.
    let device = device.try_lock().ok_or(NoPassage::Busy)?;
    let passenger = Passenger {
        attachment: device.attachment(),
        token,
        has_pasids,
    };

    plan::passage(passenger, |token| match device.preserve(token) {
        // Nobody hands over the page table, either.
        Err(err) if err == ENODEV => Ok(false),
        result => result.map(|()| true),
    })
}

/// Unpreserves a device for which [`preserve_device`] returned [`Passage::GoesOn`].
pub(crate) fn unpreserve_device(device: PreservedDevice<'_>) {
    device.unpreserve();
}

#[vtable]
impl FileHandler for Iommufd {
    const COMPATIBLE: &'static CStr = ffi::COMPATIBLE;

    type Preserved = Preserved;
    type Frozen = Frozen;

    fn can_preserve(file: &LocalFile) -> bool {
        Context::of(file).is_some_and(|context| !context.is_container())
    }

    fn preserve(outgoing: &Outgoing<'_>) -> Result<(Preserved, Handle)> {
        let context = Context::of(outgoing.file()).ok_or(EINVAL)?;
        let mut hwpts = context.lock().hold_marked(|marked| {
            if marked.tracks_dirty() {
                return Err(EBUSY);
            }
            ffi::pause()
        })?;

        let session = outgoing.session();
        for index in 0..hwpts.len() {
            look_at(&hwpts[index], &session)?;
            hwpts.preserve_tables(index).inspect_err(|err| {
                // It gave way, which is nothing to be mended.
                if *err != EINTR && *err != ERESTARTNOINTR {
                    report_tables(&hwpts[index], "cannot be preserved");
                }
            })?;
            if hwpts[index].domain().is_none() {
                report_tables(
                    &hwpts[index],
                    "is not preserved: attached devices are stopped",
                );
            }
        }

        let mut blocks = BlockSet::new()?;
        blocks.store(hwpts.iter().map(|hwpt| record_of(hwpt).into()))?;

        let record = RawSer {
            nr_hwpts: u32::try_from(hwpts.len())?,
            reserved: 0,
            hwpts: blocks.head(),
        };
        let record = kho::Outgoing::new(record, GFP_KERNEL_ACCOUNT)?;
        let handle = record.handle();

        let preserved = Preserved {
            _hwpts: hwpts.keep(),
            _blocks: blocks,
            _record: record,
        };
        Ok((preserved, handle))
    }

    /// Nothing can have changed: mappings are held, and files of a session leave it with all files
    /// that were preserved later.
    fn freeze(
        _outgoing: &Outgoing<'_>,
        preserved: Preserved,
        _handle: &mut Handle,
    ) -> Result<Frozen, FreezeError<Preserved>> {
        Ok(Frozen(preserved))
    }

    fn unfreeze(_outgoing: &Outgoing<'_>, Frozen(preserved): Frozen) -> Preserved {
        preserved
    }

    fn retrieve(incoming: &Incoming<'_>) -> Result<ARef<LocalFile>> {
        let reference = PhysRef::<RawSer>::try_from(incoming.handle())?;

        // First: what was handed over is taken over once, and nothing fails for a while after that.
        let file = ffi::open().map_err(|err| {
            if kernel::liveupdate_may_log!() {
                pr_warn!(
                    "an iommufd of session '{}' cannot be made now, retrieve it again: {err:?}\n",
                    incoming.session().name()
                );
            }
            EAGAIN
        })?;
        let hwpts = read(reference).map_err(|bad| {
            if kernel::liveupdate_may_log!() {
                pr_warn!(
                    "an iommufd of session '{}' cannot be retrieved: {bad}, finish the session\n",
                    incoming.session().name()
                );
            }
            EINVAL
        })?;

        let context = Context::of(&file).ok_or(EINVAL)?;

        // DMA that went on is that of this iommufd: no other one gets at these devices.
        for domain in domains(&hwpts) {
            context.own(domain);
        }
        Ok(file)
    }

    /// What an IOMMU still walks for a device goes before the memory that it maps. A file that could not be
    /// made when it was asked for is to be asked for again.
    fn can_finish(incoming: &Incoming<'_>) -> bool {
        !matches!(incoming.retrieval(), Retrieval::Failed(err) if err == EAGAIN) && ffi::can_end()
    }

    /// The same holds for a file whose session is closed without being finished.
    fn can_abandon(_incoming: &Incoming<'_>) -> bool {
        ffi::can_end()
    }

    /// Devices end with their own files, which were preserved later. Those that did not, because they were
    /// not found or their records are wrong ones, end here.
    fn finish(incoming: &Incoming<'_>) {
        // What was handed over was taken over when the file was retrieved.
        match incoming.retrieval() {
            Retrieval::Done(file) => {
                if let Some(context) = Context::of(file) {
                    context.end();
                }
            }
            Retrieval::Failed(err) if err != EAGAIN => ffi::end_lost(),
            // Nothing of it was taken over.
            Retrieval::NotAttempted | Retrieval::Failed(_) => {
                let hwpts = PhysRef::try_from(incoming.handle())
                    .map_err(ReadError::from)
                    .and_then(read);

                match hwpts {
                    Ok(hwpts) => domains(&hwpts).for_each(ffi::end_domain),
                    Err(bad) => {
                        pr_err!("an iommufd was handed over with a bad record: {bad}\n");
                        ffi::end_lost();
                    }
                }
            }
        }
    }
}

/// Returns the domains of the HWPTs that the previous kernel handed over with an iommufd.
fn domains(hwpts: &IncomingBlocks<RawHwptSer>) -> impl Iterator<Item = DomainHandle> + '_ {
    hwpts
        .entries()
        .filter_map(|raw| NonZeroU64::new(raw.domain_data).map(Into::into))
}

/// What the next kernel is told of an HWPT.
fn record_of(hwpt: &Held) -> Hwpt {
    Hwpt {
        token: Token(hwpt.token()),
        domain: hwpt.domain().map(Into::into),
    }
}

/// Says what becomes of the page table of an HWPT.
fn report_tables(hwpt: &Held, what: &str) {
    if kernel::liveupdate_may_log!() {
        pr_warn!("the page table of HWPT {} {what}\n", hwpt.id());
    }
}

/// Checks that an HWPT maps nothing but what the session preserves.
fn look_at(hwpt: &Held, session: &OutgoingSession<'_>) -> Result {
    // Areas beside each other often are of one file.
    let mut preserved: Option<&LocalFile> = None;

    for area in hwpt.areas() {
        ffi::pause()?;

        let area = area?;
        let pages = area.pages();
        if let Pages::File { file, .. } = pages {
            if !preserved.is_some_and(|preserved| core::ptr::eq(preserved, file)) {
                preserved = session.token_of(file).is_ok().then_some(file);
            }
        }
        look_at_area(hwpt, &area, &pages, preserved.is_some())?;
    }
    Ok(())
}

/// Checks what is mapped at a range, of a file that is preserved or not.
fn look_at_area(hwpt: &Held, area: &Area<'_>, pages: &Pages<'_>, preserved: bool) -> Result {
    let range = Range {
        iova: area.iova(),
        nr_pages: area.nr_pages(),
        index: pages.index(),
    };

    plan::may_map(match pages {
        Pages::Process => Source::Process,
        Pages::DmaBuf => Source::DmaBuf,
        Pages::File { .. } => Source::File { preserved },
    })
    .map_err(|rule| refuse(hwpt, range.iova, range.last_iova(), rule))?;

    let Pages::File {
        file,
        removals,
        nr_pages,
        ..
    } = pages
    else {
        return Ok(());
    };
    let stale = |iova| refuse(hwpt, iova, iova | PAGE_LAST, Rule::Stale);

    // What is behind the end of a file is not preserved with it, whether it has pages there or not.
    if let Some(iova) = range.first_behind(*nr_pages) {
        return Err(stale(iova));
    }
    if removals.is_unchanged() {
        return Ok(());
    }

    plan::prove(range, hwpt.table(range), ffi::file_extents(file, range)).map_err(|unproved| {
        match unproved {
            Unproved::Stale(iova) => stale(iova),
            Unproved::Failed(err) => err,
        }
    })
}

/// What the last address of a page has more than the first.
// CAST: lossless, it is a small number.
const PAGE_LAST: u64 = kernel::page::PAGE_SIZE as u64 - 1;

/// Says which rule a mapping breaks, and returns the error for it.
fn refuse(hwpt: &Held, iova: u64, last_iova: u64, rule: Rule) -> Error {
    ffi::trace_refused(hwpt.id(), iova, last_iova, rule.explain());
    if kernel::liveupdate_may_log!() {
        pr_warn!(
            "HWPT {} cannot be preserved: it maps {iova:#x} to {last_iova:#x} to {}\n",
            hwpt.id(),
            rule.explain()
        );
    }
    rule.into()
}

impl RecordFlaw for BadRecord {
    const SUBJECT: &'static str = "its record";
}

/// Checks what the previous kernel left, and frees it.
fn read(reference: PhysRef<RawSer>) -> Result<IncomingBlocks<RawHwptSer>, ReadError<BadRecord>> {
    reference.check_length()?;

    let record: Restored<RawSer> = reference.restore()?;
    let blocks = IncomingBlocks::restore(record.hwpts)?;

    entries::check(&record, blocks.entries())?;
    Ok(blocks)
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
