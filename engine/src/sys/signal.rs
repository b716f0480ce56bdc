//! The signals that end a server, taken as events instead of interruptions.
//!
//! `SIGINT`, `SIGTERM` and `SIGQUIT` are blocked before any worker starts (threads inherit the mask) and read
//! from a descriptor by the one thread that waits for the end. `SIGPIPE` needs nothing: sends say
//! `MSG_NOSIGNAL`.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use super::check;
use super::wake::Waker;

/// The signals that ask for a shutdown, as Kestrel's console lifetime takes them.
const SIGNALS: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGQUIT];

/// A signal that asked for a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl+C.
    Interrupt,
    /// `kill`, service managers, container runtimes.
    Terminate,
    /// Ctrl+\.
    Quit,
}

impl Signal {
    fn number(self) -> libc::c_int {
        match self {
            Self::Interrupt => libc::SIGINT,
            Self::Terminate => libc::SIGTERM,
            Self::Quit => libc::SIGQUIT,
        }
    }
}

/// Why [`Signals::wait`] has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// One of the signals arrived.
    Signal(Signal),
    /// Another thread used the waker.
    Woken,
}

/// The signals of a shutdown, blocked in this thread and in those that it spawns.
///
/// Dropping it gives the calling thread its former mask back.
#[derive(Debug)]
pub(crate) struct Signals {
    descriptor: OwnedFd,
    former: libc::sigset_t,
}

impl Signals {
    /// Blocks the signals. Call it before any other thread is spawned: one that does not block them would
    /// die of them, and the process with it.
    ///
    /// # Errors
    /// Whatever `signalfd` reports, e.g. that no descriptor is left.
    pub(crate) fn block() -> io::Result<Self> {
        let set = set();
        // SAFETY: `set` is initialized and outlives the call; -1 asks for a new descriptor.
        let fd =
            check(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let descriptor = unsafe { OwnedFd::from_raw_fd(fd) };
        let former = change_mask(libc::SIG_BLOCK, &set)?;
        Ok(Self { descriptor, former })
    }

    /// Waits until a signal arrives or somebody wakes `waker`.
    ///
    /// # Errors
    /// Whatever `poll` or `read` report; none is to be expected.
    pub(crate) fn wait(&self, waker: &Waker) -> io::Result<Wait> {
        let interest = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut polled = [interest(self.descriptor.as_raw_fd()), interest(waker.fd().0)];
        loop {
            // SAFETY: the pointer and the count describe `polled`.
            match check(unsafe { libc::poll(polled.as_mut_ptr(), 2, -1) }) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome?,
            };
            if let Some(signal) = self.next()? {
                return Ok(Wait::Signal(signal));
            }
            if waker.drain() {
                return Ok(Wait::Woken);
            }
        }
    }

    /// From now on the signals do what they do by default: the next one ends the process at once, so that a
    /// second Ctrl+C cuts a drain short. One that is already waiting takes effect during this call.
    ///
    /// # Errors
    /// None is to be expected.
    pub(crate) fn restore_default(&self) -> io::Result<()> {
        for signal in SIGNALS {
            // SAFETY: the default action runs no code of ours.
            if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
                return Err(io::Error::last_os_error());
            }
        }
        change_mask(libc::SIG_UNBLOCK, &set())?;
        Ok(())
    }

    /// Ends the process by a signal that has arrived, and by an exit code where that does nothing: the first
    /// process of a container ignores what it has no handler for.
    pub(crate) fn end_process(&self, signal: Signal) -> ! {
        let _ = self.restore_default();
        // SAFETY: takes an integer.
        unsafe { libc::raise(signal.number()) };
        // What a shell shows for a process that a signal has ended.
        // SAFETY: takes an integer and runs no code of ours.
        unsafe { libc::_exit(128 + signal.number()) }
    }

    fn next(&self) -> io::Result<Option<Signal>> {
        // SAFETY: all-zero bytes are a valid value of this plain structure.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let size = size_of_val(&info);
        // SAFETY: the pointer and the size describe `info`.
        let read = unsafe { libc::read(self.descriptor.as_raw_fd(), (&raw mut info).cast(), size) };
        if read < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
        }
        Ok(Some(match info.ssi_signo.cast_signed() {
            libc::SIGINT => Signal::Interrupt,
            libc::SIGQUIT => Signal::Quit,
            _ => Signal::Terminate,
        }))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = change_mask(libc::SIG_SETMASK, &self.former);
    }
}

fn set() -> libc::sigset_t {
    // SAFETY: all-zero bytes are a valid value of this plain structure; the calls below write into it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in SIGNALS {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

/// Changes the calling thread's mask and returns the former one.
fn change_mask(how: libc::c_int, set: &libc::sigset_t) -> io::Result<libc::sigset_t> {
    // SAFETY: all-zero bytes are a valid value of this plain structure.
    let mut former: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: both sets are valid for the call. The result is an error number, not -1.
    match unsafe { libc::pthread_sigmask(how, ptr::from_ref(set), &raw mut former) } {
        0 => Ok(former),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use super::*;

    /// Sends a signal to the calling thread only, so that tests of other threads are left in peace.
    fn raise(signal: libc::c_int) {
        // SAFETY: takes an integer; the signal is blocked in this thread.
        check(unsafe { libc::raise(signal) }).unwrap();
    }

    #[test]
    fn a_signal_and_a_waker_both_end_the_waiting() {
        let signals = Signals::block().unwrap();
        let waker = Waker::new().unwrap();
        for (number, signal) in [
            (libc::SIGINT, Signal::Interrupt),
            (libc::SIGTERM, Signal::Terminate),
            (libc::SIGQUIT, Signal::Quit),
        ] {
            raise(number);
            assert_eq!(signals.wait(&waker).unwrap(), Wait::Signal(signal));
        }
        let other = waker.clone();
        let thread = std::thread::spawn(move || other.wake());
        assert_eq!(signals.wait(&waker).unwrap(), Wait::Woken);
        thread.join().unwrap();
    }

    #[test]
    fn threads_inherit_the_mask_and_dropping_restores_it() {
        let blocked = || {
            let mask = change_mask(libc::SIG_BLOCK, &set()).unwrap();
            // SAFETY: `mask` is initialized.
            unsafe { libc::sigismember(&raw const mask, libc::SIGINT) == 1 }
        };
        let signals = Signals::block().unwrap();
        assert!(std::thread::spawn(blocked).join().unwrap());
        drop(signals);
        assert!(!blocked());
        change_mask(libc::SIG_UNBLOCK, &set()).unwrap();
    }

    /// Runs only as the child of the test below, in its own process.
    #[test]
    #[ignore = "ends its process by a signal"]
    fn child_ends_by_the_second_signal() {
        let signals = Signals::block().unwrap();
        raise(libc::SIGINT);
        assert_eq!(signals.wait(&Waker::new().unwrap()).unwrap(), Wait::Signal(Signal::Interrupt));
        raise(libc::SIGINT);
        match signals.wait(&Waker::new().unwrap()).unwrap() {
            Wait::Signal(signal) => signals.end_process(signal),
            Wait::Woken => unreachable!("nobody wakes it"),
        }
    }

    /// Runs the test above by itself, started by `launcher`.
    fn child(launcher: &[&str]) -> Command {
        let module = module_path!().split_once("::").unwrap().1;
        let exe = std::env::current_exe().unwrap();
        let mut command = match launcher {
            [] => Command::new(exe),
            [program, args @ ..] => {
                let mut command = Command::new(program);
                command.args(args).arg(exe);
                command
            }
        };
        command.args(["--ignored", "--exact", "--test-threads=1"]);
        command.arg(format!("{module}::child_ends_by_the_second_signal"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    #[test]
    fn the_second_signal_ends_the_process() {
        let status = child(&[]).status().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGINT));
    }

    #[test]
    fn the_second_signal_ends_the_first_process_of_a_container() {
        let launcher = ["unshare", "--user", "--map-root-user", "--pid", "--fork"];
        let works = Command::new(launcher[0]).args(&launcher[1..]).arg("true").output();
        if !works.is_ok_and(|tried| tried.status.success()) {
            return eprintln!("not tested: no namespaces here");
        }
        assert_eq!(child(&launcher).status().unwrap().code(), Some(128 + libc::SIGINT));
    }
}
