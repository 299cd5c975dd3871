// SPDX-License-Identifier: GPL-2.0

//! Handlers of files that go through a live update.

use super::{
    Flb,
    FlbCell,
    Handle,
    SessionName, //
};
use crate::{
    bindings,
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    ffi::{
        c_int,
        c_ulong, //
    },
    fs::LocalFile,
    module::this_module,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            AtomicFlag,
            Full,
            Release, //
        }, //
    },
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    mem::{
        self,
        ManuallyDrop, //
    },
    ptr::NonNull, //
};

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

    /// Returns what must not be preserved twice; by default, that is the open file.
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
    args: &'a bindings::liveupdate_file_op_args,
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
    args: &'a bindings::liveupdate_file_op_args,
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

/// The phase that an outgoing file is in: what LUO's `private_data` points to.
enum Phase<T: FileHandler> {
    Preserved(T::Preserved),
    Frozen(T::Frozen),
    /// Between two phases.
    Changing,
}

impl<T: FileHandler> Phase<T> {
    fn take(&mut self) -> Self {
        mem::replace(self, Self::Changing)
    }
}

/// The callbacks of handler `T`, as C calls them.
struct Callbacks<T: FileHandler>(PhantomData<T>);

impl<T: FileHandler> Callbacks<T> {
    const OPS: bindings::liveupdate_file_ops = bindings::liveupdate_file_ops {
        can_preserve: Some(Self::can_preserve),
        preserve: Some(Self::preserve),
        unpreserve: Some(Self::unpreserve),
        freeze: if T::HAS_FREEZE {
            Some(Self::freeze)
        } else {
            None
        },
        unfreeze: if T::HAS_UNFREEZE {
            Some(Self::unfreeze)
        } else {
            None
        },
        retrieve: Some(Self::retrieve),
        can_finish: if T::HAS_CAN_FINISH {
            Some(Self::can_finish)
        } else {
            None
        },
        can_abandon: if T::HAS_CAN_ABANDON {
            Some(Self::can_abandon)
        } else {
            None
        },
        finish: Some(Self::finish),
        get_id: if T::HAS_ID { Some(Self::get_id) } else { None },
        owner: this_module::<T::OwnerModule>().as_ptr(),
    };

    /// # Safety
    ///
    /// `handler` is registered, and `file` is a file that LUO holds a reference to.
    unsafe extern "C" fn can_preserve(
        handler: *mut bindings::liveupdate_file_handler,
        file: *mut bindings::file,
    ) -> bool {
        let handler = handler.cast::<Opaque<bindings::liveupdate_file_handler>>();

        // SAFETY: LUO knows handlers with these callbacks as a part of a `Handler<T>` only.
        let handler = unsafe { &*crate::container_of!(handler, Handler<T>, handler) };

        // SAFETY: By function requirement, and an ioctl does not call `fdget_pos()` on it.
        let file = unsafe { LocalFile::from_raw_file(file) };

        handler.published.load(Acquire) && T::can_preserve(file)
    }

    /// # Safety
    ///
    /// `file` is a file that LUO holds a reference to.
    unsafe extern "C" fn get_id(file: *mut bindings::file) -> c_ulong {
        // SAFETY: By function requirement, and an ioctl does not call `fdget_pos()` on it.
        T::id(unsafe { LocalFile::from_raw_file(file) })
    }

    /// # Safety
    ///
    /// `args` are those of a `preserve` callback.
    unsafe extern "C" fn preserve(args: *mut bindings::liveupdate_file_op_args) -> c_int {
        // SAFETY: By function requirement, nobody else refers to the arguments.
        let args = unsafe { &mut *args };

        from_result(|| {
            // Allocated first, so that nothing can fail once the file is preserved.
            let mut phase = KBox::new(Phase::<T>::Changing, GFP_KERNEL_ACCOUNT)?;
            let (preserved, handle) = T::preserve(&Outgoing { args })?;

            args.serialized_data = handle.get();
            *phase = Phase::Preserved(preserved);
            args.private_data = KBox::into_raw(phase).cast();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `args` are those of an `unpreserve` callback, of a file that `preserve` succeeded for.
    unsafe extern "C" fn unpreserve(args: *mut bindings::liveupdate_file_op_args) {
        // SAFETY: By function requirement, nobody else refers to the arguments.
        let args = unsafe { &*args };

        // SAFETY: `preserve` made the box, and LUO asks to unpreserve a file once.
        let mut phase = unsafe { KBox::from_raw(args.private_data.cast::<Phase<T>>()) };

        let outgoing = Outgoing { args };
        let preserved = match phase.take() {
            Phase::Preserved(preserved) => preserved,
            Phase::Frozen(frozen) if T::HAS_UNFREEZE => T::unfreeze(&outgoing, frozen),
            Phase::Frozen(_) | Phase::Changing => return,
        };

        if T::HAS_UNPRESERVE {
            T::unpreserve(&outgoing, preserved);
        }
    }

    /// # Safety
    ///
    /// `args` are those of a `freeze` or `unfreeze` callback, of a file that `preserve` succeeded
    /// for. The reference must not outlive the callback.
    unsafe fn phase<'a>(args: &bindings::liveupdate_file_op_args) -> &'a mut Phase<T> {
        // SAFETY: `preserve` made the box, and LUO's mutexes keep callbacks for one file from
        // running at the same time.
        unsafe { &mut *args.private_data.cast::<Phase<T>>() }
    }

    /// # Safety
    ///
    /// `args` are those of a `freeze` callback, of a file that `preserve` succeeded for.
    unsafe extern "C" fn freeze(args: *mut bindings::liveupdate_file_op_args) -> c_int {
        // SAFETY: By function requirement, nobody else refers to the arguments.
        let args = unsafe { &mut *args };

        // SAFETY: By function requirement.
        let phase = unsafe { Self::phase(args) };

        let preserved = match phase.take() {
            Phase::Preserved(preserved) => preserved,
            other => {
                *phase = other;
                return EBUSY.to_errno();
            }
        };

        let mut handle = Handle::from(args.serialized_data);
        match T::freeze(&Outgoing { args }, preserved, &mut handle) {
            Ok(frozen) => {
                *phase = Phase::Frozen(frozen);
                args.serialized_data = handle.get();
                0
            }
            Err((err, preserved)) => {
                *phase = Phase::Preserved(preserved);
                err.to_errno()
            }
        }
    }

    /// # Safety
    ///
    /// `args` are those of an `unfreeze` callback, of a file that `preserve` succeeded for.
    unsafe extern "C" fn unfreeze(args: *mut bindings::liveupdate_file_op_args) {
        // SAFETY: By function requirement, nobody else refers to the arguments.
        let args = unsafe { &*args };

        // SAFETY: By function requirement.
        let phase = unsafe { Self::phase(args) };

        *phase = match phase.take() {
            Phase::Frozen(frozen) => Phase::Preserved(T::unfreeze(&Outgoing { args }, frozen)),
            other => other,
        };
    }

    /// # Safety
    ///
    /// `args` are those of a `retrieve` callback.
    unsafe extern "C" fn retrieve(args: *mut bindings::liveupdate_file_op_args) -> c_int {
        // SAFETY: By function requirement, nobody else refers to the arguments.
        let args = unsafe { &mut *args };

        from_result(|| {
            let file = T::retrieve(&Incoming { args })?;

            args.file = ARef::into_raw(file).as_ptr().cast();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `args` are those of a `can_finish` callback.
    unsafe extern "C" fn can_finish(args: *mut bindings::liveupdate_file_op_args) -> bool {
        // SAFETY: By function requirement, nobody else refers to the arguments.
        let args = unsafe { &*args };

        T::can_finish(&Incoming { args })
    }

    /// # Safety
    ///
    /// `args` are those of a `can_abandon` callback.
    unsafe extern "C" fn can_abandon(args: *mut bindings::liveupdate_file_op_args) -> bool {
        // SAFETY: By function requirement, nobody else refers to the arguments.
        let args = unsafe { &*args };

        T::can_abandon(&Incoming { args })
    }

    /// # Safety
    ///
    /// `args` are those of a `finish` callback.
    unsafe extern "C" fn finish(args: *mut bindings::liveupdate_file_op_args) {
        // SAFETY: By function requirement, nobody else refers to the arguments.
        let args = unsafe { &*args };

        T::finish(&Incoming { args });
    }
}

/// Copies a compatible string to where C wants it, at build time.
pub(super) const fn compatible<const N: usize>(string: &CStr) -> [u8; N] {
    let bytes = string.to_bytes();
    let mut array = [0; N];
    let mut i = 0;

    assert!(!bytes.is_empty(), "the compatible string is empty");
    assert!(bytes.len() < N, "the compatible string is too long");
    while i < bytes.len() {
        array[i] = bytes[i];
        i += 1;
    }
    array
}

/// A handler as LUO knows it. Lives in a `static`, for LUO keeps it in a list.
///
/// # Examples
///
/// ```
/// use kernel::{
///     fs::LocalFile,
///     liveupdate::{FileHandler, Handle, Handler, Incoming, Outgoing},
///     sync::aref::ARef, //
/// };
///
/// /// Has nothing to tell the next kernel, and preserves no file.
/// struct NoFiles;
///
/// #[vtable]
/// impl FileHandler for NoFiles {
///     const COMPATIBLE: &'static CStr = c"example-v1";
///
///     type Preserved = ();
///     type Frozen = ();
///
///     fn can_preserve(_file: &LocalFile) -> bool {
///         false
///     }
///
///     fn preserve(_outgoing: &Outgoing<'_>) -> Result<(Self::Preserved, Handle)> {
///         Err(EOPNOTSUPP)
///     }
///
///     fn retrieve(_incoming: &Incoming<'_>) -> Result<ARef<LocalFile>> {
///         Err(EOPNOTSUPP)
///     }
///
///     fn finish(_incoming: &Incoming<'_>) {}
/// }
///
/// static HANDLER: Handler<NoFiles> = Handler::new();
///
/// # if kernel::liveupdate::enabled() {
/// // Dropping the registration undoes it.
/// let registration = HANDLER.register()?.publish();
///
/// // No two handlers can be registered under one name.
/// assert_eq!(HANDLER.register().err(), Some(EEXIST));
/// # drop(registration);
/// # }
/// # Ok::<(), Error>(())
/// ```
pub struct Handler<T: FileHandler> {
    handler: Opaque<bindings::liveupdate_file_handler>,
    /// Whether files may be preserved.
    published: AtomicFlag,
    /// Whether there is a registration that was kept.
    kept: AtomicFlag,
    _handler: PhantomData<fn() -> T>,
}

// SAFETY: LUO's lock protects what it changes in the handler.
unsafe impl<T: FileHandler> Sync for Handler<T> {}

impl<T: FileHandler> Handler<T> {
    /// The callbacks, for pointers to them.
    const OPS: &'static bindings::liveupdate_file_ops = &Callbacks::<T>::OPS;

    /// Makes a handler that is not registered.
    #[expect(
        clippy::new_without_default,
        reason = "`Default` cannot be used for a `static`"
    )]
    pub const fn new() -> Self {
        const_assert!(
            T::HAS_FREEZE == T::HAS_UNFREEZE,
            "what can be frozen has to be able to be unfrozen"
        );

        // SAFETY: Lists that LUO initialises when the handler is registered, for which all bits
        // zero is a value.
        let zeroed: bindings::liveupdate_file_handler = unsafe { mem::zeroed() };

        Self {
            handler: Opaque::new(bindings::liveupdate_file_handler {
                ops: Self::OPS,
                compatible: compatible(T::COMPATIBLE),
                ..zeroed
            }),
            published: AtomicFlag::new(false),
            kept: AtomicFlag::new(false),
            _handler: PhantomData,
        }
    }

    /// Returns the handler as C knows it.
    pub fn as_raw(&'static self) -> *mut bindings::liveupdate_file_handler {
        self.handler.get()
    }

    /// Makes the handler known to LUO. [`Unpublished::publish`] lets it preserve files.
    ///
    /// # Errors
    ///
    /// - `EOPNOTSUPP` if the Live Update Orchestrator does not run.
    /// - `EEXIST` if there is a handler of that name.
    pub fn register(&'static self) -> Result<Unpublished<T>> {
        // SAFETY: The handler is pinned, for it is a static. It lives for as long as its module,
        // and each file that is preserved with it holds a reference on that (`ops.owner`).
        to_result(unsafe { bindings::liveupdate_register_file_handler(self.as_raw()) })?;

        // INVARIANT: Just registered, and `Registration::drop` took `published` back.
        Ok(Unpublished {
            registration: Registration { handler: self },
        })
    }

    /// Unregisters the handler whose registration was [kept](Registration::keep), if there is one.
    pub fn unregister(&'static self) {
        if self.kept.xchg(false, Full) {
            // INVARIANT: `keep()` gave the registration away, and this is the only taker.
            drop(Registration { handler: self });
        }
    }
}

/// A handler that is registered, but does not preserve files yet.
///
/// Data that its files share is [attached](Self::attach) in this state: LUO counts its users when
/// files are preserved and unpreserved, by the data that is attached at that time.
///
/// # Invariants
///
/// The handler is not published.
pub struct Unpublished<T: FileHandler> {
    registration: Registration<T>,
}

impl<T: FileHandler> Unpublished<T> {
    /// Returns the handler as C knows it.
    pub fn as_raw(&self) -> *mut bindings::liveupdate_file_handler {
        self.registration.handler.as_raw()
    }

    /// Has the files of this handler share data.
    ///
    /// # Errors
    ///
    /// - `EEXIST` if that data is attached already, or if there is another FLB of that name.
    /// - `ENOSPC` if there are too many FLBs, `ENOMEM` if memory is short.
    pub fn attach<D: Flb>(self, data: &'static FlbCell<D>) -> Result<Self> {
        // SAFETY:
        // - By the type invariants of `Registration`, the handler is registered.
        // - The FLB is pinned, for it is a static. Its module is that of the handler, or one that
        //   the handler's module depends on since it names the static.
        // - By the type invariants, no file was preserved with the handler.
        to_result(unsafe { bindings::liveupdate_register_flb(self.as_raw(), data.as_raw()) })?;
        Ok(self)
    }

    /// Lets files be preserved, until the registration is dropped.
    pub fn publish(self) -> Registration<T> {
        self.registration.handler.published.store(true, Release);
        self.registration
    }
}

/// A handler that is registered. Dropping it undoes the registration.
///
/// Files that are preserved meanwhile keep the module loaded, and with it the handler: they can
/// still be unpreserved, frozen and handed over. So drop it when the module is unloaded, which is
/// when there are none.
///
/// # Invariants
///
/// The handler is registered with LUO, by this object alone.
pub struct Registration<T: FileHandler> {
    handler: &'static Handler<T>,
}

impl<T: FileHandler> Registration<T> {
    /// Keeps the handler registered until [`Handler::unregister`] is called.
    ///
    /// For modules whose initialisation is C code, which cannot hold on to a Rust object.
    ///
    /// # Safety
    ///
    /// [`Handler::unregister`] is called before the module is unloaded.
    pub unsafe fn keep(self) {
        let this = ManuallyDrop::new(self);

        this.handler.kept.store(true, Release);
    }
}

impl<T: FileHandler> Drop for Registration<T> {
    fn drop(&mut self) {
        self.handler.published.store(false, Release);

        // SAFETY: By the type invariants. The handler itself is a static, and stays.
        unsafe { bindings::liveupdate_unregister_file_handler(self.handler.as_raw()) };
    }
}

#[cfg(CONFIG_RUST_LIVEUPDATE_KUNIT_TEST)]
#[kunit_tests(rust_liveupdate_file)]
mod tests {
    use super::*;

    /// Preserves a number, and refuses to freeze odd ones.
    struct Numbers;

    const PRESERVED: Handle = Handle::new(6);
    const FROZEN: Handle = Handle::new(28);

    #[vtable]
    impl FileHandler for Numbers {
        const COMPATIBLE: &'static CStr = c"kunit-numbers-v1";

        type Preserved = KBox<u32>;
        type Frozen = (KBox<u32>, &'static str);

        fn can_preserve(_file: &LocalFile) -> bool {
            false
        }

        fn preserve(_outgoing: &Outgoing<'_>) -> Result<(Self::Preserved, Handle)> {
            Ok((KBox::new(1, GFP_KERNEL)?, PRESERVED))
        }

        fn freeze(
            _outgoing: &Outgoing<'_>,
            mut preserved: Self::Preserved,
            handle: &mut Handle,
        ) -> Result<Self::Frozen, FreezeError<Self::Preserved>> {
            if *preserved % 2 == 1 {
                *preserved += 1;
                return Err((EINVAL, preserved));
            }

            *handle = FROZEN;
            Ok((preserved, "frozen"))
        }

        fn unfreeze(_outgoing: &Outgoing<'_>, (number, _): Self::Frozen) -> Self::Preserved {
            number
        }

        fn retrieve(incoming: &Incoming<'_>) -> Result<ARef<LocalFile>> {
            Err(if incoming.handle() == PRESERVED {
                ENODEV
            } else {
                EINVAL
            })
        }

        fn can_abandon(incoming: &Incoming<'_>) -> bool {
            incoming.handle() != FROZEN
        }

        fn finish(incoming: &Incoming<'_>) {
            assert!(matches!(incoming.retrieval(), Retrieval::Failed(err) if err == ENODEV));
        }
    }

    static NUMBERS: Handler<Numbers> = Handler::new();

    type Ops = Callbacks<Numbers>;

    fn number(args: &Args) -> Option<u32> {
        // SAFETY: Called between `preserve` and `unpreserve` only.
        match unsafe { Ops::phase(args) } {
            Phase::Preserved(number) => Some(**number),
            _ => None,
        }
    }

    fn is_frozen(args: &Args) -> bool {
        // SAFETY: Called between `preserve` and `unpreserve` only.
        matches!(unsafe { Ops::phase(args) }, Phase::Frozen((_, "frozen")))
    }

    type Args = bindings::liveupdate_file_op_args;

    /// Calls a callback, of those that LUO would call next.
    fn call<R>(callback: unsafe extern "C" fn(*mut Args) -> R, args: &mut Args) -> R {
        // SAFETY: The tests call the callbacks in an order that LUO calls them in, too, and none
        // of them looks at the file or the session.
        unsafe { callback(args) }
    }

    #[test]
    fn a_refused_freeze_gives_the_state_back() {
        let mut args = Args::default();

        assert_eq!(call(Ops::preserve, &mut args), 0);
        assert_eq!(args.serialized_data, PRESERVED.get());

        // Refused, and then granted.
        assert_eq!(call(Ops::freeze, &mut args), EINVAL.to_errno());
        assert_eq!(number(&args), Some(2));
        assert_eq!(args.serialized_data, PRESERVED.get());
        assert_eq!(call(Ops::freeze, &mut args), 0);
        assert!(is_frozen(&args));
        assert_eq!(args.serialized_data, FROZEN.get());

        // Freezing twice changes nothing, nor does unfreezing twice.
        assert_eq!(call(Ops::freeze, &mut args), EBUSY.to_errno());
        assert!(is_frozen(&args));
        call(Ops::unfreeze, &mut args);
        assert_eq!(number(&args), Some(2));
        call(Ops::unfreeze, &mut args);
        assert_eq!(number(&args), Some(2));

        call(Ops::unpreserve, &mut args);
    }

    #[test]
    fn a_failed_retrieval_is_told_to_finish() {
        let mut args = Args {
            serialized_data: PRESERVED.get(),
            ..Default::default()
        };

        args.retrieve_status = call(Ops::retrieve, &mut args);
        assert_eq!(args.retrieve_status, ENODEV.to_errno());
        call(Ops::finish, &mut args);
    }

    #[test]
    fn what_is_in_use_is_not_abandoned() {
        for (handle, can_abandon) in [(PRESERVED, true), (FROZEN, false)] {
            let mut args = Args {
                serialized_data: handle.get(),
                ..Default::default()
            };

            assert_eq!(call(Ops::can_abandon, &mut args), can_abandon);
        }
    }

    #[test]
    fn callbacks_that_are_left_out_are_not_called() {
        assert!(Ops::OPS.freeze.is_some());
        assert!(Ops::OPS.can_abandon.is_some());
        assert!(Ops::OPS.can_finish.is_none());
        assert!(Ops::OPS.get_id.is_none());
    }

    #[test]
    fn a_handler_can_be_registered_again() -> Result {
        for _ in 0..3 {
            let registration = NUMBERS.register()?;

            assert_eq!(NUMBERS.register().err(), Some(EEXIST));
            drop(registration);
        }
        Ok(())
    }

    #[test]
    fn a_kept_registration_is_undone_once() -> Result {
        // Nothing to undo.
        NUMBERS.unregister();

        // SAFETY: Undone below.
        unsafe { NUMBERS.register()?.publish().keep() };
        assert_eq!(NUMBERS.register().err(), Some(EEXIST));
        NUMBERS.unregister();
        NUMBERS.unregister();
        drop(NUMBERS.register()?);
        Ok(())
    }
}
