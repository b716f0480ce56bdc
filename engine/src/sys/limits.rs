//! How many descriptors this process may hold.

use std::io;

use super::check;

/// Raises the soft limit of open descriptors to the hard one and returns what holds now.
///
/// Each connection is one descriptor; the usual soft limit of 1024 is a courtesy to programs that use
/// `select`. When the raise is refused, the soft limit stays and is returned.
///
/// # Errors
/// Whatever `getrlimit` reports.
pub(crate) fn raise_descriptors() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for the write.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    // SAFETY: `raised` is valid for the read.
    match check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) }) {
        Ok(_) => Ok(raised.rlim_cur),
        Err(_) => Ok(limit.rlim_cur),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_reaches_the_hard_limit_and_stays_there() {
        let raised = raise_descriptors().unwrap();
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is valid for the write.
        check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }).unwrap();
        assert_eq!((limit.rlim_cur, limit.rlim_max), (raised, raised));
        assert_eq!(raise_descriptors().unwrap(), raised);
    }
}
