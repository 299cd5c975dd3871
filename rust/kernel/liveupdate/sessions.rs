// SPDX-License-Identifier: GPL-2.0

//! The sessions of this kernel and of the previous one, for those who show them.
//!
//! C header: [`include/linux/liveupdate.h`](srctree/include/linux/liveupdate.h)

use super::Handle;
use crate::{
    bindings,
    error::to_result,
    ffi::c_void,
    fmt::{
        self,
        Write, //
    },
    prelude::*, //
};
use core::ptr;

/// From where to where sessions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From this kernel to the next one.
    Outgoing,
    /// From the previous kernel to this one. They are known once `/dev/liveupdate` was opened.
    Incoming,
}

/// The name of a session, which user space chose: any byte but a null byte can be in it.
///
/// It is displayed as C displays it with `%*pE`, so that it stays in its line of the log: what is not
/// printable ASCII is escaped.
///
/// # Examples
///
/// ```
/// use kernel::{
///     liveupdate::SessionName,
///     str::CString, //
/// };
///
/// let shown = |name: &CStr| CString::try_from_fmt(fmt!("session '{}'", SessionName::from(name)));
///
/// assert_eq!(&*shown(c"a vm ")?, c"session 'a vm '");
/// assert_eq!(&*shown(c"a\nvm\x1b\xff")?, c"session 'a\\nvm\\e\\377'");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionName<'a>(&'a CStr);

impl<'a> From<&'a CStr> for SessionName<'a> {
    fn from(name: &'a CStr) -> Self {
        Self(name)
    }
}

impl fmt::Display for SessionName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0.to_bytes() {
            match byte {
                b' '..=b'~' => f.write_char(char::from(byte))?,
                b'\n' => f.write_str("\\n")?,
                b'\r' => f.write_str("\\r")?,
                b'\t' => f.write_str("\\t")?,
                0x07 => f.write_str("\\a")?,
                0x0b => f.write_str("\\v")?,
                0x0c => f.write_str("\\f")?,
                0x1b => f.write_str("\\e")?,
                _ => write!(f, "\\{byte:03o}")?,
            }
        }
        Ok(())
    }
}

/// A session, or a file in one.
///
/// # Invariants
///
/// The name of the session is a string that is valid for `'a`, the compatible string is one, too.
pub struct SessionItem<'a>(&'a bindings::liveupdate_file_info);

/// What became of an incoming file so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// Nobody asked for it.
    Waiting,
    /// It was retrieved.
    Retrieved,
    /// It could not be retrieved, and never can, unless the error is `EAGAIN` or `ENODEV`.
    Failed(Error),
}

/// A file in a session.
pub struct SessionFile<'a> {
    /// What user space calls it.
    pub token: u64,
    /// The compatible string of its handler.
    pub compatible: &'a CStr,
    /// What its handler hands over.
    pub handle: Handle,
    /// What became of it, if it is an incoming one.
    pub state: FileState,
}

impl SessionItem<'_> {
    /// Returns the name of the session.
    pub fn session(&self) -> SessionName<'_> {
        // SAFETY: By the type invariants.
        unsafe { CStr::from_char_ptr(self.0.session) }.into()
    }

    /// Returns whether somebody has the session.
    pub fn is_retrieved(&self) -> bool {
        self.0.retrieved
    }

    /// Returns whether somebody uses the session just now, whose files are not shown then.
    pub fn is_busy(&self) -> bool {
        self.0.busy
    }

    /// Returns the file, unless this is the session itself.
    pub fn file(&self) -> Option<SessionFile<'_>> {
        // SAFETY: By the type invariants.
        let compatible = unsafe { CStr::from_char_ptr(self.0.compatible.as_ptr()) };

        if compatible.is_empty() {
            return None;
        }
        Some(SessionFile {
            token: self.0.token,
            compatible,
            handle: Handle::new(self.0.handle),
            state: match (self.0.retrieve_status, to_result(self.0.retrieve_status)) {
                (0, _) => FileState::Waiting,
                (_, Ok(())) => FileState::Retrieved,
                (_, Err(err)) => FileState::Failed(err),
            },
        })
    }
}

/// Calls `f` for each session of a direction, and after it for each file in it.
///
/// May sleep. The locks of sessions are held meanwhile: `f` may take those of FLBs and of handlers,
/// as callbacks of files may. A session that somebody else has the lock of is not waited for.
pub fn for_each_file<F: FnMut(&SessionItem<'_>)>(direction: Direction, mut f: F) {
    // SAFETY: `call` gets a pointer to an `F` that nobody else uses meanwhile.
    unsafe {
        bindings::liveupdate_walk_files(
            direction == Direction::Incoming,
            Some(call::<F>),
            ptr::from_mut(&mut f).cast(),
        )
    };
}

/// # Safety
///
/// `f` points to an `F` that nobody else uses. `info` is valid, and so is the name that it points to.
unsafe extern "C" fn call<F: FnMut(&SessionItem<'_>)>(
    f: *mut c_void,
    info: *const bindings::liveupdate_file_info,
) {
    // SAFETY: By function requirement.
    let f = unsafe { &mut *f.cast::<F>() };

    // SAFETY: By function requirement.
    let info = unsafe { &*info };

    // INVARIANT: By function requirement.
    f(&SessionItem(info));
}
