//! Files, without a worker ever waiting for a disk.
//!
//! Every operation runs on the pool of [`blocking`](crate::blocking), for now: buffers are handed over and come back, so
//! that io_uring can take the pool's place behind the same functions. Nothing is cached, and no operation depends on
//! the calling thread's being a worker.
//!
//! Dropping a future abandons its operation: one that has not begun by then never does, and one that has begun goes on
//! to its end, a write included.
//!
//! ```
//! use peregrine::prelude::*;
//!
//! async fn motto() -> Result<String> {
//!     Ok(peregrine::fs::read_to_string("/srv/motto.txt").await?)
//! }
//! # let mut app = App::new();
//! # app.get("/motto", motto);
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::blocking;

/// The whole of a file.
///
/// # Errors
/// Those of [`std::fs::read`].
pub async fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let path = path.as_ref().to_owned();
    run(move || fs::read(path)).await
}

/// The whole of a file of text in UTF-8.
///
/// # Errors
/// Those of [`std::fs::read_to_string`]: `InvalidData` when it is no UTF-8.
pub async fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let path = path.as_ref().to_owned();
    run(move || fs::read_to_string(path)).await
}

/// Makes `bytes` the whole of a file, which is made if there is none. It is not written at one stroke: who reads
/// meanwhile, or after a crash, may see a part.
///
/// # Errors
/// Those of [`std::fs::write`].
pub async fn write(path: impl AsRef<Path>, bytes: impl Into<Vec<u8>>) -> io::Result<()> {
    let (path, bytes) = (path.as_ref().to_owned(), bytes.into());
    run(move || fs::write(path, bytes)).await
}

/// What is known of a file or folder: length, kind, times. Symbolic links are followed.
///
/// # Errors
/// Those of [`std::fs::metadata`].
pub async fn metadata(path: impl AsRef<Path>) -> io::Result<fs::Metadata> {
    let path = path.as_ref().to_owned();
    run(move || fs::metadata(path)).await
}

/// An open file. Clones are the same open file, and any thread may use one; it is closed with the last of them, and the
/// last operation on it.
///
/// It has no position: reads and writes say where, and may go on side by side.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// # let path = std::env::temp_dir().join(format!("peregrine-fs-{}", std::process::id()));
/// # let task = async {
/// use peregrine::fs::File;
///
/// let file = File::create(&path).await?;
/// let (written, _) = file.write_at(b"hello, world".to_vec(), 0).await;
/// assert_eq!(written?, 12);
///
/// let (read, buffer) = file.read_at(vec![0; 5], 7).await;
/// assert_eq!(&buffer[..read?], b"world");
/// assert_eq!(file.metadata().await?.len(), 12);
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # };
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(task)
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct File {
    inner: Arc<fs::File>,
}

impl File {
    /// Opens a file to read it.
    ///
    /// # Errors
    /// Those of [`std::fs::File::open`].
    pub async fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        run(move || fs::File::open(path)).await.map(Self::from)
    }

    /// Opens a file to read and write it. It is made if there is none, and emptied if there is one.
    ///
    /// # Errors
    /// Those of [`std::fs::File::create`].
    pub async fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let open = move || fs::File::options().read(true).write(true).create(true).truncate(true).open(path);
        run(open).await.map(Self::from)
    }

    /// Reads from `offset` on, in bytes, over what is in `buffer`: as many bytes as it is long, at most. Returns how many
    /// were read, which may be fewer, and is 0 at the file's end; and the buffer, as long as before.
    ///
    /// # Errors
    /// Those of `pread(2)`; one that a signal has interrupted is begun again. If the operation was lost
    /// ([`JoinError`](crate::JoinError) inside), the buffer is lost with it, and an empty one comes back.
    pub async fn read_at(&self, mut buffer: Vec<u8>, offset: u64) -> (io::Result<usize>, Vec<u8>) {
        let file = Arc::clone(&self.inner);
        with_buffer(move || {
            let read = retry(|| file.read_at(&mut buffer, offset));
            (read, buffer)
        })
        .await
    }

    /// Writes `buffer` from `offset` on, in bytes. Returns how many bytes were written, which may be fewer than there
    /// are; and the buffer.
    ///
    /// # Errors
    /// Those of `pwrite(2)`, as with [`read_at`](Self::read_at).
    pub async fn write_at(&self, buffer: Vec<u8>, offset: u64) -> (io::Result<usize>, Vec<u8>) {
        let file = Arc::clone(&self.inner);
        with_buffer(move || {
            let written = retry(|| file.write_at(&buffer, offset));
            (written, buffer)
        })
        .await
    }

    /// What is known of it: length, kind, times.
    ///
    /// # Errors
    /// Those of [`std::fs::File::metadata`].
    pub async fn metadata(&self) -> io::Result<fs::Metadata> {
        let file = Arc::clone(&self.inner);
        run(move || file.metadata()).await
    }
}

impl From<fs::File> for File {
    fn from(file: fs::File) -> Self {
        Self { inner: Arc::new(file) }
    }
}

async fn run<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    blocking(work).await.unwrap_or_else(|lost| Err(io::Error::other(lost)))
}

async fn with_buffer(
    work: impl FnOnce() -> (io::Result<usize>, Vec<u8>) + Send + 'static,
) -> (io::Result<usize>, Vec<u8>) {
    blocking(work).await.unwrap_or_else(|lost| (Err(io::Error::other(lost)), Vec::new()))
}

fn retry(mut operation: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::JoinError;
    use super::super::testing::{block_on, run_on_worker};
    use super::*;

    /// A path of its own, removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("peregrine-fs-{}-{name}", std::process::id())))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn whole_files_are_written_and_read() {
        let scratch = Scratch::new("whole");
        let path = scratch.0.clone();
        run_on_worker(async move {
            write(&path, "first, and longer").await?;
            write(&path, "grüße").await?;
            assert_eq!(read(&path).await?, "grüße".as_bytes());
            assert_eq!(read_to_string(&path).await?, "grüße");
            assert_eq!(metadata(&path).await?.len(), 7);
            write(&path, [0xFF]).await?;
            assert_eq!(
                read_to_string(&path).await.map_err(|error| error.kind()),
                Err(io::ErrorKind::InvalidData)
            );
            io::Result::Ok(())
        })
        .expect("a folder for files");
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let path = Scratch::new("nothing").0.join("inside");
        let kinds = [
            block_on(read(&path)).map(drop),
            block_on(read_to_string(&path)).map(drop),
            block_on(write(&path, "")),
            block_on(metadata(&path)).map(drop),
            block_on(File::open(&path)).map(drop),
            block_on(File::create(&path)).map(drop),
        ]
        .map(|result| result.map_err(|error| error.kind()));
        assert_eq!(kinds, [Err(io::ErrorKind::NotFound); 6]);
    }

    #[test]
    fn files_are_read_and_written_anywhere() {
        let scratch = Scratch::new("anywhere");
        let path = scratch.0.clone();
        run_on_worker(async move {
            write(&path, "what was there").await?;
            let file = File::create(&path).await?;
            assert_eq!(file.metadata().await?.len(), 0, "it is emptied");
            let (written, buffer) = file.write_at(b"peregrine".to_vec(), 3).await;
            assert_eq!((written?, buffer.as_slice()), (9, &b"peregrine"[..]));
            let (read, buffer) = file.read_at(vec![b'.'; 6], 0).await;
            assert_eq!((read?, buffer.as_slice()), (6, &b"\0\0\0per"[..]));
            let again = File::open(&path).await?;
            let (read, buffer) = again.clone().read_at(vec![b'.'; 6], 8).await;
            assert_eq!((read?, buffer.as_slice()), (4, &b"rine.."[..]), "what is over stays as it was");
            let (read, buffer) = again.read_at(vec![1; 2], 99).await;
            assert_eq!((read?, buffer.as_slice()), (0, &[1, 1][..]), "the end");
            let (written, buffer) = again.write_at(vec![7], 0).await;
            assert!(written.is_err() && buffer == [7], "it is open for reading");
            io::Result::Ok(())
        })
        .expect("a folder for files");
    }

    #[test]
    fn what_a_signal_interrupts_is_begun_again() {
        let mut answers = [Err(io::ErrorKind::Interrupted.into()), Ok(3)].into_iter();
        assert_eq!(retry(|| answers.next().expect("two")).ok(), Some(3));
        assert!(retry(|| Err(io::ErrorKind::StorageFull.into())).is_err());
    }

    #[test]
    fn a_lost_operation_is_an_error() {
        let lost = block_on(run(|| -> io::Result<()> { panic!("an operation on a file") }));
        assert!(lost.is_err_and(|error| error.downcast::<JoinError>().is_ok()));
        let (lost, buffer) = block_on(with_buffer(|| panic!("an operation with a buffer")));
        assert!(lost.is_err() && buffer.is_empty());
    }
}
