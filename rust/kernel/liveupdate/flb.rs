// SPDX-License-Identifier: GPL-2.0

//! File-Lifecycle-Bound records: data that all preserved files of some handlers share.

use super::{
    file::compatible,
    Handle, //
};
use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    ffi::c_int,
    module::this_module,
    prelude::*,
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    mem,
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    },
};

/// Data that exists while files are preserved, and its way into the next kernel.
///
/// In the kernel that hands over, an object exists from before the first file of any handler that
/// the FLB is attached to is preserved until after the last one is not. In the kernel that takes
/// over, an object exists from the first time that somebody asks until the last of these files is
/// finished.
///
/// All callbacks run in process context and may sleep. A mutex of the FLB is held. Whoever asks for
/// the data takes it, with the locks held that it has: for PCI devices, those of PCI enumeration and
/// of what adds virtual functions. A callback must not take such locks.
#[vtable]
pub trait Flb: Sized + 'static {
    /// Names the data and the version of its records.
    ///
    /// Has to be shorter than `LIVEUPDATE_FLB_COMPAT_LENGTH`; that is checked at build time.
    const COMPATIBLE: &'static CStr;

    /// The data in the kernel that hands over.
    type Outgoing: Send + Sync;

    /// The data in the kernel that takes over.
    type Incoming: Send + Sync;

    /// Makes the data, before the first file is preserved. The handle is what `retrieve` gets.
    ///
    /// # Errors
    ///
    /// The file is not preserved, and user space sees the error.
    fn preserve() -> Result<(Pin<KBox<Self::Outgoing>>, Handle)>;

    /// Ends the data, after the last file was unpreserved; by default by dropping it.
    fn unpreserve(_outgoing: Pin<KBox<Self::Outgoing>>) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Writes down what the next kernel gets, if that is not done yet; by default it is.
    ///
    /// Called when all files are frozen and the kexec cannot be called off any more. Does not fail,
    /// and so has all the memory that it needs already.
    fn serialize(_outgoing: &Self::Outgoing) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Makes the data again from what the previous kernel left: an allegation.
    ///
    /// # Errors
    ///
    /// Whoever asks for the data gets the error, for ever, and LUO warns when the files are
    /// finished.
    fn retrieve(handle: Handle) -> Result<Pin<KBox<Self::Incoming>>>;

    /// Ends the data, after the last file was finished; by default by dropping it.
    fn finish(_incoming: Pin<KBox<Self::Incoming>>) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }
}

/// The callbacks for data `T`, as C calls them.
struct Callbacks<T: Flb>(PhantomData<T>);

impl<T: Flb> Callbacks<T> {
    const OPS: bindings::liveupdate_flb_ops = bindings::liveupdate_flb_ops {
        preserve: Some(Self::preserve),
        unpreserve: Some(Self::unpreserve),
        serialize: if T::HAS_SERIALIZE {
            Some(Self::serialize)
        } else {
            None
        },
        retrieve: Some(Self::retrieve),
        finish: Some(Self::finish),
        owner: this_module::<T::OwnerModule>().as_ptr(),
    };

    /// Gives an object to LUO.
    fn into_raw<O>(object: Pin<KBox<O>>) -> *mut crate::ffi::c_void {
        // SAFETY: LUO does not move the object.
        let object = unsafe { Pin::into_inner_unchecked(object) };

        KBox::into_raw(object).cast()
    }

    /// Takes an object back from LUO.
    ///
    /// # Safety
    ///
    /// `object` is from [`into_raw`](Self::into_raw), with the same `O`, and is not used again.
    unsafe fn from_raw<O>(object: *mut crate::ffi::c_void) -> Pin<KBox<O>> {
        // SAFETY: By function requirement.
        unsafe { KBox::from_raw(object.cast::<O>()) }.into()
    }

    /// # Safety
    ///
    /// `args` are those of a `preserve` callback.
    unsafe extern "C" fn preserve(args: *mut bindings::liveupdate_flb_op_args) -> c_int {
        // SAFETY: By function requirement, nobody else refers to the arguments.
        let args = unsafe { &mut *args };

        from_result(|| {
            let (object, handle) = T::preserve()?;

            args.data = handle.get();
            args.obj = Self::into_raw(object);
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `args` are those of an `unpreserve` callback, after `preserve` succeeded.
    unsafe extern "C" fn unpreserve(args: *mut bindings::liveupdate_flb_op_args) {
        // SAFETY: By function requirement, nobody else refers to the arguments; the object is
        // from `preserve`, and LUO asks once.
        let object = unsafe { Self::from_raw((*args).obj) };

        if T::HAS_UNPRESERVE {
            T::unpreserve(object);
        }
    }

    /// # Safety
    ///
    /// `args` are those of a `serialize` callback, after `preserve` succeeded.
    unsafe extern "C" fn serialize(args: *mut bindings::liveupdate_flb_op_args) {
        // SAFETY: By function requirement, the object is from `preserve`, and LUO lends it to others
        // as a shared reference only.
        T::serialize(unsafe { &*(*args).obj.cast::<T::Outgoing>() });
    }

    /// # Safety
    ///
    /// `args` are those of a `retrieve` callback.
    unsafe extern "C" fn retrieve(args: *mut bindings::liveupdate_flb_op_args) -> c_int {
        // SAFETY: By function requirement, nobody else refers to the arguments.
        let args = unsafe { &mut *args };

        from_result(|| {
            args.obj = Self::into_raw(T::retrieve(args.data.into())?);
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `args` are those of a `finish` callback, after `retrieve` succeeded.
    unsafe extern "C" fn finish(args: *mut bindings::liveupdate_flb_op_args) {
        // SAFETY: By function requirement, nobody else refers to the arguments; the object is
        // from `retrieve`, and LUO asks once.
        let object = unsafe { Self::from_raw((*args).obj) };

        if T::HAS_FINISH {
            T::finish(object);
        }
    }
}

/// A File-Lifecycle-Bound record as LUO knows it. Lives in a `static`.
///
/// # Examples
///
/// ```
/// use kernel::liveupdate::{kho, Flb, FlbCell, Handle, PhysRef};
///
/// /// Tells the next kernel a number.
/// struct Number;
///
/// #[vtable]
/// impl Flb for Number {
///     const COMPATIBLE: &'static CStr = c"example-number-v1";
///
///     type Outgoing = kho::Outgoing<u64>;
///     type Incoming = kho::Restored<u64>;
///
///     fn preserve() -> Result<(Pin<KBox<Self::Outgoing>>, Handle)> {
///         let number = KBox::pin(kho::Outgoing::new(42, GFP_KERNEL)?, GFP_KERNEL)?;
///         let handle = number.handle();
///
///         Ok((number, handle))
///     }
///
///     fn retrieve(handle: Handle) -> Result<Pin<KBox<Self::Incoming>>> {
///         let number = PhysRef::<u64>::try_from(handle)?.restore()?;
///
///         Ok(KBox::pin(number, GFP_KERNEL)?)
///     }
/// }
///
/// static NUMBER: FlbCell<Number> = FlbCell::new();
///
/// // No file was preserved that it is attached to, and the previous kernel left none.
/// assert!(NUMBER.outgoing().is_err());
/// assert!(NUMBER.incoming().is_err());
/// # Ok::<(), Error>(())
/// ```
pub struct FlbCell<T: Flb> {
    flb: Opaque<bindings::liveupdate_flb>,
    _data: PhantomData<fn() -> T>,
}

// SAFETY: LUO's locks protect what it changes in the FLB, and the objects can be shared.
unsafe impl<T: Flb> Sync for FlbCell<T> {}

impl<T: Flb> FlbCell<T> {
    /// The callbacks, for pointers to them.
    const OPS: &'static bindings::liveupdate_flb_ops = &Callbacks::<T>::OPS;

    /// Makes an FLB that no handler uses.
    ///
    /// What the previous kernel left can be asked for all the same.
    #[expect(
        clippy::new_without_default,
        reason = "`Default` cannot be used for a `static`"
    )]
    pub const fn new() -> Self {
        // SAFETY: State that LUO initialises when it first sees the FLB, for which all bits zero
        // is a value.
        let zeroed: bindings::liveupdate_flb = unsafe { mem::zeroed() };

        Self {
            flb: Opaque::new(bindings::liveupdate_flb {
                ops: Self::OPS,
                compatible: compatible(T::COMPATIBLE),
                ..zeroed
            }),
            _data: PhantomData,
        }
    }

    /// Returns the FLB as C knows it.
    pub fn as_raw(&'static self) -> *mut bindings::liveupdate_flb {
        self.flb.get()
    }

    /// Returns the data for the next kernel.
    ///
    /// # Errors
    ///
    /// `ENOENT` if no file is preserved that shares it, `EOPNOTSUPP` if the Live Update
    /// Orchestrator does not run.
    pub fn outgoing(&'static self) -> Result<OutgoingFlb<T>> {
        let mut object = ptr::null_mut();

        // SAFETY: The FLB is pinned, for it is a static.
        to_result(unsafe { bindings::liveupdate_flb_get_outgoing(self.as_raw(), &mut object) })?;

        // INVARIANT: We were given a reference; the object is from `preserve`.
        Ok(OutgoingFlb {
            flb: self,
            object: NonNull::new(object.cast()).ok_or(ENOENT)?,
        })
    }

    /// Returns the data of the previous kernel. The first to ask has it retrieved.
    ///
    /// From `early_initcall` on. May sleep.
    ///
    /// # Errors
    ///
    /// - `ENODATA` if the previous kernel left nothing, or if all files were finished.
    /// - `ENODEV` if the module of the FLB is going away.
    /// - `ENOENT` if it left other data only.
    /// - `EOPNOTSUPP` if the Live Update Orchestrator does not run.
    /// - What `retrieve` failed with.
    pub fn incoming(&'static self) -> Result<IncomingFlb<T>> {
        let mut object = ptr::null_mut();

        // SAFETY: The FLB is pinned, for it is a static.
        to_result(unsafe { bindings::liveupdate_flb_get_incoming(self.as_raw(), &mut object) })?;

        // INVARIANT: We were given a reference; the object is from `retrieve`.
        Ok(IncomingFlb {
            flb: self,
            object: NonNull::new(object.cast()).ok_or(ENODATA)?,
        })
    }
}

/// Keeps the data for the next kernel from ending.
///
/// Must not be held when the kexec happens: LUO would hand over a count that the next kernel never
/// gets down to zero.
///
/// # Invariants
///
/// We own a reference to the outgoing object of `flb`, which `object` points to.
pub struct OutgoingFlb<T: Flb> {
    flb: &'static FlbCell<T>,
    object: NonNull<T::Outgoing>,
}

impl<T: Flb> Deref for OutgoingFlb<T> {
    type Target = T::Outgoing;

    fn deref(&self) -> &T::Outgoing {
        // SAFETY: By the type invariants; LUO gives out shared references only.
        unsafe { self.object.as_ref() }
    }
}

impl<T: Flb> Drop for OutgoingFlb<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the reference is ours.
        unsafe { bindings::liveupdate_flb_put_outgoing(self.flb.as_raw()) };
    }
}

/// Keeps the data of the previous kernel from ending.
///
/// # Invariants
///
/// We own a reference to the incoming object of `flb`, which `object` points to.
pub struct IncomingFlb<T: Flb> {
    flb: &'static FlbCell<T>,
    object: NonNull<T::Incoming>,
}

impl<T: Flb> Deref for IncomingFlb<T> {
    type Target = T::Incoming;

    fn deref(&self) -> &T::Incoming {
        // SAFETY: By the type invariants; LUO gives out shared references only.
        unsafe { self.object.as_ref() }
    }
}

impl<T: Flb> Drop for IncomingFlb<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the reference is ours.
        unsafe { bindings::liveupdate_flb_put_incoming(self.flb.as_raw()) };
    }
}

#[cfg(CONFIG_RUST_LIVEUPDATE_KUNIT_TEST)]
#[kunit_tests(rust_liveupdate_flb)]
mod tests {
    use super::*;
    use crate::{
        fs::LocalFile,
        liveupdate::{
            FileHandler,
            Handler,
            Incoming,
            Outgoing, //
        },
        sync::{
            aref::ARef,
            atomic::{
                Atomic,
                Relaxed, //
            }, //
        },
    };

    /// Shared by the files of [`Files`].
    struct Shared;

    /// What was written down last.
    static WRITTEN: Atomic<u32> = Atomic::new(0);

    #[vtable]
    impl Flb for Shared {
        const COMPATIBLE: &'static CStr = c"kunit-shared-v1";

        type Outgoing = u32;
        type Incoming = u64;

        fn preserve() -> Result<(Pin<KBox<u32>>, Handle)> {
            Ok((KBox::pin(5, GFP_KERNEL)?, Handle::new(50)))
        }

        fn serialize(outgoing: &u32) {
            WRITTEN.store(*outgoing, Relaxed);
        }

        fn retrieve(handle: Handle) -> Result<Pin<KBox<u64>>> {
            if handle.get() == 0 {
                return Err(EINVAL);
            }
            Ok(KBox::pin(handle.get(), GFP_KERNEL)?)
        }
    }

    /// Preserves no files.
    struct Files;

    #[vtable]
    impl FileHandler for Files {
        const COMPATIBLE: &'static CStr = c"kunit-files-v1";

        type Preserved = ();
        type Frozen = ();

        fn can_preserve(_file: &LocalFile) -> bool {
            false
        }

        fn preserve(_outgoing: &Outgoing<'_>) -> Result<((), Handle)> {
            Err(EOPNOTSUPP)
        }

        fn retrieve(_incoming: &Incoming<'_>) -> Result<ARef<LocalFile>> {
            Err(EOPNOTSUPP)
        }

        fn finish(_incoming: &Incoming<'_>) {}
    }

    static SHARED: FlbCell<Shared> = FlbCell::new();
    static FILES: Handler<Files> = Handler::new();

    type Ops = Callbacks<Shared>;
    type Args = bindings::liveupdate_flb_op_args;

    /// Calls a callback.
    macro_rules! call {
        ($callback:expr, $args:expr) => {{
            let args: &mut Args = $args;
            // SAFETY: The test calls the callbacks in an order that LUO calls them in, too.
            unsafe { $callback(args) }
        }};
    }

    #[test]
    fn objects_go_through_luo_unharmed() {
        let mut args = Args::default();

        assert_eq!(call!(Ops::preserve, &mut args), 0);
        assert_eq!(args.data, 50);
        // SAFETY: The object is from `preserve`.
        assert_eq!(unsafe { *args.obj.cast::<u32>() }, 5);
        call!(Ops::serialize, &mut args);
        assert_eq!(WRITTEN.load(Relaxed), 5);
        call!(Ops::unpreserve, &mut args);

        assert_eq!(call!(Ops::retrieve, &mut args), 0);
        // SAFETY: The object is from `retrieve`.
        assert_eq!(unsafe { *args.obj.cast::<u64>() }, 50);
        call!(Ops::finish, &mut args);

        args.data = 0;
        assert_eq!(call!(Ops::retrieve, &mut args), EINVAL.to_errno());
    }

    #[test]
    fn an_object_is_attached_once() -> Result {
        let files = FILES.register()?.attach(&SHARED)?;

        assert_eq!(files.attach(&SHARED).err(), Some(EEXIST));
        Ok(())
    }

    #[test]
    fn there_is_no_object_without_a_file() -> Result {
        let _files = FILES.register()?.attach(&SHARED)?.publish();

        assert_eq!(SHARED.outgoing().err(), Some(ENOENT));
        assert!(SHARED.incoming().is_err());
        Ok(())
    }
}
