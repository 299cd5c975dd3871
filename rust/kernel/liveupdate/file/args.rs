// SPDX-License-Identifier: GPL-2.0

//! What callbacks of a handler are told of a file, and of the session that it is in.

#[cfg(doc)]
use super::FileHandler;
use crate::{
    bindings,
    error::to_result,
    fs::LocalFile,
    liveupdate::{
        Handle,
        SessionName, //
    },
    prelude::*,
    sync::aref::ARef, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// Returns the name of a session.
///
/// # Safety
///
/// The session is one, and exists for `'a`.
unsafe fn name<'a>(session: NonNull<bindings::liveupdate_session>) -> SessionName<'a> {
    // SAFETY: By function requirement.
    let name = unsafe { bindings::liveupdate_session_name(session.as_ptr()) };

    // SAFETY: LUO ends names with a null byte, and does not change them.
    unsafe { CStr::from_char_ptr(name) }.into()
}

/// The session of a file that is to be handed over.
pub struct OutgoingSession<'a> {
    session: NonNull<bindings::liveupdate_session>,
    _callback: PhantomData<&'a ()>,
}

impl<'a> OutgoingSession<'a> {
    /// Returns the session that `session` points to.
    ///
    /// For what a callback calls in another driver.
    ///
    /// # Safety
    ///
    /// It is that of the callback that runs, for `'a`.
    pub unsafe fn from_raw(session: NonNull<bindings::liveupdate_session>) -> Self {
        Self {
            session,
            _callback: PhantomData,
        }
    }

    /// Returns the session as C knows it.
    pub fn as_raw(&self) -> *mut bindings::liveupdate_session {
        self.session.as_ptr()
    }

    /// Returns the name of the session, for the log.
    pub fn name(&self) -> SessionName<'a> {
        // SAFETY: The session is that of the callback that runs.
        unsafe { name(self.session) }
    }

    /// Returns the token of what `file` is of, if that was preserved in this session.
    ///
    /// It may have been preserved through another file: see [`FileHandler::id`].
    ///
    /// # Errors
    ///
    /// `ENOENT` if it is not preserved in this session.
    pub fn token_of(&self, file: &LocalFile) -> Result<u64> {
        let mut token = 0;

        // SAFETY: The session is that of the callback that runs, so its mutex is held.
        to_result(unsafe {
            bindings::liveupdate_get_token_outgoing(
                self.session.as_ptr(),
                file.as_ptr(),
                &mut token,
            )
        })?;
        Ok(token)
    }
}

/// The session of a file that was handed over.
pub struct IncomingSession<'a> {
    session: NonNull<bindings::liveupdate_session>,
    _callback: PhantomData<&'a ()>,
}

impl<'a> IncomingSession<'a> {
    /// Returns the name of the session, for the log.
    pub fn name(&self) -> SessionName<'a> {
        // SAFETY: The session is that of the callback that runs.
        unsafe { name(self.session) }
    }

    /// Returns the file of this session that `token` names, and retrieves it if nobody did.
    ///
    /// # Errors
    ///
    /// - `ENOENT` if the session has no such file.
    /// - `EDEADLK` if it is the file that is being retrieved or finished.
    /// - What its handler failed to retrieve it with.
    pub fn file(&self, token: u64) -> Result<ARef<LocalFile>> {
        let mut file = core::ptr::null_mut();

        // SAFETY: The session is that of the callback that runs, so its mutex is held.
        to_result(unsafe {
            bindings::liveupdate_get_file_incoming(self.session.as_ptr(), token, &mut file)
        })?;

        let file = NonNull::new(file).ok_or(ENOENT)?;

        // SAFETY: The caller is given a reference, and nobody calls `fdget_pos()` in a callback.
        Ok(unsafe { ARef::from_raw(file.cast()) })
    }
}

/// A file that is to be handed over, as a callback sees it.
pub struct Outgoing<'a> {
    pub(super) args: &'a bindings::liveupdate_file_op_args,
}

impl<'a> Outgoing<'a> {
    /// Returns the file.
    pub fn file(&self) -> &'a LocalFile {
        // SAFETY: LUO holds a reference to the file during the callback, which is an ioctl or a
        // reboot: neither calls `fdget_pos()` on it.
        unsafe { LocalFile::from_raw_file(self.args.file) }
    }

    /// Returns the session that the file belongs to.
    pub fn session(&self) -> OutgoingSession<'a> {
        OutgoingSession {
            // SAFETY: LUO tells each callback the session.
            session: unsafe { NonNull::new_unchecked(self.args.session) },
            _callback: PhantomData,
        }
    }
}

/// How far the retrieval of a file got.
pub enum Retrieval<'a> {
    /// Nobody asked for the file.
    NotAttempted,
    /// It was retrieved.
    Done(&'a LocalFile),
    /// It could not be retrieved, and never can, unless the error is `EAGAIN` or `ENODEV`.
    Failed(Error),
}

/// A file that was handed over, as a callback sees it.
pub struct Incoming<'a> {
    pub(super) args: &'a bindings::liveupdate_file_op_args,
}

impl<'a> Incoming<'a> {
    /// Returns what the previous kernel's handler left as handle: an allegation.
    pub fn handle(&self) -> Handle {
        self.args.serialized_data.into()
    }

    /// Returns the session that the file belongs to.
    pub fn session(&self) -> IncomingSession<'a> {
        IncomingSession {
            // SAFETY: LUO tells each callback the session.
            session: unsafe { NonNull::new_unchecked(self.args.session) },
            _callback: PhantomData,
        }
    }

    /// Returns whether the file was retrieved.
    pub fn retrieval(&self) -> Retrieval<'a> {
        match self.args.retrieve_status {
            0 => Retrieval::NotAttempted,
            err if err < 0 => Retrieval::Failed(Error::from_errno(err)),
            // SAFETY: LUO holds a reference to a file that was retrieved until the callback is
            // over, and nobody calls `fdget_pos()` in a callback.
            _ => Retrieval::Done(unsafe { LocalFile::from_raw_file(self.args.file) }),
        }
    }
}
