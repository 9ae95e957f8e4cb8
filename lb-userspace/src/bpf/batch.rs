//! How are many elements written by one call, and who was it that failed?

use std::io;

/// Does something to so many elements in their order: to all from one on by one call of `many`. Who fails
/// there is tried by `one`, which says what counts as failure; where the kernel has no batches for this
/// type of map (tries before 5.14), so is everybody.
pub(super) fn by_batch(
    count: usize,
    one: impl Fn(usize) -> io::Result<()>,
    many: impl Fn(usize) -> Result<(), (usize, io::Error)>,
) -> Result<(), (usize, io::Error)> {
    /// The kernel's own error number for what it does not support, which is in no C library.
    const ENOTSUPP: i32 = 524;
    let mut at = 0;
    let mut has_batches = true;
    while at < count {
        if has_batches && count - at > 1 {
            match many(at) {
                Ok(()) => return Ok(()),
                Err((_, error)) if error.raw_os_error() == Some(ENOTSUPP) => has_batches = false,
                Err((done, _)) => at += done,
            }
        }
        one(at).map_err(|error| (at, error))?;
        at += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who failed, and by which error.
    type Outcome = Result<(), (usize, Option<i32>)>;

    /// A kernel that refuses one of ten elements with one error in a batch, and with another alone.
    fn written(in_batch: i32, alone: Option<i32>) -> (Outcome, Vec<usize>) {
        let written = std::cell::RefCell::new(Vec::new());
        let refused = 4;
        let one = |at| {
            let error = alone.filter(|_| at == refused);
            let error = error.map(io::Error::from_raw_os_error);
            error.map_or_else(
                || {
                    written.borrow_mut().push(at);
                    Ok(())
                },
                Err,
            )
        };
        let many = |at| {
            let can = in_batch != 524;
            let end = if at <= refused { refused } else { 10 };
            if can {
                written.borrow_mut().extend(at..end);
            }
            let done = if can { end - at } else { 0 };
            let error = || (done, io::Error::from_raw_os_error(in_batch));
            if end == 10 { Ok(()) } else { Err(error()) }
        };
        let result = by_batch(10, one, many).map_err(|(at, error)| (at, error.raw_os_error()));
        (result, written.into_inner())
    }

    #[test]
    fn a_batch_goes_on_behind_what_is_no_failure() {
        let all: Vec<_> = (0..10).collect();
        assert_eq!(written(libc::ENOENT, None), (Ok(()), all));
    }

    #[test]
    fn a_batch_ends_where_an_element_fails_and_says_which() {
        let (result, written) = written(libc::E2BIG, Some(libc::E2BIG));
        assert_eq!(result, Err((4, Some(libc::E2BIG))));
        assert_eq!(written, [0, 1, 2, 3]);
    }

    #[test]
    fn where_there_are_no_batches_elements_are_written_one_by_one() {
        let all: Vec<_> = (0..10).collect();
        assert_eq!(written(524, None), (Ok(()), all));
        let (result, written) = written(524, Some(libc::ENOSPC));
        assert_eq!(result, Err((4, Some(libc::ENOSPC))));
        assert_eq!(written, [0, 1, 2, 3]);
    }
}
