//! What goes wrong in a handler, as the client and the log are told.
//!
//! Owns the error that handlers return and its form on the wire, problem details (RFC 9457). It must not know
//! handlers or routes.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io::Write;

use super::{Respond, Response};
use crate::conn::ExchangeError;
use crate::runtime::Elapsed;

/// The error of a handler: a status, and why.
///
/// Every error of the standard form becomes one by `?`, with status 500; [`Elapsed`] becomes 504. Others are made with
/// [`Error::new`]. The client is told by problem details in JSON (RFC 9457): the status and its title, and what
/// [`with_detail`](Self::with_detail) says. Causes are told to the client only in the environment `Development`; of
/// those of a 5xx the log is told.
///
/// ```
/// use peregrine::prelude::*;
///
/// async fn user(Path(id): Path<u64>) -> Result<String> {
///     if id == 0 {
///         return Err(Error::new(404).with_detail("nobody has the number 0"));
///     }
///     let name = String::from_utf8(vec![0xFF])?; // 500
///     Ok(name)
/// }
/// # let mut app = App::new();
/// # app.get("/{id}", user);
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    status: u16,
    detail: Option<Cow<'static, str>>,
    cause: Option<Cause>,
}

/// Why, for the author.
enum Cause {
    Text(String),
    Error(Box<dyn StdError + Send + Sync>),
}

impl Error {
    /// An error that answers with `status`, from 400 to 599; any other becomes 500.
    #[must_use]
    pub fn new(status: u16) -> Self {
        let status = if (400..=599).contains(&status) { status } else { 500 };
        Self(Box::new(Inner { status, detail: None, cause: None }))
    }

    /// Says more, to the client in every environment.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Says why, for the author: the client is told only in Development.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.cause = Some(Cause::Error(cause.into()));
        self
    }

    /// What an extractor refuses a request with.
    pub(crate) fn refusal(status: u16, cause: impl Into<String>) -> Self {
        Self(Box::new(Inner { status, detail: None, cause: Some(Cause::Text(cause.into())) }))
    }

    /// The status that it answers with.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// The cause, if it is of this type.
    #[must_use]
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        match &self.0.cause {
            Some(Cause::Error(error)) => error.downcast_ref(),
            _ => None,
        }
    }

    /// All that is known of it, in one line.
    fn describe(&self) -> String {
        let mut text = match (&self.0.detail, &self.0.cause) {
            (Some(detail), None) => return detail.to_string(),
            (Some(detail), Some(_)) => format!("{detail}: "),
            (None, None) => return peregrine_parser::reason(self.0.status).to_owned(),
            (None, Some(_)) => String::new(),
        };
        match &self.0.cause {
            Some(Cause::Text(cause)) => text.push_str(cause),
            Some(Cause::Error(error)) => {
                text.push_str(&error.to_string());
                let mut source = error.source();
                while let Some(error) = source {
                    let told = error.to_string();
                    // Some errors tell of their source themselves.
                    if !text.contains(&told) {
                        text.push_str(": ");
                        text.push_str(&told);
                    }
                    source = error.source();
                }
            }
            None => {}
        }
        text
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let any: &dyn Any = &error;
        let status = if any.is::<Elapsed>() {
            504
        } else if let Some(ExchangeError::Rejected(status)) = any.downcast_ref() {
            *status
        } else {
            500
        };
        Self::new(status).with_cause(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

/// As `Display`: `fn main() -> peregrine::Result<()>` ends with a readable line.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl Respond for Error {
    fn respond(self, response: &mut Response<'_, '_>) {
        let status = self.0.status;
        let shows_details = response.shows_details();
        let detail: Option<Cow<'_, str>> = match &self.0.detail {
            _ if shows_details && self.0.cause.is_some() => Some(self.describe().into()),
            Some(detail) => Some((&**detail).into()),
            None => None,
        };
        response.status(status);
        response.body_with("application/problem+json", |body| {
            write!(body, "{{\"title\":")?;
            write_json_text(body, peregrine_parser::reason(status))?;
            write!(body, ",\"status\":{status}")?;
            if let Some(detail) = &detail {
                write!(body, ",\"detail\":")?;
                write_json_text(body, detail)?;
            }
            write!(body, "}}")
        });
        drop(detail);
        if status >= 500 {
            response.tell(self.describe());
        }
    }

    fn failure(&self) -> Option<String> {
        Some(self.describe())
    }
}

/// Writes a JSON string (RFC 8259 section 7), without the feature for JSON.
fn write_json_text(to: &mut impl Write, text: &str) -> std::io::Result<()> {
    write!(to, "\"")?;
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escaped = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0..=0x1F => "",
            _ => continue,
        };
        to.write_all(&text.as_bytes()[plain..at])?;
        plain = at + 1;
        match escaped {
            "" => write!(to, "\\u{byte:04x}")?,
            escaped => to.write_all(escaped.as_bytes())?,
        }
    }
    to.write_all(&text.as_bytes()[plain..])?;
    write!(to, "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_become_statuses_and_tell_their_causes() {
        let error = Error::from(std::io::Error::other("disk on fire"));
        assert_eq!((error.status(), error.to_string().as_str()), (500, "disk on fire"));
        assert_eq!(Error::from(Elapsed).status(), 504);
        assert_eq!(Error::from(ExchangeError::Rejected(413)).status(), 413);
        assert_eq!(Error::from(ExchangeError::Disconnected).status(), 500);
        assert_eq!(Error::new(302).status(), 500);
        assert_eq!(Error::new(404).to_string(), "Not Found");
        let error = Error::new(409).with_detail("taken").with_cause(Elapsed);
        assert_eq!(format!("{error:?}"), "taken: the time-out has passed");
        assert!(error.downcast_ref::<Elapsed>().is_some());
    }

    #[test]
    fn text_is_escaped_for_json() {
        let mut written = Vec::new();
        write_json_text(&mut written, "a \"b\" \\ \n é").unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), r#""a \"b\" \\ \u000a é""#);
    }
}
