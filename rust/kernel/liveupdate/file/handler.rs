// SPDX-License-Identifier: GPL-2.0

//! A handler, and its registration.

use super::{
    callbacks::Callbacks,
    FileHandler, //
};
use crate::{
    bindings,
    error::to_result,
    liveupdate::{
        Flb,
        FlbCell, //
    },
    prelude::*,
    sync::atomic::{
        AtomicFlag,
        Full,
        Release, //
    },
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    mem, //
};

/// Copies a compatible string to where C wants it, at build time.
pub(in crate::liveupdate) const fn compatible<const N: usize>(string: &CStr) -> [u8; N] {
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
    pub(super) handler: Opaque<bindings::liveupdate_file_handler>,
    /// Whether files may be preserved.
    pub(super) published: AtomicFlag,
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

    /// Registers the handler, and lets files be preserved until [`unregister`](Self::unregister) is
    /// called. What the files share is what `attach` attaches.
    ///
    /// For modules whose initialisation is C code, which cannot hold on to a [`Registration`].
    ///
    /// # Errors
    ///
    /// As [`register`](Self::register), or as `attach`. Then the handler is not registered.
    ///
    /// # Safety
    ///
    /// [`unregister`](Self::unregister) is called before the module is unloaded.
    pub unsafe fn register_and_keep(
        &'static self,
        attach: impl FnOnce(&Unpublished<T>) -> Result,
    ) -> Result {
        let unpublished = self.register()?;

        attach(&unpublished)?;
        mem::forget(unpublished.publish());
        self.kept.store(true, Release);
        Ok(())
    }

    /// Unregisters the handler if [`register_and_keep`](Self::register_and_keep) registered it.
    pub fn unregister(&'static self) {
        if self.kept.xchg(false, Full) {
            // INVARIANT: `register_and_keep()` gave the registration away, and this is the only taker.
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

impl<T: FileHandler> Drop for Registration<T> {
    fn drop(&mut self) {
        self.handler.published.store(false, Release);

        // SAFETY: By the type invariants. The handler itself is a static, and stays.
        unsafe { bindings::liveupdate_unregister_file_handler(self.handler.as_raw()) };
    }
}
