//! The page of fortunes. It must not know where a row comes from.

use std::fmt::Write;

/// Added to those of the table for each request.
const ADDED: Fortune<'static> = Fortune { id: 0, message: "Additional fortune added at request time." };
const HEAD: &str = "<!DOCTYPE html><html><head><title>Fortunes</title></head><body><table>\
                    <tr><th>id</th><th>message</th></tr>";
const TAIL: &str = "</table></body></html>";

pub(crate) struct Fortune<'a> {
    pub(crate) id: i32,
    pub(crate) message: &'a str,
}

/// The page of these and the added one, by message.
pub(crate) fn page(mut fortunes: Vec<Fortune<'_>>) -> String {
    fortunes.push(ADDED);
    fortunes.sort_unstable_by_key(|fortune| fortune.message);
    let text: usize = fortunes.iter().map(|fortune| fortune.message.len() + 40).sum();
    let mut page = String::with_capacity(HEAD.len() + text + TAIL.len());
    page.push_str(HEAD);
    for Fortune { id, message } in &fortunes {
        // Writing to a string cannot fail.
        let _ = write!(page, "<tr><td>{id}</td><td>");
        escape(&mut page, message);
        page.push_str("</td></tr>");
    }
    page.push_str(TAIL);
    page
}

/// Runs of harmless bytes are copied as one.
fn escape(page: &mut String, text: &str) {
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escaped = match byte {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            b'\'' => "&#39;",
            _ => continue,
        };
        page.push_str(&text[from..at]);
        page.push_str(escaped);
        from = at + 1;
    }
    page.push_str(&text[from..]);
}
