//! How a template is written: from its text to segments.
//!
//! Owns the grammar and its messages, which say where: bytes are counted from 0. What segments mean together
//! is up to `template`.

use super::constraint::Constraint;
use super::template::{Absence, Mixed, Param, Segment, TemplateError};

/// A part of a segment. Parts begin at a byte of the template.
enum Part {
    Text(String),
    Param { param: Param, is_catch_all: bool, start: usize },
}

/// Reads the segments of a template; `/` has none.
pub(super) fn read(text: &str) -> Result<Vec<Segment>, TemplateError> {
    if !text.starts_with('/') {
        return Err(TemplateError(r#"must begin with "/""#.into()));
    }
    let mut reader = Reader { text, at: 1 };
    let mut segments = Vec::new();
    if text.len() > 1 {
        segments.push(reader.segment()?);
        while reader.take("/") {
            segments.push(reader.segment()?);
        }
    }
    Ok(segments)
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, text: &str) -> bool {
        let is_there = self.rest().starts_with(text);
        if is_there {
            self.at += text.len();
        }
        is_there
    }

    fn take_char(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += next.map_or(0, char::len_utf8);
        next
    }

    fn take_until(&mut self, ends: &[char]) -> &'t str {
        let length = self.rest().find(ends).unwrap_or(self.rest().len());
        let taken = &self.rest()[..length];
        self.at += length;
        taken
    }

    /// A brace that is written twice.
    fn take_brace(&mut self) -> Option<char> {
        if self.take("{{") {
            Some('{')
        } else if self.take("}}") {
            Some('}')
        } else {
            None
        }
    }

    fn segment(&mut self) -> Result<Segment, TemplateError> {
        let mut parts: Vec<Part> = Vec::new();
        loop {
            let next = match self.take_brace() {
                Some(brace) => brace,
                None => match self.peek() {
                    None | Some('/') => return segment_of(parts),
                    Some('{') => {
                        parts.push(self.param()?);
                        continue;
                    }
                    Some('}') => {
                        let problem = format!(
                            r#"has a "}}" at byte {} that ends no parameter; one to match is written "}}}}""#,
                            self.at
                        );
                        return Err(TemplateError(problem));
                    }
                    Some('?') => {
                        let problem = format!(r#"has a "?" at byte {}, but a path has no query"#, self.at);
                        return Err(TemplateError(problem));
                    }
                    Some(other) => {
                        self.at += other.len_utf8();
                        other
                    }
                },
            };
            match parts.last_mut() {
                Some(Part::Text(text)) => text.push(next),
                _ => parts.push(Part::Text(next.into())),
            }
        }
    }

    fn param(&mut self) -> Result<Part, TemplateError> {
        let start = self.at;
        let endless = || TemplateError(format!("has no end to the parameter that begins at byte {start}"));
        let wrong =
            |problem: &str| TemplateError(format!("{problem} in the parameter that begins at byte {start}"));
        self.at += 1;
        let is_catch_all = self.take("*");
        let _ = is_catch_all && self.take("*");
        let name = self.take_until(&[':', '=', '?', '}', '{', '/', '*', '(', ')']);
        if name.is_empty() {
            return Err(wrong("has no name"));
        }
        let mut constraints: Vec<Constraint> = Vec::new();
        let mut absence = Absence::Impossible;
        loop {
            match self.take_char() {
                Some('}') => break,
                Some(':') => {
                    let constraint = self.constraint(start)?;
                    if !constraints.contains(&constraint) {
                        constraints.push(constraint);
                    }
                }
                Some('=') => {
                    absence = Absence::Default(self.default().ok_or_else(endless)?);
                    break;
                }
                Some('?') => {
                    if !self.take("}") {
                        return Err(wrong(r#"has a "?" that is not the last character"#));
                    }
                    absence = Absence::Unset;
                    break;
                }
                None | Some('/') => return Err(endless()),
                Some(other) => return Err(wrong(&format!("has an unexpected {other:?}"))),
            }
        }
        if let Absence::Default(value) = &absence {
            if value.ends_with('?') {
                return Err(wrong("has both a default and a \"?\""));
            }
            if !constraints.iter().all(|constraint| constraint.accepts(value)) {
                return Err(wrong("has a default that does not fulfil its own constraints"));
            }
        }
        if is_catch_all && absence == Absence::Unset {
            return Err(wrong("has a \"?\" with a \"*\""));
        }
        Ok(Part::Param { param: Param { name: name.into(), constraints, absence }, is_catch_all, start })
    }

    /// What is behind a `=`, with the `}`.
    fn default(&mut self) -> Option<Box<str>> {
        let mut value = String::new();
        loop {
            match self
                .take_brace()
                .map_or_else(|| self.take_char().map(|next| (next, false)), |b| Some((b, true)))
            {
                Some(('}', false)) => return Some(value.into()),
                Some((next, _)) => value.push(next),
                None => return None,
            }
        }
    }

    /// What is behind a `:`. `start` is where its parameter begins.
    fn constraint(&mut self, start: usize) -> Result<Constraint, TemplateError> {
        let name = self.take_until(&[':', '=', '?', '}', '{', '/', '(', ')']);
        let argument = if self.peek() == Some('(') { Some(self.argument()?) } else { None };
        if self.peek().is_none() || self.peek() == Some('/') {
            return Err(TemplateError(format!("has no end to the parameter that begins at byte {start}")));
        }
        if name.is_empty() {
            let problem =
                format!("has a constraint without a name in the parameter that begins at byte {start}");
            return Err(TemplateError(problem));
        }
        Constraint::parse(name, argument.as_deref()).map_err(|problem| {
            TemplateError(format!("{problem}, in the parameter that begins at byte {start}"))
        })
    }

    /// What is in parentheses, braces undoubled. Regular expressions have parentheses too: it ends at one that
    /// is followed by the parameter's end, or by what may come behind a constraint and closes the first.
    fn argument(&mut self) -> Result<String, TemplateError> {
        let start = self.at;
        let endless = || {
            let problem = format!("has no end to the argument that begins at byte {start}");
            TemplateError(format!("{problem}; a brace in it is written twice"))
        };
        self.at += 1;
        let mut argument = String::new();
        let mut depth = 1_usize;
        loop {
            if let Some(brace) = self.take_brace() {
                argument.push(brace);
                continue;
            }
            match self.take_char() {
                None | Some('{' | '}') => return Err(endless()),
                Some('\\') => {
                    argument.push('\\');
                    match self.peek() {
                        Some('{' | '}') | None => {}
                        Some(escaped) => {
                            self.at += escaped.len_utf8();
                            argument.push(escaped);
                        }
                    }
                }
                Some(')') => {
                    depth = depth.saturating_sub(1);
                    let rest = self.rest();
                    let closes_all = rest.starts_with('}') || rest.starts_with("?}");
                    if closes_all || depth == 0 && rest.starts_with([':', '=']) {
                        return Ok(argument);
                    }
                    argument.push(')');
                }
                Some(next) => {
                    depth += usize::from(next == '(');
                    argument.push(next);
                }
            }
        }
    }
}

/// Makes one segment of its parts.
fn segment_of(parts: Vec<Part>) -> Result<Segment, TemplateError> {
    let alone = parts.len() == 1;
    let mut mixed =
        Mixed { prefix: "".into(), params: Vec::new(), separators: Vec::new(), suffix: "".into() };
    let mut text: Option<String> = None;
    let count = parts.len();
    for (index, part) in parts.into_iter().enumerate() {
        let (param, is_catch_all, start) = match part {
            Part::Text(next) => {
                text = Some(next);
                continue;
            }
            Part::Param { param, is_catch_all, start } => (param, is_catch_all, start),
        };
        if alone {
            return Ok(if is_catch_all { Segment::CatchAll(param) } else { Segment::Param(param) });
        }
        let wrong =
            |problem: &str| Err(TemplateError(format!("has a parameter at byte {start} that {problem}")));
        if is_catch_all {
            return wrong("takes all segments, but is only a part of one");
        }
        let before = text.take();
        match param.absence {
            Absence::Impossible => {}
            Absence::Default(_) => return wrong("has a default, but is only a part of a segment"),
            Absence::Unset => {
                if index + 1 < count || mixed.params.is_empty() || before.as_deref() != Some(".") {
                    return wrong("is optional in a segment, but not the last behind a single point");
                }
            }
        }
        match before {
            before if mixed.params.is_empty() => mixed.prefix = before.unwrap_or_default().into(),
            Some(before) => mixed.separators.push(before.into()),
            None => return wrong("follows another without a text between them"),
        }
        mixed.params.push(param);
    }
    let text = text.unwrap_or_default().into();
    if mixed.params.is_empty() {
        return Ok(Segment::Literal(text));
    }
    mixed.suffix = text;
    Ok(Segment::Mixed(mixed))
}
