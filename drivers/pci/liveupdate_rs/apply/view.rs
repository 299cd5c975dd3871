// SPDX-License-Identifier: GPL-2.0

//! Shows in debugfs what is preserved.

use super::{
    Incoming,
    DEVICES,
    DRIVERS, //
};
use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    fmt,
    liveupdate::{
        self,
        for_each_file,
        pci::Address,
        Direction,
        FileState,
        Handle,
        SessionItem, //
    },
    prelude::*,
    sync::{
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        SetOnce, //
    }, //
};

/// The file, from when the first device was found.
static VIEW: SetOnce<Pin<KBox<File<()>>>> = SetOnce::new();

/// Makes the file, unless live update is off or somebody made it. It is there for good, and nothing
/// depends on it. May sleep.
pub(crate) fn publish() {
    static IS_MADE: AtomicFlag = AtomicFlag::new(false);

    if IS_MADE.load(Relaxed) || !liveupdate::enabled() || IS_MADE.xchg(true, Relaxed) {
        return;
    }

    let dir = Dir::new(c"liveupdate");
    let file = dir.read_callback_file(c"pci", (), &|(), f| show(f));
    if let Ok(file) = KBox::pin_init(file, GFP_KERNEL) {
        VIEW.populate(file);
    }
}

fn show(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "outgoing")?;
    show_sessions(f, Direction::Outgoing, |handle| {
        DRIVERS.outgoing().ok()?.lock().device_of(handle)
    })?;
    if let Ok(devices) = DEVICES.outgoing() {
        let drivers = DRIVERS.outgoing().ok();
        let devices = devices.lock();
        let drivers = drivers.as_ref().map(|drivers| drivers.lock());

        devices.show(f, drivers.as_deref())?;
    }

    writeln!(f, "incoming")?;
    show_sessions(f, Direction::Incoming, |handle| {
        DRIVERS.incoming().ok()?.lock().device_of(handle)
    })?;
    match Incoming::get() {
        Some(incoming) => incoming.with_all(|devices, formats| devices.show(f, formats)),
        None => Ok(()),
    }
}

/// Shows sessions and their files. The handle of a file is an address, and is not shown.
fn show_sessions(
    f: &mut fmt::Formatter<'_>,
    direction: Direction,
    device_of: impl Fn(Handle) -> Option<Address>,
) -> fmt::Result {
    let mut result = Ok(());

    for_each_file(direction, |item| {
        if result.is_ok() {
            result = show_item(f, direction, item, &device_of);
        }
    });
    result
}

fn show_item(
    f: &mut fmt::Formatter<'_>,
    direction: Direction,
    item: &SessionItem<'_>,
    device_of: impl Fn(Handle) -> Option<Address>,
) -> fmt::Result {
    let Some(file) = item.file() else {
        let state = match direction {
            Direction::Outgoing => "",
            Direction::Incoming if item.is_retrieved() => ": retrieved",
            Direction::Incoming => ": waiting",
        };
        let busy = match (item.is_busy(), direction) {
            (false, _) => "",
            (true, Direction::Outgoing) => ": busy",
            (true, Direction::Incoming) => ", busy",
        };

        return f.write_fmt(fmt!("  session {}{state}{busy}\n", item.session()));
    };

    f.write_fmt(fmt!("    file {:#x}: {}", file.token, file.compatible))?;
    if let Some(device) = device_of(file.handle) {
        write!(f, ", device {device:?}")?;
    }
    match (direction, file.state) {
        (Direction::Outgoing, _) => (),
        (Direction::Incoming, FileState::Waiting) => write!(f, ", waiting")?,
        (Direction::Incoming, FileState::Retrieved) => write!(f, ", retrieved")?,
        (Direction::Incoming, FileState::Failed(err)) => write!(f, ", failed: {err:?}")?,
    }
    writeln!(f)
}
