//! A thread that looks at the files of all endpoints every second, beside the workers: loading takes time.
//!
//! It must not know what is in them, nor where its lines go.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::context::Context;
use super::files::unix_now;

/// Where a line for the log goes.
pub(crate) type Sink = Box<dyn Fn(&str) + Send>;

/// The thread. It ends when this is dropped.
pub(crate) struct Watch {
    /// To drop it is the signal.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Looks at the files of some contexts every second, the first time after one. Says what has changed and what to
    /// warn of.
    ///
    /// # Errors
    /// The system makes no more threads.
    pub(crate) fn start(contexts: Vec<Arc<Context>>, sink: Sink) -> io::Result<Self> {
        Self::every(Duration::from_secs(1), contexts, sink)
    }

    fn every(period: Duration, contexts: Vec<Arc<Context>>, sink: Sink) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("tls-files".to_owned())
            .spawn(move || watch(period, &stopped, &contexts, &sink))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

fn watch(period: Duration, stopped: &Receiver<()>, contexts: &[Arc<Context>], sink: &Sink) {
    while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
        for context in contexts {
            for change in context.refresh() {
                sink(&change.to_string());
            }
            for line in context.warnings(unix_now()) {
                sink(&line);
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // What panicked there has said so.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::tls::TlsOptions;
    use crate::tls::fixtures::{self, Folder};

    #[test]
    fn it_says_what_changes_until_it_is_dropped() {
        let folder = Folder::new();
        let options = TlsOptions {
            certificate: Some(folder.pair("a", &fixtures::pair("one"))),
            ..TlsOptions::default()
        };
        let context = Context::new(&options, &[b"http/1.1"]).unwrap();
        let (lines, said) = channel();
        let sink = Box::new(move |line: &str| lines.send(line.to_owned()).unwrap());
        let watch = Watch::every(Duration::from_millis(1), vec![Arc::clone(&context)], sink).unwrap();
        folder.pair("a", &fixtures::pair("two"));
        // Between the two files it may have seen a key that fits no certificate.
        let line = said.iter().find(|line| line.starts_with("Certificate CN=two ")).unwrap();
        assert!(line.contains(" replaces CN=one "), "{line}");
        drop(watch);
        assert_eq!(said.iter().count(), 0, "its sink is gone, and it with that");
        assert_eq!(Arc::strong_count(&context), 1);
    }

    #[test]
    fn a_long_period_does_not_keep_it() {
        drop(Watch::start(Vec::new(), Box::new(|_| {})).unwrap());
        // This test would not end.
        drop(Watch::every(Duration::MAX, Vec::new(), Box::new(|_| {})).unwrap());
    }
}
