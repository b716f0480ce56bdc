//! Every reason to refuse a head, one name each.
//!
//! It must not know statuses: the engine maps a reason to an answer.

macro_rules! head_errors {
    ($($(#[doc = $doc:literal])+ $name:ident => $text:literal,)+) => {
        /// Why a head was refused. One byte, no text, no allocation.
        #[repr(u8)]
        #[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum HeadError {
            $($(#[doc = $doc])+ $name,)+
        }

        impl HeadError {
            /// One sentence for a log, without what the peer sent.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

head_errors! {
    /// The first byte is that of a TLS record: a TLS client on a plaintext port.
    TlsHandshake => "TLS handshake on a plaintext endpoint",
    /// `PRI * HTTP/2.0`, RFC 9113 3.4.
    Http2Preface => "HTTP/2 connection preface",
    /// More than the one empty line that RFC 9112 2.2 lets precede a request.
    ExtraEmptyLine => "more than one empty line before the request line",
    /// CR without LF, RFC 9112 2.2.
    BareCr => "CR not followed by LF",
    /// LF without CR. RFC 9112 2.2 would let it end a line; two hops may then disagree about what a line is.
    BareLf => "LF not preceded by CR",

    /// The method is not a token, RFC 9110 9.1.
    InvalidMethod => "invalid method",
    /// A byte that no target may hold, or a target of no known form, RFC 9112 3.2.
    InvalidTarget => "invalid request target",
    /// More than one space between the parts of the request line, RFC 9112 3.
    ExtraWhitespace => "more than one space between parts of the request line",
    /// The request line ends after the target, as in HTTP/0.9.
    MissingVersion => "request line without a version",
    /// Not `HTTP/` digit `.` digit, RFC 9112 2.3.
    InvalidVersion => "invalid HTTP version",
    /// A well-formed version that is neither 1.0 nor 1.1.
    UnsupportedVersion => "unsupported HTTP version",
    /// Longer than [`HeadLimits::max_request_line_bytes`](crate::HeadLimits).
    RequestLineTooLong => "request line too long",

    /// Longer than [`HeadLimits::max_fields_bytes`](crate::HeadLimits).
    FieldsTooLarge => "field section too large",
    /// More fields than the table given to the parser has room for.
    TooManyFields => "too many fields",
    /// A line that starts with its colon, RFC 9112 5.
    EmptyFieldName => "empty field name",
    /// RFC 9112 5.1.
    WhitespaceBeforeColon => "whitespace between field name and colon",
    /// Whitespace before the first field, RFC 9112 2.2.
    LeadingWhitespace => "whitespace before the first field",
    /// The field name is not a token, RFC 9110 5.1.
    InvalidFieldName => "invalid character in a field name",
    /// NUL, another control character or DEL in a value, RFC 9110 5.5.
    InvalidFieldValue => "invalid character in a field value",
    /// A continued line, RFC 9112 5.2.
    ObsFold => "obsolete line folding",
    /// A field line that ends without a colon.
    MissingColon => "field line without a colon",

    /// Asterisk-form with another method than OPTIONS, RFC 9112 3.2.4.
    OptionsMethodRequired => "the asterisk target needs the method OPTIONS",
    /// Authority-form with another method than CONNECT, RFC 9112 3.2.3.
    ConnectMethodRequired => "an authority target needs the method CONNECT",
    /// Absolute-form with a scheme that is neither http nor https.
    UnsupportedScheme => "unsupported scheme in the request target",
    /// `user@host` in a target, RFC 9110 4.2.4.
    UserinfoInTarget => "user information in the request target",
    /// The authority of the target is not host and port.
    InvalidAuthority => "invalid authority in the request target",
    /// `%` without two hexadecimal digits, RFC 3986 2.1.
    InvalidPercentEncoding => "invalid percent-encoding",
    /// `%00` in a path.
    EncodedNul => "encoded NUL in the path",
    /// The buffer given for decoded bytes is shorter than the encoded ones. The caller's fault, not the peer's.
    OutputTooSmall => "output buffer too small",

    /// HTTP/1.1 without Host, RFC 9112 3.2.
    MissingHost => "missing Host",
    /// More than one Host, even if equal.
    MultipleHosts => "more than one Host",
    /// Empty, or not host and optional port, RFC 9110 7.2.
    InvalidHost => "invalid Host",
    /// Host names another authority than the target.
    HostMismatch => "Host differs from the authority of the target",

    /// Not digits alone, or with leading zeros that some recipients read as octal, RFC 9110 8.6.
    InvalidContentLength => "invalid Content-Length",
    /// Does not fit 64 bits.
    ContentLengthOverflow => "Content-Length too large to represent",
    /// Repeated or listed, even if equal.
    MultipleContentLengths => "more than one Content-Length",
    /// Both framings at once, RFC 9112 6.1: an attempt to smuggle, or as good as one.
    ContentLengthWithTransferEncoding => "Content-Length together with Transfer-Encoding",
    /// Transfer-Encoding in an HTTP/1.0 message, RFC 9112 6.1.
    TransferEncodingOnHttp10 => "Transfer-Encoding in an HTTP/1.0 request",
    /// A coding before the final `chunked` that is not implemented; RFC 9112 6.1 suggests status 501.
    UnknownTransferCoding => "transfer coding not implemented",
    /// The final coding is not `chunked`, RFC 9112 6.3: the length of the body cannot be known.
    ChunkedNotFinal => "final transfer coding is not chunked",
    /// `chunked` applied twice, RFC 9112 6.1.
    RepeatedChunked => "chunked applied more than once",
    /// Not a list of codings: empty elements, parameters on `chunked`, other bytes.
    InvalidTransferEncoding => "invalid Transfer-Encoding",
    /// Connection is not a list of tokens, RFC 9110 7.6.1.
    InvalidConnection => "invalid Connection",
}

impl core::fmt::Display for HeadError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.describe())
    }
}

impl core::error::Error for HeadError {}

const _: () = assert!(size_of::<Result<crate::Status<()>, HeadError>>() <= 2);
