//! The record layer of a connection whose handshake is over: what is received is decrypted where it lies, what is
//! sent is encrypted into the memory that is sent (RFC 8446 section 5, RFC 5246 section 6).
//!
//! Owns the keys in use, their nonces, and the form of records. It must not know where bytes come from, nor what
//! handshake messages mean beyond their record's type.

use std::ops::Range;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::ConnectionTrafficSecrets;

/// Type, version and length.
pub(super) const HEADER_BYTES: usize = 5;

/// The most plaintext of one record (RFC 8446 section 5.1).
pub(super) const PLAIN_MAX: usize = 16 * 1024;

/// The most bytes behind a header (RFC 8446 section 5.2). TLS 1.2 would allow 2048 bytes of expansion instead of 256;
/// its ciphers here have 24.
const CIPHER_MAX: usize = PLAIN_MAX + 256;

/// The most bytes of a record with its header.
pub(super) const RECORD_MAX: usize = HEADER_BYTES + CIPHER_MAX;

/// What a record takes beyond its plaintext, at most: header, explicit nonce or inner type, tag.
pub(super) const OVERHEAD_MAX: usize = HEADER_BYTES + 8 + TAG_BYTES;

const TAG_BYTES: usize = 16;

/// The part of a nonce that each record of AES-GCM carries in TLS 1.2 (RFC 5288 section 3).
const EXPLICIT_BYTES: usize = 8;

/// The version in all records: TLS 1.2, whatever was agreed upon.
const VERSION: [u8; 2] = [3, 3];

/// So many records may be encrypted with one key of AES-GCM (RFC 8446 section 5.5: 2^24.5), less some thousands for
/// what still goes out before a new key is in use. ChaCha20-Poly1305 has no such limit.
const GCM_RECORDS_MAX: u64 = (1 << 24) - (1 << 12);

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    ChangeCipherSpec,
    Alert,
    Handshake,
    Data,
}

impl Content {
    fn code(self) -> u8 {
        match self {
            Self::ChangeCipherSpec => 20,
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::Data => 23,
        }
    }

    fn of(code: u8) -> Option<Self> {
        Some(match code {
            20 => Self::ChangeCipherSpec,
            21 => Self::Alert,
            22 => Self::Handshake,
            23 => Self::Data,
            _ => return None,
        })
    }
}

/// A fatal alert's description (RFC 8446 section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Alert {
    CloseNotify = 0,
    UnexpectedMessage = 10,
    BadRecordMac = 20,
    RecordOverflow = 22,
    IllegalParameter = 47,
    DecodeError = 50,
    InternalError = 80,
    NoRenegotiation = 100,
    UnrecognizedName = 112,
}

/// How many bytes the record at the front of `bytes` has with its header; `None` if its header is not all there.
///
/// # Errors
/// It is none, or larger than records may be.
pub(super) fn record_bytes(bytes: &[u8]) -> Result<Option<usize>, Alert> {
    let Some(&[code, _, _, high, low]) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    if Content::of(code).is_none() {
        return Err(Alert::UnexpectedMessage);
    }
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len > CIPHER_MAX { Err(Alert::RecordOverflow) } else { Ok(Some(HEADER_BYTES + len)) }
}

/// The keys of both directions.
pub(super) struct Records {
    is_tls13: bool,
    incoming: Half,
    outgoing: Half,
}

/// The key of one direction, and which record is its next.
struct Half {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
    /// AES-GCM of TLS 1.2 sends a part of each nonce.
    explicit: bool,
    is_gcm: bool,
}

impl Half {
    fn new(is_tls13: bool, (sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Option<Self> {
        let (algorithm, key, iv): (&'static Algorithm, _, _) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return None,
        };
        let is_gcm = !matches!(secrets, ConnectionTrafficSecrets::Chacha20Poly1305 { .. });
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).ok()?);
        let iv = iv.as_ref().try_into().ok()?;
        Some(Self { key, iv, sequence, explicit: is_gcm && !is_tls13, is_gcm })
    }

    /// The nonce of the record with this number (RFC 8446 section 5.3).
    fn nonce(&self) -> [u8; 12] {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    /// What is authenticated beside the content in TLS 1.2 (RFC 5246 section 6.2.3.3).
    fn additional(&self, code: u8, plain_bytes: usize) -> [u8; 13] {
        let mut additional = [0; 13];
        additional[..8].copy_from_slice(&self.sequence.to_be_bytes());
        additional[8] = code;
        additional[9..11].copy_from_slice(&VERSION);
        additional[11..].copy_from_slice(&(plain_bytes as u16).to_be_bytes());
        additional
    }
}

impl Records {
    /// The layer with the keys that a handshake has agreed upon; `None` if they are of a cipher that it does not have.
    pub(super) fn new(
        is_tls13: bool,
        incoming: (u64, ConnectionTrafficSecrets),
        outgoing: (u64, ConnectionTrafficSecrets),
    ) -> Option<Self> {
        let (incoming, outgoing) = (Half::new(is_tls13, incoming)?, Half::new(is_tls13, outgoing)?);
        Some(Self { is_tls13, incoming, outgoing })
    }

    pub(super) fn is_tls13(&self) -> bool {
        self.is_tls13
    }

    /// Takes the key for what is received from now on.
    pub(super) fn renew_incoming(&mut self, secrets: (u64, ConnectionTrafficSecrets)) -> Option<()> {
        self.incoming = Half::new(self.is_tls13, secrets)?;
        Some(())
    }

    /// Takes the key for what is sent from now on.
    pub(super) fn renew_outgoing(&mut self, secrets: (u64, ConnectionTrafficSecrets)) -> Option<()> {
        self.outgoing = Half::new(self.is_tls13, secrets)?;
        Some(())
    }

    /// Whether the key for what is sent has been used for as many records as it may. TLS 1.2 knows no such limit and no new
    /// key: there the numbers of records are.
    pub(super) fn is_worn(&self) -> bool {
        self.is_tls13 && self.outgoing.is_gcm && self.outgoing.sequence >= GCM_RECORDS_MAX
    }

    /// Decrypts one whole record in place, and says what it holds and where.
    ///
    /// # Errors
    /// The alert to end the connection with.
    pub(super) fn open(&mut self, record: &mut [u8]) -> Result<(Content, Range<usize>), Alert> {
        let Some((header, body)) = record.split_at_mut_checked(HEADER_BYTES) else {
            return Err(Alert::DecodeError);
        };
        let code = header[0];
        let half = &mut self.incoming;
        if half.sequence == u64::MAX {
            return Err(Alert::InternalError);
        }
        let nonce = half.nonce();
        let opened = if self.is_tls13 {
            // Whatever a record holds, it says outside that it is data.
            if code != Content::Data.code() {
                return Err(Alert::UnexpectedMessage);
            }
            let aad = Aad::from(<[u8; HEADER_BYTES]>::try_from(&*header).map_err(|_| Alert::DecodeError)?);
            let plain = half.key.open_in_place(Nonce::assume_unique_for_key(nonce), aad, body);
            let plain = plain.map_err(|_| Alert::BadRecordMac)?;
            if plain.len() > PLAIN_MAX + 1 {
                return Err(Alert::RecordOverflow);
            }
            // Behind the content come its type and as many zeros as the peer likes (RFC 8446 section 5.4).
            let last = plain.iter().rposition(|&byte| byte != 0).ok_or(Alert::UnexpectedMessage)?;
            let content = Content::of(plain[last]).ok_or(Alert::UnexpectedMessage)?;
            if content == Content::ChangeCipherSpec {
                return Err(Alert::UnexpectedMessage);
            }
            (content, HEADER_BYTES..HEADER_BYTES + last)
        } else {
            let content = Content::of(code).ok_or(Alert::UnexpectedMessage)?;
            let explicit = if half.explicit { EXPLICIT_BYTES } else { 0 };
            let plain_bytes = body.len().checked_sub(explicit + TAG_BYTES).ok_or(Alert::BadRecordMac)?;
            if plain_bytes > PLAIN_MAX {
                return Err(Alert::RecordOverflow);
            }
            let (sent, sealed) = body.split_at_mut(explicit);
            let mut nonce = nonce;
            if half.explicit {
                nonce[4..].copy_from_slice(sent);
            }
            let aad = Aad::from(half.additional(code, plain_bytes));
            let opened = half.key.open_in_place(Nonce::assume_unique_for_key(nonce), aad, sealed);
            opened.map_err(|_| Alert::BadRecordMac)?;
            let start = HEADER_BYTES + explicit;
            (content, start..start + plain_bytes)
        };
        if opened.1.len() > PLAIN_MAX {
            return Err(Alert::RecordOverflow);
        }
        half.sequence += 1;
        Ok(opened)
    }

    /// Encrypts `plain`, [`PLAIN_MAX`] bytes at most, into one record at the front of `out`, which has room for it and
    /// [`OVERHEAD_MAX`] more. Returns the record's length.
    ///
    /// # Errors
    /// The cipher refuses; nothing may be sent any more.
    pub(super) fn seal(&mut self, content: Content, plain: &[u8], out: &mut [u8]) -> Result<usize, Alert> {
        self.seal_pieces(content, [plain, &[]], out)
    }

    /// The same with content that lies in two pieces, which are brought together first if there are two.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub(super) fn seal_pieces(
        &mut self,
        content: Content,
        [first, second]: [&[u8]; 2],
        out: &mut [u8],
    ) -> Result<usize, Alert> {
        let body = HEADER_BYTES + if self.outgoing.explicit { EXPLICIT_BYTES } else { 0 };
        let inner_type = [content.code()];
        let inner: &[u8] = if self.is_tls13 { &inner_type } else { &[] };
        let plain_bytes = first.len() + second.len();
        let len = body + plain_bytes + inner.len() + TAG_BYTES;
        let out = out.get_mut(..len).ok_or(Alert::InternalError)?;
        let (nonce, additional) = self.begin(content, plain_bytes, out)?;
        let aad = Aad::from(additional.bytes());
        let (sealed, tag) = out[body..].split_at_mut(plain_bytes);
        let half = &mut self.outgoing;
        let done = if first.is_empty() || second.is_empty() {
            let plain = if first.is_empty() { second } else { first };
            half.key.seal_out_of_place_scatter(nonce, aad, plain, sealed, inner, tag)
        } else {
            sealed[..first.len()].copy_from_slice(first);
            sealed[first.len()..].copy_from_slice(second);
            half.key.seal_in_place_scatter(nonce, aad, sealed, inner, tag)
        };
        done.map_err(|_| Alert::InternalError)?;
        half.sequence += 1;
        Ok(len)
    }

    /// Writes what comes before the ciphertext, and returns what the cipher takes beside it.
    fn begin(
        &self,
        content: Content,
        plain_bytes: usize,
        out: &mut [u8],
    ) -> Result<(Nonce, Additional), Alert> {
        let half = &self.outgoing;
        if plain_bytes > PLAIN_MAX || half.sequence == u64::MAX {
            return Err(Alert::InternalError);
        }
        let nonce = half.nonce();
        let code = if self.is_tls13 { Content::Data.code() } else { content.code() };
        let [high, low] = ((out.len() - HEADER_BYTES) as u16).to_be_bytes();
        let header = [code, VERSION[0], VERSION[1], high, low];
        out[..HEADER_BYTES].copy_from_slice(&header);
        if half.explicit {
            out[HEADER_BYTES..HEADER_BYTES + EXPLICIT_BYTES].copy_from_slice(&nonce[4..]);
        }
        let additional = if self.is_tls13 {
            Additional::Header(header)
        } else {
            Additional::Numbered(half.additional(code, plain_bytes))
        };
        Ok((Nonce::assume_unique_for_key(nonce), additional))
    }
}

#[cfg(any(test, fuzzing))]
impl Records {
    /// A record that the peer could send behind so many others, if it sent anything that comes to mind.
    pub(super) fn forge(&mut self, behind: u64, code: u8, plain: &[u8], padding: usize) -> Vec<u8> {
        self.incoming.sequence += behind;
        let record = self.forge_next(code, plain, padding);
        self.incoming.sequence -= behind;
        record
    }

    fn forge_next(&self, code: u8, plain: &[u8], padding: usize) -> Vec<u8> {
        let half = &self.incoming;
        let nonce = half.nonce();
        let mut sealed = plain.to_vec();
        let mut start = Vec::new();
        if self.is_tls13 {
            sealed.push(code);
            sealed.resize(sealed.len() + padding, 0);
        } else if half.explicit {
            start.extend_from_slice(&nonce[4..]);
        }
        let outer = if self.is_tls13 { 23 } else { code };
        let len = (start.len() + sealed.len() + TAG_BYTES) as u16;
        let header = [outer, 3, 3, len.to_be_bytes()[0], len.to_be_bytes()[1]];
        let nonce = Nonce::assume_unique_for_key(nonce);
        if self.is_tls13 {
            half.key.seal_in_place_append_tag(nonce, Aad::from(header), &mut sealed).unwrap();
        } else {
            let aad = Aad::from(half.additional(code, plain.len()));
            half.key.seal_in_place_append_tag(nonce, aad, &mut sealed).unwrap();
        }
        [&header[..], &start, &sealed].concat()
    }
}

/// What is authenticated beside the content, by version.
enum Additional {
    Header([u8; HEADER_BYTES]),
    Numbered([u8; 13]),
}

impl Additional {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Header(bytes) => bytes,
            Self::Numbered(bytes) => bytes,
        }
    }
}
