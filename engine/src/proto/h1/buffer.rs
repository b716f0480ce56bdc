//! The bytes of a response while it is being written: in the block that will be sent, or on the heap if they do not
//! fit.
//!
//! Owns where they are and how they are moved when something before them changes. It must not know what they mean.

/// The response's bytes so far: in the rest of the block, or on the heap once they no longer fit.
pub(super) struct Buffer<'a> {
    /// Empty after the spill, so that one comparison guards the common path.
    pub(super) block: &'a mut [u8],
    pub(super) len: usize,
    pub(super) spilled: Option<Vec<u8>>,
}

impl<'a> Buffer<'a> {
    pub(super) fn new(block: &'a mut [u8]) -> Self {
        Self { block, len: 0, spilled: None }
    }

    /// Goes on with `len` bytes that are in the block, or in `spilled`.
    pub(super) fn resume(&mut self, len: usize, spilled: Option<Vec<u8>>) {
        self.len = len;
        if spilled.is_some() {
            self.block = &mut [];
        }
        self.spilled = spilled;
    }

    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        match self.block.get_mut(self.len..end) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len = end;
            }
            None => self.push_spilled(bytes),
        }
    }

    #[cold]
    #[inline(never)]
    fn push_spilled(&mut self, bytes: &[u8]) {
        let heap = self.spilled.get_or_insert_with(|| {
            let block = std::mem::take(&mut self.block);
            let mut heap = Vec::with_capacity((self.len + bytes.len()) * 2);
            heap.extend_from_slice(&block[..self.len]);
            heap
        });
        heap.extend_from_slice(bytes);
        self.len = heap.len();
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.spilled {
            Some(heap) => heap,
            None => &mut self.block[..self.len],
        }
    }

    pub(super) fn truncate(&mut self, len: usize) {
        debug_assert!(len <= self.len);
        self.len = len;
        if let Some(heap) = &mut self.spilled {
            heap.truncate(len);
        }
    }

    /// Replaces `old` bytes at `at`.
    pub(super) fn replace(&mut self, at: usize, old: usize, new: &[u8]) {
        let end = self.len;
        if new.len() > old {
            // Room at the end, by bytes that are about to be moved over.
            let growth = new.len() - old;
            for _ in 0..growth {
                self.push(b" ");
            }
            self.bytes_mut().copy_within(at + old..end, at + new.len());
        } else if new.len() < old {
            self.bytes_mut().copy_within(at + old..end, at + new.len());
            self.truncate(end - (old - new.len()));
        }
        self.bytes_mut()[at..at + new.len()].copy_from_slice(new);
    }
}
