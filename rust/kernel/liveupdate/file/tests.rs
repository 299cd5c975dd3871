// SPDX-License-Identifier: GPL-2.0

//! What becomes of a file whose callbacks are called, and of handlers that are registered.

use super::{
    callbacks::{
        Callbacks,
        Phase, //
    },
    *, //
};

#[kunit_tests(rust_liveupdate_file)]
mod file {
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

    /// Calls a callback.
    macro_rules! call {
        ($callback:expr, $args:expr) => {{
            let args: &mut Args = $args;
            // SAFETY: The tests call the callbacks in an order that LUO calls them in, too, and none
            // of them looks at the file or the session.
            unsafe { $callback(args) }
        }};
    }

    #[test]
    fn a_refused_freeze_gives_the_state_back() {
        let mut args = Args::default();

        assert_eq!(call!(Ops::preserve, &mut args), 0);
        assert_eq!(args.serialized_data, PRESERVED.get());

        // Refused, and then granted.
        assert_eq!(call!(Ops::freeze, &mut args), EINVAL.to_errno());
        assert_eq!(number(&args), Some(2));
        assert_eq!(args.serialized_data, PRESERVED.get());
        assert_eq!(call!(Ops::freeze, &mut args), 0);
        assert!(is_frozen(&args));
        assert_eq!(args.serialized_data, FROZEN.get());

        // Freezing twice changes nothing, nor does unfreezing twice.
        assert_eq!(call!(Ops::freeze, &mut args), EBUSY.to_errno());
        assert!(is_frozen(&args));
        call!(Ops::unfreeze, &mut args);
        assert_eq!(number(&args), Some(2));
        call!(Ops::unfreeze, &mut args);
        assert_eq!(number(&args), Some(2));

        call!(Ops::unpreserve, &mut args);
    }

    #[test]
    fn a_failed_retrieval_is_told_to_finish() {
        let mut args = Args {
            serialized_data: PRESERVED.get(),
            ..Default::default()
        };

        args.retrieve_status = call!(Ops::retrieve, &mut args);
        assert_eq!(args.retrieve_status, ENODEV.to_errno());
        call!(Ops::finish, &mut args);
    }

    #[test]
    fn what_is_in_use_is_not_abandoned() {
        for (handle, can_abandon) in [(PRESERVED, true), (FROZEN, false)] {
            let mut args = Args {
                serialized_data: handle.get(),
                ..Default::default()
            };

            assert_eq!(call!(Ops::can_abandon, &mut args), can_abandon);
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
    fn a_handler_that_lacks_its_data_is_not_registered() -> Result {
        // SAFETY: Not registered, as is checked below.
        let result = unsafe { NUMBERS.register_and_keep(|_| Err(ENOSPC)) };

        assert_eq!(result, Err(ENOSPC));
        NUMBERS.unregister();
        drop(NUMBERS.register()?);
        Ok(())
    }

    #[test]
    fn a_kept_registration_is_undone_once() -> Result {
        // Nothing to undo.
        NUMBERS.unregister();

        // SAFETY: Undone below.
        unsafe { NUMBERS.register_and_keep(|_| Ok(())) }?;
        assert_eq!(NUMBERS.register().err(), Some(EEXIST));
        NUMBERS.unregister();
        NUMBERS.unregister();
        drop(NUMBERS.register()?);
        Ok(())
    }
}
