//! The runtime of tokio's that handlers find around them, with the feature `tokio`; without it, nothing.
//!
//! Owns the choice of it, its life, and its threads. Whoever runs foreign code enters it; it must not know who that is.

#[cfg(feature = "tokio")]
pub(super) use with_tokio::Reactor;
#[cfg(not(feature = "tokio"))]
pub(super) use without::Reactor;

#[cfg(feature = "tokio")]
mod with_tokio {
    use std::time::Duration;

    use tokio::runtime::{Builder, EnterGuard, Handle, Runtime, RuntimeFlavor};

    use crate::host::error::{Result, StartError};
    use crate::host::options::Options;
    use crate::sys::cpu;

    /// How long the end of a runtime waits for what its threads are at.
    const END_TIME: Duration = Duration::from_secs(1);

    /// See the module's text.
    #[derive(Debug)]
    pub(in crate::host) struct Reactor {
        handle: Handle,
        /// `None` when it is the application's.
        own: Option<Runtime>,
    }

    impl Reactor {
        /// The runtime that the caller is in, or a new one.
        ///
        /// One of a single thread is not taken: that thread may be about to wait for the server, and then nobody drives
        /// it.
        pub(in crate::host) fn start(options: &Options) -> Result<Self> {
            if let Ok(handle) = Handle::try_current()
                && handle.runtime_flavor() != RuntimeFlavor::CurrentThread
            {
                return Ok(Self { handle, own: None });
            }
            let runtime = Builder::new_multi_thread()
                .worker_threads(options.tokio_worker_threads)
                .thread_name("peregrine-tokio")
                .on_thread_start(leave_cpu_of_worker)
                .enable_all()
                .build()
                .map_err(|source| StartError::System {
                    attempt: "start tokio's runtime".to_owned(),
                    source,
                })?;
            Ok(Self { handle: runtime.handle().clone(), own: Some(runtime) })
        }

        /// Makes it the calling thread's until the guard goes. Guards go in the reverse order of their coming.
        pub(in crate::host) fn enter(&self) -> EnterGuard<'_> {
            self.handle.enter()
        }

        /// Another hold on it, for another thread. It does not keep it running.
        pub(in crate::host) fn share(&self) -> Self {
            Self { handle: self.handle.clone(), own: None }
        }
    }

    /// Threads for work that blocks are started by whoever asks, which may be a pinned worker.
    fn leave_cpu_of_worker() {
        if let Some(cpus) = cpu::of_process() {
            let _ = cpu::pin(&cpus);
        }
    }

    impl Drop for Reactor {
        fn drop(&mut self) {
            let Some(runtime) = self.own.take() else { return };
            // Inside a runtime nobody may wait.
            if Handle::try_current().is_ok() {
                runtime.shutdown_background();
            } else {
                runtime.shutdown_timeout(END_TIME);
            }
        }
    }
}

#[cfg(not(feature = "tokio"))]
mod without {
    use crate::host::error::Result;
    use crate::host::options::Options;

    /// See the module's text.
    #[derive(Debug)]
    pub(in crate::host) struct Reactor;

    /// What keeps the calling thread inside.
    pub(in crate::host) struct Entered;

    impl Reactor {
        pub(in crate::host) fn start(_: &Options) -> Result<Self> {
            Ok(Self)
        }

        pub(in crate::host) fn enter(&self) -> Entered {
            Entered
        }

        pub(in crate::host) fn share(&self) -> Self {
            Self
        }
    }
}
