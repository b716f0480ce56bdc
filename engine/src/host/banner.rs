//! The lines that a server prints when it starts and when it ends.
//!
//! Five of them are ASP.NET Core's, to the letter: scripts wait for them and read the address out of them.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::path::Path;

use crate::app::Listed;

/// Says on standard output that the server is up: what `driver` it serves with and where, and what it is
/// reached by. To be called when all workers accept.
pub(crate) fn print(driver: &str, urls: &[String], environment: &str, content_root: &Path) {
    to_stdout(|out| write_started(out, driver, urls, environment, content_root));
}

/// Says on standard output that a shutdown has begun.
pub(crate) fn print_shutdown() {
    to_stdout(|out| writeln!(out, "Application is shutting down..."));
}

/// Shows a memory plan on standard output, and what it does not cover.
pub(crate) fn print_plan(plan: &impl fmt::Display) {
    to_stdout(|out| writeln!(out, "{plan}{NOT_PLANNED}"));
}

/// Shows the routes on standard output.
pub(crate) fn print_routes(routes: &str) {
    to_stdout(|out| write!(out, "{routes}"));
}

/// Says on standard error what is not as it was asked for, but no reason to stop.
pub(crate) fn print_warnings(warnings: &[String]) {
    let mut out = io::stderr().lock();
    for warning in warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
}

const NOT_PLANNED: &str = "The total is what is accounted for. Not in it: the program and its threads' stacks, \
                           what handlers hold, larger responses, and the sockets' buffers in the kernel.";

fn write_started(
    out: &mut dyn Write,
    driver: &str,
    urls: &[String],
    environment: &str,
    content_root: &Path,
) -> io::Result<()> {
    writeln!(out, "Driver: {driver}")?;
    for url in urls {
        writeln!(out, "Now listening on: {url}")?;
    }
    writeln!(out, "Application started. Press Ctrl+C to shut down.")?;
    writeln!(out, "Hosting environment: {environment}")?;
    writeln!(out, "Content root path: {}", content_root.display())
}

/// Standard output may be a pipe whose reader has gone, which is no reason for a server to end.
fn to_stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
    let mut out = io::stdout().lock();
    let _ = write(&mut out).and_then(|()| out.flush());
}

/// The table of routes.
pub(super) fn routes(routes: &[Listed]) -> String {
    let width = |of: fn(&Listed) -> &str| routes.iter().map(|route| of(route).len()).max().unwrap_or(0);
    let (methods, templates) = (width(|route| &route.methods), width(|route| &route.template));
    let mut table = String::new();
    for Listed { methods: method, template, handler, layers } in routes {
        let _ = write!(table, "{method:methods$}  {template:templates$}  {handler}");
        match layers {
            0 => table.push('\n'),
            1 => table.push_str("  (1 middleware)\n"),
            layers => {
                let _ = writeln!(table, "  ({layers} middleware)");
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_those_that_scripts_wait_for() {
        let urls = ["http://localhost:5000".to_owned(), "http://unix:/run/app.sock".to_owned()];
        let driver = "io_uring (deferred task work, multishot receive), 2 workers on CPUs 0-1";
        let mut out = Vec::new();
        write_started(&mut out, driver, &urls, "Production", Path::new("/app")).unwrap();
        let expected = "Driver: io_uring (deferred task work, multishot receive), 2 workers on CPUs 0-1\n\
                        Now listening on: http://localhost:5000\n\
                        Now listening on: http://unix:/run/app.sock\n\
                        Application started. Press Ctrl+C to shut down.\n\
                        Hosting environment: Production\n\
                        Content root path: /app\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
