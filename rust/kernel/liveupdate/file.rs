// SPDX-License-Identifier: GPL-2.0

//! Handlers of files that go through a live update.

mod args;
mod callbacks;
mod handler;
#[cfg(CONFIG_RUST_LIVEUPDATE_KUNIT_TEST)]
mod tests;

pub(super) use self::handler::compatible;

pub use self::{
    args::{
        Incoming,
        IncomingSession,
        Outgoing,
        OutgoingSession,
        Retrieval, //
    },
    handler::{
        Handler,
        Registration,
        Unpublished, //
    },
};

use super::Handle;
use crate::{
    bindings,
    error::from_err_ptr,
    ffi::c_int,
    fs::LocalFile,
    prelude::*,
    sync::aref::ARef, //
};
use core::ptr::NonNull;

/// Returns major and minor number of the device that `file` is of, if it is of one.
///
/// For [`FileHandler::can_preserve`] of handlers of device files.
pub fn device_number(file: &LocalFile) -> Option<(u32, u32)> {
    // SAFETY: By the type invariants of `LocalFile`; never changes once the file is open.
    let inode = unsafe { bindings::file_inode(file.as_ptr()) };

    // SAFETY: A file has an inode, and neither its type nor its device number change.
    let (mode, rdev) = unsafe { ((*inode).i_mode, (*inode).i_rdev) };

    match u32::from(mode) & bindings::S_IFMT {
        bindings::S_IFCHR | bindings::S_IFBLK => Some((
            rdev >> bindings::MINORBITS,
            rdev & ((1 << bindings::MINORBITS) - 1),
        )),
        _ => None,
    }
}

/// Opens a file as the current process could.
///
/// For [`FileHandler::retrieve`] of files that are made again by opening them. May sleep.
///
/// # Errors
///
/// As `open()` in user space, and `EINVAL` for flags that it does not know.
pub fn open(path: &CStr, flags: u32) -> Result<ARef<LocalFile>> {
    let flags = c_int::try_from(flags)?;

    // SAFETY: `path` is a string that ends with a null byte.
    let file = unsafe { bindings::filp_open(path.as_char_ptr(), flags, 0) };
    let file = NonNull::new(from_err_ptr(file)?).ok_or(ENOENT)?;

    // SAFETY: A new file has one reference, which is ours, and nobody calls `fdget_pos()` on it.
    Ok(unsafe { ARef::from_raw(file.cast()) })
}

/// What a failed [`FileHandler::freeze`] returns: the reason, and the state that it consumed.
pub type FreezeError<P> = (Error, P);

/// Preserves files of one type, and makes them again in the next kernel.
///
/// In the kernel that hands over, a preserved file goes through phases, and each has a type:
///
/// ```text
///            preserve              freeze
///   (file) ------------> Preserved --------> Frozen ----> kexec
///            unpreserve  |         <-------- |
///          <-------------+          unfreeze
/// ```
///
/// In the kernel that takes over, `retrieve` makes the file again and `finish` ends its passage.
/// The previous kernel's memory may name a file that nobody retrieves, or whose `retrieve` failed:
/// `finish` is called for these, too.
///
/// All callbacks run in process context and may sleep. The mutex of the session is held, so those
/// of one session do not run at the same time.
///
/// Implementations are ended with `#[vtable]`, whose `OwnerModule` is kept loaded by each file.
#[vtable]
pub trait FileHandler: Sized + 'static {
    /// Names the type of file and the version of its records.
    ///
    /// The next kernel finds the handler by it. Has to be shorter than
    /// `LIVEUPDATE_HNDL_COMPAT_LENGTH`; that is checked at build time.
    const COMPATIBLE: &'static CStr;

    /// What there is of a file between `preserve` and `unpreserve`.
    type Preserved: Send + Sync;

    /// What there is of a file between `freeze` and `unfreeze`.
    type Frozen: Send + Sync;

    /// Returns whether this handler knows how to preserve `file`.
    ///
    /// Cheap, and without side effects: LUO asks all handlers in turn. Locks that a registration
    /// of a handler depends on must not be taken.
    fn can_preserve(file: &LocalFile) -> bool;

    /// Returns the key by which LUO refuses a second preservation; by default, the file
    /// pointer.
    ///
    /// Has to return the same value whenever it is asked for as long as the file exists.
    fn id(_file: &LocalFile) -> usize {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Prepares a file for a live update.
    ///
    /// The file remains usable. The handle is what `retrieve` gets to see.
    ///
    /// # Errors
    ///
    /// User space sees the error, and nothing must have changed.
    fn preserve(outgoing: &Outgoing<'_>) -> Result<(Self::Preserved, Handle)>;

    /// Unpreserves a file, by default by dropping what `preserve` returned.
    fn unpreserve(_outgoing: &Outgoing<'_>, _preserved: Self::Preserved) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Decides whether the live update may happen, as late as it can still be called off.
    ///
    /// May change the handle. Without this callback, files stay `Preserved`.
    ///
    /// # Errors
    ///
    /// The kexec is called off, and user space sees the error.
    fn freeze(
        _outgoing: &Outgoing<'_>,
        _preserved: Self::Preserved,
        _handle: &mut Handle,
    ) -> Result<Self::Frozen, FreezeError<Self::Preserved>> {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Has a frozen file work on, after another file refused and the kexec was called off.
    fn unfreeze(_outgoing: &Outgoing<'_>, _frozen: Self::Frozen) -> Self::Preserved {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Makes a file again that the previous kernel preserved.
    ///
    /// Called once. User space that asks again gets the same file, or the same error. The exceptions
    /// are `EAGAIN` and `ENODEV`: it is called again when user space asks again.
    ///
    /// # Errors
    ///
    /// User space sees the error. The file can be finished all the same.
    ///
    /// - `EAGAIN` or `ENODEV` if what the file needs is not there (yet). Nothing may have been
    ///   consumed of what was handed over.
    /// - Any other error is final. What was handed over may have been consumed or not.
    fn retrieve(incoming: &Incoming<'_>) -> Result<ARef<LocalFile>>;

    /// Returns whether a file may be finished; by default, all may.
    ///
    /// While it returns `false`, finishing the session fails with `EBUSY` and changes nothing.
    fn can_finish(_incoming: &Incoming<'_>) -> bool {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Returns whether what the file left in this kernel can be given up; by default, it can.
    ///
    /// LUO asks right before it calls `finish`, also if nobody is left who could do what `can_finish`
    /// waits for. `false` means that something that this kernel cannot stop still uses it, such as a
    /// device that goes on with DMA: then neither this file nor those that were preserved before it
    /// in the session are finished, and finishing, closing or dropping the session ends with
    /// `EBUSY` at this file. Files that were preserved after it are finished. LUO asks again when
    /// somebody tries again. The implementation logs what uses it.
    fn can_abandon(_incoming: &Incoming<'_>) -> bool {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Ends the passage of a file, and frees what the previous kernel handed over for it.
    ///
    /// If the file was not retrieved, nobody ever will.
    fn finish(incoming: &Incoming<'_>);
}
