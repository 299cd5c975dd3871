// SPDX-License-Identifier: GPL-2.0

//! Files that talk to C, against declarations that stand in for those of the kernel.
//!
//! See `src/lib.rs`. Nothing of this is ever run: functions of C are declared, and nowhere defined. It
//! has what these files name, and no more.

// Files of the kernel's own crate say `crate`, those of leaves say `kernel`.
extern crate self as kernel;

mod bindings;
mod iommufd;
mod liveupdate;
mod misuses;
mod pci_lu;

mod alloc {
    #[derive(Clone, Copy)]
    pub struct Flags(pub u32);

    impl Flags {
        pub fn as_raw(self) -> u32 {
            self.0
        }
    }

    impl core::ops::BitOr for Flags {
        type Output = Self;

        fn bitor(self, other: Self) -> Self {
            Self(self.0 | other.0)
        }
    }
}

mod error {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Error(i32);

    pub type Result<T = (), E = Error> = core::result::Result<T, E>;

    pub const EBUSY: Error = Error(16);
    pub const EINVAL: Error = Error(22);
    pub const ENODEV: Error = Error(19);
    pub const ENOENT: Error = Error(2);
    pub const ENOMEM: Error = Error(12);
    pub const EOPNOTSUPP: Error = Error(95);

    impl From<core::num::TryFromIntError> for Error {
        fn from(_: core::num::TryFromIntError) -> Self {
            EINVAL
        }
    }

    pub fn to_result(err: i32) -> Result {
        if err < 0 {
            Err(Error(err))
        } else {
            Ok(())
        }
    }

    pub fn from_err_ptr<T>(ptr: *mut T) -> Result<*mut T> {
        Ok(ptr)
    }
}

mod ffi {
    pub use core::ffi::{
        c_int,
        c_void, //
    };

    #[allow(non_camel_case_types)]
    pub type c_ulong = u64;
}

mod fs {
    use crate::bindings;

    pub struct LocalFile(core::cell::UnsafeCell<bindings::file>);

    impl LocalFile {
        pub fn as_ptr(&self) -> *mut bindings::file {
            self.0.get()
        }

        pub unsafe fn from_raw_file<'a>(file: *const bindings::file) -> &'a Self {
            unsafe { &*file.cast() }
        }
    }
}

mod page {
    pub const PAGE_SIZE: usize = 4096;
}

mod pci {
    pub struct Device(());
}

mod prelude {
    pub use crate::{
        alloc::Flags,
        dev_warn,
        error::*, //
    };

    pub const GFP_KERNEL: Flags = Flags(1);
    pub const __GFP_ZERO: Flags = Flags(2);
}

#[macro_export]
macro_rules! dev_warn {
    ($dev:expr, $($arg:tt)*) => {{
        let _ = ($dev, core::format_args!($($arg)*));
    }};
}

#[macro_export]
macro_rules! container_of {
    ($field_ptr:expr, $container:ty, $($field:tt)*) => {{
        let field_ptr = $field_ptr;
        let container = field_ptr
            .byte_sub(core::mem::offset_of!($container, $($field)*))
            .cast::<$container>();

        // The field has the type that is pointed to.
        if false {
            let _ = [&raw mut (*container).$($field)*, field_ptr];
        }
        container
    }};
}

mod sync {
    pub mod atomic {
        use core::cell::UnsafeCell;

        pub struct Relaxed;

        pub struct Atomic<T>(UnsafeCell<T>);

        unsafe impl<T> Sync for Atomic<T> {}

        impl<T: Copy> Atomic<T> {
            pub const fn new(value: T) -> Self {
                Self(UnsafeCell::new(value))
            }

            pub fn load(&self, _: Relaxed) -> T {
                unsafe { *self.0.get() }
            }

            pub fn store(&self, value: T, _: Relaxed) {
                unsafe { *self.0.get() = value };
            }
        }

        pub unsafe fn atomic_load<T: Copy>(place: *mut T, _: Relaxed) -> T {
            unsafe { *place }
        }
    }
}

mod task {
    pub struct Task;

    impl Task {
        pub fn current_raw() -> *mut crate::bindings::task_struct {
            core::ptr::null_mut()
        }
    }
}

mod types {
    pub type NotThreadSafe = core::marker::PhantomData<*mut ()>;

    #[allow(non_upper_case_globals)]
    pub const NotThreadSafe: NotThreadSafe = core::marker::PhantomData;
}

mod uaccess {
    use crate::{
        error::Result,
        ffi::c_void, //
    };

    pub struct UserPtr(());

    impl UserPtr {
        pub fn from_ptr(_ptr: *mut c_void) -> Self {
            Self(())
        }
    }

    pub struct UserSlice(());

    impl UserSlice {
        pub fn new(_ptr: UserPtr, _length: usize) -> Self {
            Self(())
        }

        pub fn writer(self) -> UserSliceWriter {
            UserSliceWriter(())
        }
    }

    pub struct UserSliceWriter(());

    impl UserSliceWriter {
        pub fn write_slice(&mut self, _data: &[u8]) -> Result {
            Ok(())
        }
    }
}
