// SPDX-License-Identifier: GPL-2.0

//! Marks HWPTs, and preserves and retrieves iommufds.

use super::{
    entries::{
        self,
        BadRecord,
        Lists,
        RawAreaSer,
        RawDeviceSer,
        RawHwptSer,
        RawIoasSer,
        RawRangeSer,
        RawSer,
        Token,
        ACCOUNT_MM,
        SMALL_PAGES, //
    },
    ffi::{
        self,
        Area,
        Context,
        Device,
        DomainHandle,
        Held,
        Kept,
        NewIommufd,
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
    fmt,
    fs::LocalFile,
    liveupdate::{
        kho::{
            self,
            BlockSet,
            IncomingBlocks,
            Restored, //
        },
        pci::RawAddress,
        sorted,
        FileHandler,
        FreezeError,
        Handle,
        Handler,
        Incoming,
        IncomingSession,
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

kernel::assert_same_layout!(
    RawIoasSer,
    iommufd_ioas_ser {
        id,
        flags,
        nr_areas,
        nr_allowed
    }
);
kernel::assert_same_layout!(
    RawAreaSer,
    iommufd_area_ser {
        iova,
        length,
        token,
        offset,
        prot,
        reserved
    }
);
kernel::assert_same_layout!(RawRangeSer, iommufd_range_ser { start, last });
kernel::assert_same_layout!(
    RawHwptSer,
    iommufd_hwpt_ser {
        token,
        domain_data,
        id,
        ioas_id,
        flags,
        reserved
    }
);
kernel::assert_same_layout!(
    RawDeviceSer,
    iommufd_device_ser {
        id,
        domain,
        bdf,
        reserved
    }
);
kernel::assert_same_layout!(
    RawSer,
    iommufd_ser {
        nr_hwpts,
        nr_ioases,
        nr_areas,
        nr_allowed,
        nr_devices,
        flags,
        hwpts,
        ioases,
        areas,
        allowed,
        devices
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
    /// What the next kernel is told.
    _records: OutgoingRecords,
}

/// What the next kernel is told of an iommufd.
struct OutgoingRecords {
    _hwpts: BlockSet<RawHwptSer>,
    _ioases: BlockSet<RawIoasSer>,
    _areas: BlockSet<RawAreaSer>,
    _allowed: BlockSet<RawRangeSer>,
    _devices: BlockSet<RawDeviceSer>,
    record: kho::Outgoing<RawSer>,
}

/// What the previous kernel said of an iommufd, as far as it could be checked. Dropping it frees the memory.
struct IncomingRecords {
    record: RawSer,
    hwpts: IncomingBlocks<RawHwptSer>,
    ioases: IncomingBlocks<RawIoasSer>,
    areas: IncomingBlocks<RawAreaSer>,
    allowed: IncomingBlocks<RawRangeSer>,
    devices: IncomingBlocks<RawDeviceSer>,
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

/// Has what page tables map be proved before an ioctl changes any of it.
///
/// # Errors
///
/// `EBUSY` if the ioctl changes what the next kernel was told. Otherwise as
/// [`Context::prove_before_change`].
pub(crate) fn prepare(context: Context<'_>, cmd: u32) -> Result {
    if cmd == ffi::IOAS_ALLOW_IOVAS && context.lock().is_preserved() {
        return Err(EBUSY);
    }
    if ffi::CHANGE_NOTHING.contains(&cmd) {
        return Ok(());
    }
    context.prove_before_change()
}

/// Has what page tables map be proved before a device is attached to another one than it goes on with, or a
/// PASID of it is attached to any.
///
/// # Errors
///
/// As [`Context::prove_before_change`].
pub(crate) fn prepare_attach(device: Device<'_>, pasid: u32, id: u32) -> Result {
    let changes_nothing = pasid == ffi::NO_PASID && device.goes_on_with(id);

    match device.context() {
        Some(context) if !changes_nothing => context.prove_before_change(),
        _ => Ok(()),
    }
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
        let locked = context.lock();

        if locked.is_incoming() {
            if kernel::liveupdate_may_log!() {
                pr_warn!(
                    "an iommufd cannot be preserved: finish the session that it was retrieved from first\n"
                );
            }
            return Err(EBUSY);
        }
        let mut hwpts = locked.hold_marked(|marked| {
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

        let records = store(context, &hwpts, &session)?;
        let handle = records.record.handle();

        let preserved = Preserved {
            _hwpts: hwpts.keep(),
            _records: records,
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
        let session = incoming.session();
        let reference = PhysRef::<RawSer>::try_from(incoming.handle())?;

        // First: what was handed over is taken over once, and is lost with whoever is killed then.
        let mut new = NewIommufd::open();
        if let Err(err) = new {
            if kernel::liveupdate_may_log!() {
                pr_warn!(
                    "an iommufd of session '{}' cannot be made now, retrieve it again: {err:?}\n",
                    session.name()
                );
            }
            return Err(EAGAIN);
        }
        let records = read(reference).map_err(|bad| refused(&session, &bad))?;

        let file = loop {
            let restored = new
                .map_err(|_| NotRestored::NotNow)
                .and_then(|new| restore(new, &records, &session));

            match restored {
                Ok(file) => break file,
                Err(NotRestored::Bad(bad)) => return Err(refused(&session, &bad)),
                // Memory is short. What was made goes before it is made again.
                Err(NotRestored::NotNow) => ffi::wait()?,
            }
            new = NewIommufd::open();
        };

        // DMA that went on is that of this iommufd: no other one gets at these devices.
        if let Some(context) = Context::of(&file) {
            domains(&records.hwpts).for_each(|domain| context.own(domain));
        }
        Ok(file)
    }

    /// What an IOMMU still walks for a device goes before the memory that it maps. A file that could not be
    /// made when it was asked for is to be asked for again.
    ///
    /// What the iommufd still maps then is proved: the memfds need not keep it any longer.
    fn can_finish(incoming: &Incoming<'_>) -> bool {
        let is_early = matches!(incoming.retrieval(), Retrieval::Failed(err) if err == EAGAIN);

        !is_early && ffi::can_end() && prove(incoming).is_ok()
    }

    /// The same holds for a file whose session is closed without being finished. What is not proved by then
    /// is given up, unless a kexec has to go first.
    fn can_abandon(incoming: &Incoming<'_>) -> bool {
        ffi::can_end() && prove(incoming) != Err(ERESTARTNOINTR)
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
            // Nobody got any of it.
            Retrieval::NotAttempted | Retrieval::Failed(_) => {
                let records = PhysRef::try_from(incoming.handle())
                    .map_err(ReadError::from)
                    .and_then(read);

                match records {
                    Ok(records) => domains(&records.hwpts).for_each(ffi::end_domain),
                    Err(bad) => {
                        pr_err!("an iommufd was handed over with a bad record: {bad}\n");
                        ffi::end_lost();
                    }
                }
            }
        }
    }
}

/// Says that an iommufd cannot be retrieved, and returns the error for that.
fn refused(session: &IncomingSession<'_>, why: &dyn fmt::Display) -> Error {
    if kernel::liveupdate_may_log!() {
        pr_warn!(
            "an iommufd of session '{}' cannot be retrieved: {why}, close or drop the session\n",
            session.name()
        );
    }
    EINVAL
}

/// Has what a retrieved iommufd maps be compared with the pages of its memfds.
fn prove(incoming: &Incoming<'_>) -> Result {
    let Retrieval::Done(file) = incoming.retrieval() else {
        return Ok(());
    };

    Context::of(file).map_or(Ok(()), |context| {
        context.prove().inspect_err(|err| {
            if *err == ENOMEM && kernel::liveupdate_may_log!() {
                pr_warn!(
                    "an iommufd of session '{}' cannot be finished: memory is short, or more would be pinned than RLIMIT_MEMLOCK allows\n",
                    incoming.session().name()
                );
            }
        })
    })
}

/// Stores what the next kernel is told of an iommufd whose HWPTs are held.
fn store(
    context: Context<'_>,
    hwpts: &[Held],
    session: &OutgoingSession<'_>,
) -> Result<OutgoingRecords> {
    // Of each IOAS the first HWPT, in the order of the IDs of IOASes.
    let mut ioases: KVec<(u32, &Held)> = KVec::with_capacity(hwpts.len(), GFP_KERNEL_ACCOUNT)?;
    for hwpt in hwpts {
        ioases.push((hwpt.ioas_id(), hwpt), GFP_KERNEL_ACCOUNT)?;
    }
    sorted::sort(&mut ioases, |(id, hwpt)| (*id, hwpt.id()));

    let mut raw_ioases = KVVec::new();
    let mut raw_areas = KVVec::new();
    let mut raw_allowed = KVVec::new();
    let mut last = None;
    for (id, hwpt) in &ioases {
        if last.replace(*id) == Some(*id) {
            continue;
        }
        let (nr_areas, nr_allowed) = (raw_areas.len(), raw_allowed.len());

        for area in hwpt.areas() {
            ffi::pause()?;
            raw_areas.push(record_of_area(&area?, session)?, GFP_KERNEL_ACCOUNT)?;
        }
        for range in hwpt.allowed() {
            ffi::pause()?;
            raw_allowed.push(range?, GFP_KERNEL_ACCOUNT)?;
        }
        let ioas = RawIoasSer {
            id: *id,
            flags: if hwpt.has_small_pages() {
                SMALL_PAGES
            } else {
                0
            },
            nr_areas: u32::try_from(raw_areas.len() - nr_areas)?,
            nr_allowed: u32::try_from(raw_allowed.len() - nr_allowed)?,
        };
        raw_ioases.push(ioas, GFP_KERNEL_ACCOUNT)?;
    }

    let mut devices = KVVec::new();
    let mut next = 0;
    while let Some((id, address)) = context.device_from(next) {
        devices.push((address, id), GFP_KERNEL_ACCOUNT)?;
        next = id + 1;
    }
    sorted::sort(&mut devices, |device| *device);
    let raw_devices = devices.iter().map(|(address, id)| {
        let RawAddress { domain, bdf } = (*address).into();

        RawDeviceSer {
            id: *id,
            domain,
            bdf: bdf.into(),
            reserved: 0,
        }
    });

    let mut stored = (
        BlockSet::new()?,
        BlockSet::new()?,
        BlockSet::new()?,
        BlockSet::new()?,
        BlockSet::new()?,
    );
    stored.0.store(hwpts.iter().map(record_of))?;
    stored.1.store(raw_ioases.iter().copied())?;
    stored.2.store(raw_areas.iter().copied())?;
    stored.3.store(raw_allowed.iter().copied())?;
    stored.4.store(raw_devices)?;

    let record = RawSer {
        nr_hwpts: u32::try_from(hwpts.len())?,
        nr_ioases: u32::try_from(raw_ioases.len())?,
        nr_areas: u32::try_from(raw_areas.len())?,
        nr_allowed: u32::try_from(raw_allowed.len())?,
        nr_devices: u32::try_from(devices.len())?,
        flags: if context.accounts_to_processes() {
            ACCOUNT_MM
        } else {
            0
        },
        hwpts: stored.0.head(),
        ioases: stored.1.head(),
        areas: stored.2.head(),
        allowed: stored.3.head(),
        devices: stored.4.head(),
    };
    Ok(OutgoingRecords {
        record: kho::Outgoing::new(record, GFP_KERNEL_ACCOUNT)?,
        _hwpts: stored.0,
        _ioases: stored.1,
        _areas: stored.2,
        _allowed: stored.3,
        _devices: stored.4,
    })
}

/// What the next kernel is told of an area, which is of a file that the session preserves.
fn record_of_area(area: &Area<'_>, session: &OutgoingSession<'_>) -> Result<RawAreaSer> {
    let Pages::File { file, .. } = area.pages() else {
        return Err(EINVAL);
    };
    let mapped = area.mapped();

    Ok(RawAreaSer {
        iova: mapped.iova,
        length: mapped.length,
        token: session.token_of(file)?,
        offset: mapped.offset,
        prot: mapped.prot,
        reserved: 0,
    })
}

/// Why an iommufd is not what it was.
enum NotRestored {
    /// Its record says what cannot be.
    Bad(BadRecord),
    /// Memory, or a file, is not to be had now.
    NotNow,
}

impl From<BadRecord> for NotRestored {
    fn from(bad: BadRecord) -> Self {
        Self::Bad(bad)
    }
}

impl NotRestored {
    /// What an error means that is `bad` unless something is not to be had now.
    fn of(err: Error, bad: BadRecord) -> Self {
        if err == ENOMEM || err == EAGAIN || err == ENFILE || err == EINTR {
            Self::NotNow
        } else {
            Self::Bad(bad)
        }
    }
}

/// Gives a new iommufd all that records name.
fn restore(
    mut new: NewIommufd,
    records: &IncomingRecords,
    session: &IncomingSession<'_>,
) -> Result<ARef<LocalFile>, NotRestored> {
    if records.record.flags & ACCOUNT_MM != 0 {
        new.account_to_processes();
    }
    let mut areas = records.areas.entries();
    let mut allowed = records.allowed.entries();
    // Areas beside each other often are of one file.
    let mut memory: Option<(u64, ARef<LocalFile>)> = None;

    for raw in records.ioases.entries() {
        let id = raw.check()?;
        let has_hwpts = records.hwpts.entries().any(|hwpt| hwpt.ioas_id == raw.id);
        let mut ioas = new
            .add_ioas(id, raw.flags & SMALL_PAGES != 0, has_hwpts)
            .map_err(|err| NotRestored::of(err, BadRecord::Id(raw.id)))?;

        for area in areas
            .by_ref()
            .take(raw.nr_areas.try_into().unwrap_or(usize::MAX))
        {
            let file = match memory.take() {
                Some((token, file)) if token == area.token => file,
                _ => session
                    .file(area.token)
                    .map_err(|err| NotRestored::of(err, BadRecord::NoMemory(area.token)))?,
            };

            ioas.map(&file, &area)
                .map_err(|err| NotRestored::of(err, BadRecord::Area(area.iova)))?;
            memory = Some((area.token, file));
        }
        let ranges = allowed
            .by_ref()
            .take(raw.nr_allowed.try_into().unwrap_or(usize::MAX));
        ioas.allow(ranges)
            .map_err(|err| NotRestored::of(err, BadRecord::Reserved))?;
        ioas.finish();
    }
    for raw in records.hwpts.entries() {
        let id = raw.check()?;

        new.add_hwpt(id, &raw).map_err(|err| {
            let bad = if err == ENOENT {
                BadRecord::NoIoas(Token(raw.token))
            } else {
                BadRecord::Id(raw.id)
            };
            NotRestored::of(err, bad)
        })?;
    }
    for raw in records.devices.entries() {
        let (id, address) = raw.check()?;

        new.add_device(id, address)
            .map_err(|err| NotRestored::of(err, BadRecord::Id(raw.id)))?;
    }
    new.publish().map_err(|_| NotRestored::NotNow)
}

/// Returns the domains of the HWPTs that the previous kernel handed over with an iommufd.
fn domains(hwpts: &IncomingBlocks<RawHwptSer>) -> impl Iterator<Item = DomainHandle> + '_ {
    hwpts
        .entries()
        .filter_map(|raw| raw.domain().map(Into::into))
}

/// What the next kernel is told of an HWPT.
fn record_of(hwpt: &Held) -> RawHwptSer {
    RawHwptSer {
        token: hwpt.token(),
        domain_data: hwpt
            .domain()
            .map_or(0, |domain| NonZeroU64::from(domain).get()),
        id: hwpt.id(),
        ioas_id: hwpt.ioas_id(),
        flags: hwpt.flags(),
        reserved: 0,
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

/// Takes over what the previous kernel left, and checks it.
fn read(reference: PhysRef<RawSer>) -> Result<IncomingRecords, ReadError<BadRecord>> {
    reference.check_length()?;

    let record: Restored<RawSer> = reference.restore()?;
    let records = IncomingRecords {
        record: *record,
        hwpts: IncomingBlocks::restore(record.hwpts)?,
        ioases: IncomingBlocks::restore(record.ioases)?,
        areas: IncomingBlocks::restore(record.areas)?,
        allowed: IncomingBlocks::restore(record.allowed)?,
        devices: IncomingBlocks::restore(record.devices)?,
    };

    entries::check(
        &record,
        Lists {
            hwpts: records.hwpts.entries(),
            ioases: records.ioases.entries(),
            areas: records.areas.entries(),
            allowed: records.allowed.entries(),
            devices: records.devices.entries(),
        },
    )?;
    Ok(records)
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
