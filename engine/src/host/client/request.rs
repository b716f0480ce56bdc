//! Requests as tests write them, and their bytes.
//!
//! Nothing is checked here: a test may send what it likes.

use std::fmt::Write;

use super::{Pending, TestClient, TestResponse};

/// A request that is not sent yet: methods of [`TestClient`] make it.
///
/// `Host: localhost` and the length of the body are added, unless a field of the request says so itself.
#[must_use = "nothing is sent before `send` or `begin`"]
#[derive(Debug)]
pub struct TestRequest<'a> {
    client: &'a mut TestClient,
    method: String,
    target: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl<'a> TestRequest<'a> {
    pub(super) fn new(client: &'a mut TestClient, method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self { client, method, target, fields: Vec::new(), body: Vec::new() }
    }

    /// Adds a field, as it is.
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Gives it a body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Gives it a body of JSON, and says so in `Content-Type`.
    ///
    /// ```
    /// use peregrine::prelude::*;
    ///
    /// let mut app = App::new();
    /// app.post("/sum", |Json(numbers): Json<Vec<u64>>| Json(numbers.iter().sum::<u64>()));
    /// let mut client = app.client()?;
    /// assert_eq!(client.post("/sum").json(&[1, 2, 3]).send().json::<u64>(), 6);
    /// # Ok::<(), peregrine::StartError>(())
    /// ```
    ///
    /// # Panics
    /// `value` cannot be serialized.
    #[cfg(feature = "json")]
    #[track_caller]
    pub fn json(self, value: &(impl serde::Serialize + ?Sized)) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_else(|error| panic!("no JSON: {error}"));
        self.field("Content-Type", "application/json").body(body)
    }

    /// Gives it a body of names and values, as an HTML form has them (`application/x-www-form-urlencoded`), and says so
    /// in `Content-Type`.
    ///
    /// ```
    /// use std::collections::HashMap;
    ///
    /// use peregrine::Form;
    /// use peregrine::prelude::*;
    ///
    /// let mut app = App::new();
    /// app.post("/", |Form(form): Form<HashMap<String, String>>| form["name"].clone());
    /// let mut client = app.client()?;
    /// let response = client.post("/").form([("name", "Ada & Grace"), ("age", "36")]).send();
    /// assert_eq!(response.text(), "Ada & Grace");
    /// # Ok::<(), peregrine::StartError>(())
    /// ```
    pub fn form<N: AsRef<str>, V: AsRef<str>>(self, pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut body = String::new();
        for (name, value) in pairs {
            if !body.is_empty() {
                body.push('&');
            }
            encode(name.as_ref(), &mut body);
            body.push('=');
            encode(value.as_ref(), &mut body);
        }
        self.field("Content-Type", "application/x-www-form-urlencoded").body(body)
    }

    /// Sends it and waits for the response; interim responses are skipped. See [`TestClient`] about time.
    ///
    /// # Panics
    /// The connection ends before all of the response; or nothing is due any more and other threads have done nothing
    /// for ten seconds either: the message says what was asked for.
    #[expect(clippy::must_use_candidate, reason = "some requests are sent for what they do")]
    #[track_caller]
    pub fn send(self) -> TestResponse {
        let (client, pending) = self.start();
        client.take(&pending)
    }

    /// Sends it and lets its handler run up to where it waits. Time does not pass.
    ///
    /// # Panics
    /// A handler never rests: it has been running for ten seconds.
    #[track_caller]
    pub fn begin(self) -> Pending {
        self.start().1
    }

    #[track_caller]
    fn start(self) -> (&'a mut TestClient, Pending) {
        let bytes = self.bytes();
        let what = format!("{} {}", self.method, self.target);
        let pending = self.client.begin(&bytes, what, &self.method);
        (self.client, pending)
    }

    fn bytes(&self) -> Vec<u8> {
        let has = |name: &str| self.fields.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        if !has("Host") {
            bytes.extend_from_slice(b"Host: localhost\r\n");
        }
        for (name, value) in &self.fields {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        // RFC 9110 section 8.6: also of nothing, where a body would have a meaning.
        let has_meaning = matches!(self.method.as_str(), "POST" | "PUT" | "PATCH");
        let is_framed = has("Content-Length") || has("Transfer-Encoding");
        if !is_framed && (has_meaning || !self.body.is_empty()) {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Writes text as forms do (the URL standard, section 5.2).
fn encode(text: &str, to: &mut String) {
    for byte in text.bytes() {
        match byte {
            b' ' => to.push('+'),
            b'*' | b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => to.push(char::from(byte)),
            _ => {
                let _ = write!(to, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded_as_browsers_do() {
        let mut encoded = String::new();
        encode("a b&c=d+é*-._~/", &mut encoded);
        assert_eq!(encoded, "a+b%26c%3Dd%2B%C3%A9*-._%7E%2F");
    }
}
