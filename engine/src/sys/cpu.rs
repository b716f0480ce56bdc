//! CPUs: which of them this thread may use, how much of them its control group grants, and pinning to them.
//!
//! Knows CPU numbers and the files that describe them; which worker gets which CPU is not its business.

use std::fs;
use std::io;
use std::path::Path;

use super::check;

/// One word of a CPU mask, as the kernel counts it.
const MASK_BITS: usize = u64::BITS as usize;

/// A mask of 2^20 CPUs: far above what the kernel can be built for.
const MASK_WORDS_MAX: usize = (1 << 20) / MASK_BITS;

/// Where control groups of version 2 are mounted: alone, or beside version 1.
const CGROUP_V2_MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Where the CPU controller of version 1 is mounted.
const CGROUP_V1_MOUNTS: [&str; 2] = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"];

/// The CPUs that the calling thread may run on, ascending.
///
/// # Errors
/// Whatever `sched_getaffinity` reports, e.g. that a sandbox refuses it.
pub(crate) fn allowed() -> io::Result<Vec<usize>> {
    // glibc's cpu_set_t ends at 1024 CPUs; the kernel says EINVAL when its own mask is larger than ours.
    let mut words = 1024 / MASK_BITS;
    loop {
        let mut mask = vec![0_u64; words];
        // SAFETY: the pointer and the size describe `mask`, which the kernel fills.
        let result = unsafe { libc::sched_getaffinity(0, size_of_val(&*mask), mask.as_mut_ptr().cast()) };
        match check(result) {
            Ok(_) => return Ok(members(&mask)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && words < MASK_WORDS_MAX => words *= 2,
            Err(error) => return Err(error),
        }
    }
}

/// The CPUs that the process's first thread may run on, ascending: all there are for it, unless that one is pinned.
/// `None` where /proc does not tell.
pub(crate) fn of_process() -> Option<Vec<usize>> {
    // "self" is the process, not the calling thread, and what is read is its first thread's.
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(ranges(list)).filter(|cpus| !cpus.is_empty())
}

/// Lets the calling thread run on `cpus` only: one of them to pin it, several to confine it.
///
/// # Errors
/// `EINVAL` when none of `cpus` exists or is allowed.
pub(crate) fn pin(cpus: &[usize]) -> io::Result<()> {
    let words = cpus.iter().max().map_or(1, |&last| last / MASK_BITS + 1);
    let mut mask = vec![0_u64; words];
    for &cpu in cpus {
        mask[cpu / MASK_BITS] |= 1 << (cpu % MASK_BITS);
    }
    // SAFETY: the pointer and the size describe `mask`, which the kernel only reads.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&*mask), mask.as_ptr().cast()) })?;
    Ok(())
}

/// `cpus` in the order in which workers should take them: one hardware thread of every core first, the
/// cores' further threads after that, since two threads of one core share its execution units.
pub(crate) fn cores_first(cpus: &[usize]) -> Vec<usize> {
    cores_first_by(cpus, |cpu| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        fs::read_to_string(path).ok()
    })
}

fn cores_first_by(cpus: &[usize], siblings: impl Fn(usize) -> Option<String>) -> Vec<usize> {
    let rank = |cpu: usize| {
        let siblings = siblings(cpu).map_or_else(Vec::new, |list| ranges(&list));
        siblings.iter().filter(|&&sibling| sibling < cpu && cpus.contains(&sibling)).count()
    };
    let mut ordered = cpus.to_vec();
    ordered.sort_by_cached_key(|&cpu| (rank(cpu), cpu));
    ordered
}

/// How many CPUs' worth of time the control groups of this process grant; `None` without a limit.
pub(crate) fn quota() -> Option<f64> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    quota_of(&membership, |file| fs::read_to_string(file).ok())
}

/// The tightest quota on the way from the process's groups up to their roots. A group that is not visible
/// from here (a container sees its own group as the root) has no files: then its ancestors count.
fn quota_of(membership: &str, read: impl Fn(&Path) -> Option<String>) -> Option<f64> {
    let mut tightest: Option<f64> = None;
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let version_2 = controllers.is_empty();
        if !version_2 && controllers.split(',').all(|controller| controller != "cpu") {
            continue;
        }
        for mount in if version_2 { CGROUP_V2_MOUNTS } else { CGROUP_V1_MOUNTS }.map(Path::new) {
            let group = mount.join(group.trim_start_matches('/'));
            for dir in group.ancestors().take_while(|dir| dir.starts_with(mount)) {
                let quota = if version_2 {
                    read(&dir.join("cpu.max")).and_then(|cpu_max| quota_v2(&cpu_max))
                } else {
                    let files = ["cpu.cfs_quota_us", "cpu.cfs_period_us"].map(|name| read(&dir.join(name)));
                    let [Some(quota), Some(period)] = files else { continue };
                    quota_v1(&quota, &period)
                };
                tightest = [tightest, quota].into_iter().flatten().reduce(f64::min);
            }
        }
    }
    tightest
}

/// Version 2's `cpu.max`: `max 100000`, or microseconds of time and of period.
fn quota_v2(cpu_max: &str) -> Option<f64> {
    let mut words = cpu_max.split_whitespace();
    quota_v1(words.next()?, words.next()?)
}

/// Version 1's two files, microseconds each; a quota of -1 (in version 2 `max`) is none.
fn quota_v1(quota: &str, period: &str) -> Option<f64> {
    let quota: f64 = quota.trim().parse().ok()?;
    let period: f64 = period.trim().parse().ok()?;
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

fn members(mask: &[u64]) -> Vec<usize> {
    (0..mask.len() * MASK_BITS).filter(|bit| mask[bit / MASK_BITS] >> (bit % MASK_BITS) & 1 == 1).collect()
}

/// The kernel's way of writing sets, e.g. `0,64` or `0-1`. What cannot be read is left out.
fn ranges(list: &str) -> Vec<usize> {
    let range = |part: &str| -> Option<std::ops::RangeInclusive<usize>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_thread_may_run_somewhere_and_can_be_pinned_there() {
        std::thread::spawn(|| {
            let cpus = allowed().unwrap();
            assert!(!cpus.is_empty());
            let last = cpus[cpus.len() - 1];
            pin(&[last]).unwrap();
            assert_eq!(allowed().unwrap(), [last]);
            assert_eq!(of_process().unwrap(), cpus, "a pinned thread narrows the process");
            pin(&cpus).unwrap();
            assert_eq!(allowed().unwrap(), cpus);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn pinning_to_a_cpu_that_is_not_there_is_an_error() {
        assert_eq!(pin(&[100_000]).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(pin(&[]).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn masks_of_more_than_1024_cpus_are_read() {
        let mut mask = vec![0_u64; 32];
        mask[0] = 0b101;
        mask[31] = 1 << 63;
        assert_eq!(members(&mask), [0, 2, 2047]);
    }

    #[test]
    fn second_threads_of_a_core_come_last() {
        // Two cores of two threads numbered as servers do it (0,2 and 1,3), and as desktops do it.
        let spread = |cpu: usize| Some(format!("{},{}\n", cpu % 2, cpu % 2 + 2));
        assert_eq!(cores_first_by(&[0, 1, 2, 3], spread), [0, 1, 2, 3]);
        let adjacent = |cpu: usize| Some(format!("{}-{}\n", cpu / 2 * 2, cpu / 2 * 2 + 1));
        assert_eq!(cores_first_by(&[0, 1, 2, 3], adjacent), [0, 2, 1, 3]);
        // A sibling that is not ours shares the core with somebody else, not with another worker.
        assert_eq!(cores_first_by(&[1, 2, 3], adjacent), [1, 2, 3]);
        assert_eq!(cores_first_by(&[5, 3], |_| None), [3, 5]);
    }

    #[test]
    fn sets_are_read_as_the_kernel_writes_them() {
        assert_eq!(ranges("0,64\n"), [0, 64]);
        assert_eq!(ranges("0-2,8\n"), [0, 1, 2, 8]);
        assert_eq!(ranges("\n"), [0_usize; 0]);
    }

    fn quota_with(membership: &str, files: &[(&str, &str)]) -> Option<f64> {
        let read = |file: &Path| {
            let found = files.iter().find(|(path, _)| Path::new(path) == file)?;
            Some(found.1.to_owned())
        };
        quota_of(membership, read)
    }

    #[test]
    fn quota_of_version_2_is_the_tightest_of_all_ancestors() {
        let files = [
            ("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
            ("/sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
            ("/sys/fs/cgroup/cpu.max", "400000 100000\n"),
        ];
        assert_eq!(quota_with("0::/a/b\n", &files), Some(1.5));
        assert_eq!(quota_with("0::/\n", &files), Some(4.0));
        assert_eq!(quota_with("0::/a/b\n", &files[..1]), None);
    }

    #[test]
    fn quota_is_found_when_the_group_lies_outside_the_container() {
        let files = [("/sys/fs/cgroup/cpu.max", "50000 100000\n")];
        assert_eq!(quota_with("0::/../../system.slice/docker-1.scope\n", &files), Some(0.5));
        assert_eq!(quota_with("0::/docker/1\n", &files), Some(0.5));
    }

    #[test]
    fn quota_of_version_1_is_read_too() {
        let membership = "9:name=systemd:/\n4:cpu,cpuacct:/docker/1\n1:cpuset:/x\n0::/\n";
        let files = [
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "250000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("/sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us", "-1\n"),
            ("/sys/fs/cgroup/cpu/docker/1/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(quota_with(membership, &files), Some(2.5));
        assert_eq!(quota_with(membership, &files[2..]), None);
        assert_eq!(quota_with("", &files), None);
        assert_eq!(quota_with("nonsense\n1:cpu\n", &files), None);
    }
}
