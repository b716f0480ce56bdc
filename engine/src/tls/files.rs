//! Files as they were at one look: their bytes for loading, and what tells later whether they are others by now.
//!
//! It must not know what is in them.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};

/// More than this is no certificate and no list of revoked ones.
const MAX_LEN: u64 = 64 << 20;

/// A file that was written a shorter time before it was read may have been written again since with the same times:
/// clocks of file systems are coarse. In seconds.
const RACY: i64 = 2;

/// The bytes of some files, all read at one look.
pub(super) struct Contents {
    files: BTreeMap<PathBuf, io::Result<Vec<u8>>>,
    seen: Seen,
}

/// What is kept of [`Contents`]: no secrets.
#[derive(Clone)]
pub(super) struct Seen {
    stamps: BTreeMap<PathBuf, Option<Stamp>>,
    digests: Digests,
    is_settled: bool,
}

/// The SHA-256 of each file, or why it could not be read.
pub(super) type Digests = BTreeMap<PathBuf, Result<[u8; 32], io::ErrorKind>>;

/// What changes when a file is written, or when another takes its place.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Contents {
    /// Reads them all. What fails is told by [`get`](Self::get).
    pub(super) fn read<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let now = unix_now();
        let mut files = BTreeMap::new();
        let mut seen = Seen { stamps: BTreeMap::new(), digests: BTreeMap::new(), is_settled: true };
        for path in paths {
            if files.contains_key(path) {
                continue;
            }
            let mut stamp = None;
            let bytes = read(path, &mut stamp);
            seen.is_settled &= stamp.is_none_or(|stamp| (now - stamp.changed.0).abs() > RACY);
            let sum = match &bytes {
                Ok(bytes) => Ok(sha256(bytes)),
                Err(error) => Err(error.kind()),
            };
            seen.stamps.insert(path.to_path_buf(), stamp);
            seen.digests.insert(path.to_path_buf(), sum);
            files.insert(path.to_path_buf(), bytes);
        }
        Self { files, seen }
    }

    /// The bytes of one of them. A path that was not asked for is as one that does not exist.
    pub(super) fn get(&self, path: &Path) -> io::Result<&[u8]> {
        match self.files.get(path) {
            Some(Ok(bytes)) => Ok(bytes),
            // Errors cannot be cloned; the code of the system tells all that is in most of them.
            Some(Err(error)) => Err(match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(error.kind(), error.to_string()),
            }),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }
}

impl Seen {
    pub(super) fn digests(&self) -> &Digests {
        &self.digests
    }

    /// Whether the files are surely as they were, so that they need not be read again. Costs one `stat` for each.
    pub(super) fn is_current(&self) -> bool {
        self.is_settled
            && self.stamps.iter().all(|(path, stamp)| {
                let now = fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata));
                now == *stamp
            })
    }
}

/// Reads a file, with the stamp of that file which is read, be the path a link to another one by then.
fn read(path: &Path, stamp: &mut Option<Stamp>) -> io::Result<Vec<u8>> {
    // Before it is opened: to open a pipe waits for who writes to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let file = File::open(path)?;
    *stamp = Some(Stamp::of(&file.metadata()?));
    let mut bytes = Vec::new();
    file.take(MAX_LEN + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LEN {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 64 MiB"));
    }
    Ok(bytes)
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sum
}

/// Seconds since 1970, as certificates count.
pub(super) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(since).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::fixtures::Folder;

    #[test]
    fn a_file_that_cannot_be_read_says_why() {
        let folder = Folder::new();
        let (there, missing) = (folder.write("there", b"bytes"), folder.path("missing"));
        let contents = Contents::read([there.as_path(), &missing, folder.root(), &there]);
        assert_eq!(contents.get(&there).unwrap(), b"bytes");
        assert_eq!(contents.get(&missing).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(contents.get(folder.root()).unwrap_err().to_string(), "it is not a regular file");
        assert_eq!(contents.get(&folder.path("never")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(contents.seen().digests().len(), 3);
    }

    #[test]
    fn files_just_written_are_looked_at_again() {
        let folder = Folder::new();
        let path = folder.write("file", b"one");
        let mut seen = Contents::read([path.as_path()]).seen().clone();
        assert!(!seen.is_current(), "it may be written again within the same tick");
        seen.is_settled = true;
        assert!(seen.is_current());
        fs::write(&path, b"longer").unwrap();
        assert!(!seen.is_current());
    }
}
