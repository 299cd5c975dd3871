// SPDX-License-Identifier: GPL-2.0

//! The callbacks of a handler, as C calls them.

use super::{
    FileHandler,
    Handler,
    Incoming,
    Outgoing, //
};
use crate::{
    bindings,
    error::from_result,
    ffi::{
        c_int,
        c_ulong, //
    },
    fs::LocalFile,
    liveupdate::Handle,
    module::this_module,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::Acquire, //
    },
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    mem, //
};

/// The phase that an outgoing file is in: what LUO's `private_data` points to.
pub(super) enum Phase<T: FileHandler> {
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
pub(super) struct Callbacks<T: FileHandler>(PhantomData<T>);

impl<T: FileHandler> Callbacks<T> {
    pub(super) const OPS: bindings::liveupdate_file_ops = bindings::liveupdate_file_ops {
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
    pub(super) unsafe extern "C" fn can_preserve(
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
    pub(super) unsafe extern "C" fn get_id(file: *mut bindings::file) -> c_ulong {
        // SAFETY: By function requirement, and an ioctl does not call `fdget_pos()` on it.
        T::id(unsafe { LocalFile::from_raw_file(file) })
    }

    /// # Safety
    ///
    /// `args` are those of a `preserve` callback.
    pub(super) unsafe extern "C" fn preserve(
        args: *mut bindings::liveupdate_file_op_args,
    ) -> c_int {
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
    pub(super) unsafe extern "C" fn unpreserve(args: *mut bindings::liveupdate_file_op_args) {
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
    pub(super) unsafe fn phase<'a>(args: &bindings::liveupdate_file_op_args) -> &'a mut Phase<T> {
        // SAFETY: `preserve` made the box, and LUO's mutexes keep callbacks for one file from
        // running at the same time.
        unsafe { &mut *args.private_data.cast::<Phase<T>>() }
    }

    /// # Safety
    ///
    /// `args` are those of a `freeze` callback, of a file that `preserve` succeeded for.
    pub(super) unsafe extern "C" fn freeze(args: *mut bindings::liveupdate_file_op_args) -> c_int {
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
    pub(super) unsafe extern "C" fn unfreeze(args: *mut bindings::liveupdate_file_op_args) {
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
    pub(super) unsafe extern "C" fn retrieve(
        args: *mut bindings::liveupdate_file_op_args,
    ) -> c_int {
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
    pub(super) unsafe extern "C" fn can_finish(
        args: *mut bindings::liveupdate_file_op_args,
    ) -> bool {
        // SAFETY: By function requirement, nobody else refers to the arguments.
        let args = unsafe { &*args };

        T::can_finish(&Incoming { args })
    }

    /// # Safety
    ///
    /// `args` are those of a `can_abandon` callback.
    pub(super) unsafe extern "C" fn can_abandon(
        args: *mut bindings::liveupdate_file_op_args,
    ) -> bool {
        // SAFETY: By function requirement, nobody else refers to the arguments.
        let args = unsafe { &*args };

        T::can_abandon(&Incoming { args })
    }

    /// # Safety
    ///
    /// `args` are those of a `finish` callback.
    pub(super) unsafe extern "C" fn finish(args: *mut bindings::liveupdate_file_op_args) {
        // SAFETY: By function requirement, nobody else refers to the arguments.
        let args = unsafe { &*args };

        T::finish(&Incoming { args });
    }
}
