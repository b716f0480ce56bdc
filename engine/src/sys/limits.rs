//! How many descriptors this process may hold.

use std::fs;
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
    let most = fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|number| number.trim().parse().ok());
    // SAFETY: `limit` is valid for the read.
    Ok(raise(limit, most, |limit| unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) } == 0))
}

/// Raises `limit` by `set`, which says whether the kernel took it. It refuses every limit whose hard part is
/// above `most`, as an infinite one is: then both parts become `most`.
fn raise(limit: libc::rlimit, most: Option<u64>, mut set: impl FnMut(&libc::rlimit) -> bool) -> u64 {
    let both = |count| libc::rlimit { rlim_cur: count, rlim_max: count };
    let clamped = most.filter(|&most| limit.rlim_cur < most && most < limit.rlim_max);
    let tries = [Some(limit.rlim_max), clamped];
    tries.into_iter().flatten().find(|&count| set(&both(count))).unwrap_or(limit.rlim_cur)
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

    #[test]
    fn a_hard_limit_above_what_the_kernel_takes_is_clamped() {
        // What the kernel takes, and what it says is the most.
        let raised = |soft, hard, takes: u64, says| {
            let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
            raise(limit, says, |limit| limit.rlim_cur <= limit.rlim_max && limit.rlim_max <= takes)
        };
        assert_eq!(raised(1024, libc::RLIM_INFINITY, 1 << 20, Some(1 << 20)), 1 << 20);
        assert_eq!(raised(1024, 4096, 1 << 20, Some(1 << 20)), 4096);
        assert_eq!(raised(1024, libc::RLIM_INFINITY, 1 << 20, None), 1024, "the soft limit stays");
        assert_eq!(raised(1024, libc::RLIM_INFINITY, 0, Some(1 << 20)), 1024);
        assert_eq!(raised(1 << 21, libc::RLIM_INFINITY, 1 << 20, Some(1 << 20)), 1 << 21, "never lowered");
    }
}
