//! Sandboxes that refuse single system calls, as those of container runtimes do.

use std::io;
use std::process::Command;

use super::{before_exec, check, command, skip};

/// `BPF_LD | BPF_W | BPF_ABS`: load a word of the call's description.
const LOAD: u16 = 0x20;
/// `BPF_JMP | BPF_JEQ | BPF_K`: skip so many instructions if equal, so many if not.
const JUMP_IF_EQUAL: u16 = 0x15;
/// `BPF_RET | BPF_K`: decide.
const RETURN: u16 = 0x06;

/// Where the number of the system call stands in `struct seccomp_data`.
const OFFSET_OF_NUMBER: u32 = 0;

/// Whether a filter can be installed here. Says so if not.
pub(crate) fn can_refuse() -> bool {
    let mut probe = command(["--version"]);
    refuse(&mut probe, libc::SYS_io_uring_setup, libc::EPERM);
    match probe.output() {
        Ok(_) => true,
        Err(error) => {
            skip(&format!("no seccomp filter can be installed: {error}"));
            false
        }
    }
}

/// Lets the command run under a filter that answers one system call with an error.
pub(crate) fn refuse(command: &mut Command, call: libc::c_long, errno: libc::c_int) {
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let filter = [
        instruction(LOAD, 0, 0, OFFSET_OF_NUMBER),
        instruction(JUMP_IF_EQUAL, 0, 1, u32::try_from(call).expect("a system call's number")),
        instruction(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | errno.cast_unsigned()),
        instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    before_exec(command, move || install(filter));
}

fn install(mut filter: [libc::sock_filter; 4]) -> io::Result<()> {
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: takes integers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // SAFETY: `program` and the filter that it names outlive the call, which copies them.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) })
}
