//! Steps of decoders: every loop over bytes that anybody may have sent tells of each of its turns. Tests and fuzzers, which
//! build with the feature `steps`, end one that takes more of them than its input allows: one that stays where it is does
//! not hang them. Elsewhere nothing is counted and there is no code.

/// A turn of a loop over bytes that anybody may have sent.
#[inline(always)]
pub fn step() {
    #[cfg(any(test, feature = "steps"))]
    counting::step();
}

/// Runs `work`, whose loops may take `limit` steps in all on this thread. Gives what it gave and how many they took: 0
/// without the feature `steps`.
///
/// # Panics
/// At the first step beyond `limit`.
pub fn within<T>(limit: usize, work: impl FnOnce() -> T) -> (T, usize) {
    #[cfg(any(test, feature = "steps"))]
    let count = counting::Count::begin(limit);
    let result = work();
    #[cfg(any(test, feature = "steps"))]
    return (result, count.taken());
    #[cfg(not(any(test, feature = "steps")))]
    {
        let _ = limit;
        (result, 0)
    }
}

#[cfg(any(test, feature = "steps"))]
mod counting {
    use std::cell::Cell;

    thread_local! {
        /// How many steps this thread may still take, if somebody counts.
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    pub(super) fn step() {
        if let Some(left) = LEFT.get() {
            LEFT.set(Some(left.checked_sub(1).expect("a decoder takes no more steps than its input allows")));
        }
    }

    /// Steps are counted from its beginning until it is dropped, by a panic too.
    pub(super) struct Count {
        limit: usize,
        before: Option<usize>,
    }

    impl Count {
        pub(super) fn begin(limit: usize) -> Self {
            Self { limit, before: LEFT.replace(Some(limit)) }
        }

        pub(super) fn taken(&self) -> usize {
            self.limit - LEFT.get().unwrap_or(self.limit)
        }
    }

    impl Drop for Count {
        fn drop(&mut self) {
            LEFT.set(self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn f15_a_loop_that_goes_nowhere_ends_at_its_limit_and_harms_no_other() {
        let go_nowhere = || {
            loop {
                step();
            }
        };
        let (inner, taken) = within(10, || {
            step();
            (within(3, || (0..3).for_each(|_| step())), catch_unwind(|| within(3, go_nowhere)).is_err())
        });
        assert_eq!((inner, taken), ((((), 3), true), 1));
        // Where nobody counts there is no limit.
        (0..1_000).for_each(|_| step());
    }
}
