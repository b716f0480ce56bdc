//! Which bytes belong to which class of the grammar, as one table, and the nibble tables made from it.
//!
//! It knows single bytes; where a class may stand is the business of the parsers.

/// `tchar`, RFC 9110 5.6.2.
const TOKEN: u8 = 1;
/// A byte of a request target, see [`is_target`].
const TARGET: u8 = 2;
/// A byte of a field value: VCHAR, obs-text, SP, HTAB, RFC 9110 5.5.
const VALUE: u8 = 4;
/// `unreserved` or `sub-delims` but the comma, RFC 3986 2.2 and 2.3: what a registered name is made of.
const HOST: u8 = 8;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let mut class = 0;
        if b.is_ascii_alphanumeric() || one_of(b, b"!#$%&'*+-.^_`|~") {
            class |= TOKEN;
        }
        if b > b' ' && b < 0x7f && !one_of(b, b"#\"<>") {
            class |= TARGET;
        }
        if b == b'\t' || (b >= b' ' && b != 0x7f) {
            class |= VALUE;
        }
        if b.is_ascii_alphanumeric() || one_of(b, b"-._~!$&'()*+;=") {
            class |= HOST;
        }
        classes[byte] = class;
        byte += 1;
    }
    classes
};

const fn one_of(byte: u8, set: &[u8]) -> bool {
    let mut i = 0;
    while i < set.len() {
        if set[i] == byte {
            return true;
        }
        i += 1;
    }
    false
}

/// Whether `byte` may be part of a token.
#[inline(always)]
pub(crate) const fn is_token(byte: u8) -> bool {
    CLASSES[byte as usize] & TOKEN != 0
}

/// Whether `byte` may be part of a request target.
///
/// RFC 3986 allows fewer: browsers leave ``[ ] \ ^ ` { | }`` as they are in queries (the URL standard
/// escapes only ``" # < >`` there), so these pass. `#` starts a fragment, which is never sent, and what
/// follows it is read differently by different recipients; `"`, `<` and `>` are always escaped by a
/// browser, and are the ones that break out of quotes and markup when a target is echoed.
#[inline(always)]
pub(crate) const fn is_target(byte: u8) -> bool {
    CLASSES[byte as usize] & TARGET != 0
}

/// Whether `byte` may be part of a field value.
#[inline(always)]
pub(crate) const fn is_value(byte: u8) -> bool {
    CLASSES[byte as usize] & VALUE != 0
}

/// Whether `byte` may stand unescaped in a registered name.
#[inline(always)]
pub(crate) const fn is_reg_name(byte: u8) -> bool {
    CLASSES[byte as usize] & HOST != 0
}

/// OWS, RFC 9110 5.6.3.
#[inline(always)]
pub(crate) const fn is_ows(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Bit `h` of entry `l` says whether the byte `h << 4 | l` is in the class: two shuffles and an AND then
/// classify a vector. Bytes from 0x80 on are in neither class.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const fn nibbles(token: bool) -> [u8; 16] {
    let mut table = [0; 16];
    let mut byte = 0u8;
    while byte < 0x80 {
        if (token && is_token(byte)) || (!token && is_target(byte)) {
            table[(byte & 15) as usize] |= 1 << (byte >> 4);
        }
        byte += 1;
    }
    table
}

/// Low-nibble table of [`is_token`].
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) const TOKEN_NIBBLES: [u8; 16] = nibbles(true);
/// Low-nibble table of [`is_target`].
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) const TARGET_NIBBLES: [u8; 16] = nibbles(false);
/// High-nibble table for both: the bit that stands for the high nibble.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) const HIGH_NIBBLES: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 0, 0, 0, 0, 0, 0, 0, 0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9110_5_6_2_token_bytes() {
        let count = (0..=255).filter(|&byte| is_token(byte)).count();
        assert_eq!(count, 26 * 2 + 10 + 15);
        for byte in *b"\0\t \"(),/:;<=>?@[\\]{}\x7f\x80\xff" {
            assert!(!is_token(byte), "{byte:#x}");
        }
    }

    #[test]
    fn rfc3986_target_bytes_are_visible_ascii_without_four() {
        for byte in 0..=255u8 {
            let expected = (0x21..=0x7e).contains(&byte) && !b"#\"<>".contains(&byte);
            assert_eq!(is_target(byte), expected, "{byte:#x}");
        }
    }

    #[test]
    fn rfc9110_5_5_value_bytes() {
        for byte in 0..=255u8 {
            let expected = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
            assert_eq!(is_value(byte), expected, "{byte:#x}");
        }
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[test]
    fn nibble_tables_agree_with_the_classes() {
        for byte in 0..=255u8 {
            let of = |table: &[u8; 16]| {
                byte < 0x80 && table[usize::from(byte & 15)] & HIGH_NIBBLES[usize::from(byte >> 4)] != 0
            };
            assert_eq!(of(&TOKEN_NIBBLES), is_token(byte));
            assert_eq!(of(&TARGET_NIBBLES), is_target(byte));
        }
    }
}
