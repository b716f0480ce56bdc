//! The values of command-line flags that the harnesses share.

use std::io::{Error, ErrorKind, Result};

use crate::server::Recipe;

/// What is wrong with the command line.
#[must_use]
pub fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

/// A number, 0 included.
pub fn whole(flag: &str, value: &str) -> Result<u32> {
    value.parse().map_err(|_| invalid(format!("{flag}: {value} is no number")))
}

/// A number from 1.
pub fn number(flag: &str, value: &str) -> Result<u32> {
    match whole(flag, value)? {
        0 => Err(invalid(format!("{flag}: 0 is too little"))),
        number => Ok(number),
    }
}

/// Numbers from 1, with commas between them.
pub fn numbers(flag: &str, values: &str) -> Result<Vec<u32>> {
    values.split(',').map(|value| number(flag, value)).collect()
}

/// The number of a core.
pub fn core(value: &str) -> Result<usize> {
    value.parse().map_err(|_| invalid(format!("{value} is no core")))
}

/// A server given as `NAME=COMMAND`.
pub fn recipe(text: &str) -> Result<Recipe> {
    let (name, command) =
        text.split_once('=').ok_or_else(|| invalid(format!("{text} is not NAME=COMMAND")))?;
    Ok(Recipe { name: name.into(), command: command.into() })
}

/// A server that this suite builds: its name, its program and the flags that it takes.
pub type Known<'a> = (&'a str, std::path::PathBuf, &'a str);

/// All the known servers that are built, or else the chosen ones, which then must be.
pub fn recipes(known: &[Known], chosen: Option<&str>) -> Result<Vec<Recipe>> {
    let recipe = |(name, program, flags): &Known| Recipe {
        name: (*name).into(),
        command: format!("'{}' {flags}", program.display()),
    };
    let Some(chosen) = chosen else {
        let (built, missing): (Vec<_>, Vec<_>) = known.iter().partition(|(_, program, _)| program.exists());
        missing.iter().for_each(|(name, ..)| eprintln!("{name} is not built, and left out"));
        return Ok(built.into_iter().map(recipe).collect());
    };
    let names = chosen.split(',').filter(|name| !name.is_empty());
    names
        .map(|name| {
            let found = known.iter().find(|(known, ..)| *known == name);
            found.map(recipe).ok_or_else(|| invalid(format!("{name} is not a server known here")))
        })
        .collect()
}

/// The place of the server that ratios are taken to: the wanted one, or `floor`, or else the first.
pub fn baseline(names: &[String], wanted: Option<&str>) -> Result<usize> {
    let place = |wanted: &str| names.iter().position(|name| name == wanted);
    match wanted {
        Some(wanted) => place(wanted).ok_or_else(|| invalid(format!("no server is named {wanted}"))),
        None => Ok(place("floor").unwrap_or(0)),
    }
}
