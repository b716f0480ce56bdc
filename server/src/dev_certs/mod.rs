//! `peregrine dev-certs https`: the development certificate for whoever types commands.
//!
//! Owns the command line, the order of the work and what each exit code means. The certificate itself is the
//! engine's; files for others are `export`'s and `import`'s, other programs' trust is `trust`'s.

mod console;
mod export;
mod import;
mod trust;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Subcommand, ValueEnum};
use peregrine::tls::development::{DevCertificate, DevCertificateError, DevCertificates, Found};

use console::Console;

/// How a command that was understood ends; the numbers are those of `dotnet dev-certs`, because scripts know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Saving = 2,
    Exporting = 3,
    Trusting = 4,
    Cancelled = 5,
    NoneValid = 6,
    NotTrusted = 7,
    Cleaning = 8,
    InvalidState = 9,
    ImportMissing = 12,
    ImportUnreadable = 13,
    ImportUnfit = 14,
    ImportExisting = 15,
}

/// The exit code of a command line that was not understood.
pub(crate) const WRONG_USE: u8 = 1;

const EXIT_CODES: &str = "\
Exit codes:
   0  done; with --check: there is a valid certificate, and with --trust it is trusted
   1  the command line makes no sense
   2  the certificate could not be saved
   3  it could not be exported
   4  it could not be trusted
   5  sudo was not allowed to trust it
   6  --check: there is no valid certificate
   7  --check --trust: it is not trusted everywhere
   8  --clean: something could not be removed
   9  --check: the files are damaged, or certificate and key do not belong together
  12  --import: the file is not there
  13  --import: it cannot be read, or the password is wrong
  14  --import: it is not valid now, not for localhost, or has not its own key
  15  --import: there is a valid certificate already; add --clean

Examples:
  peregrine dev-certs https --trust
  peregrine dev-certs https --check --trust
  peregrine dev-certs https --export-path localhost.pfx -p secret
  peregrine dev-certs https --export-path localhost.crt --format pem --no-password
  peregrine dev-certs https --clean --import localhost.pfx -p secret
  peregrine dev-certs https --clean";

/// Certificates for developing.
#[derive(Debug, Subcommand)]
pub(crate) enum DevCerts {
    /// Make, find, trust, export or remove the certificate for localhost
    #[command(after_help = EXIT_CODES, max_term_width = 110)]
    Https(Https),
}

/// What to do; without any flag, the certificate is made if there is no valid one.
#[derive(Args, Debug)]
pub(crate) struct Https {
    /// Let the programs of this machine and user trust it; with --check: look whether they do
    #[arg(short, long)]
    trust: bool,

    /// Only look whether there is a valid certificate; change nothing
    #[arg(short, long, conflicts_with_all = ["clean", "export_path", "format", "import", "no_password", "password"])]
    check: bool,

    /// Remove it, and what --trust has added
    #[arg(long, conflicts_with_all = ["export_path", "format", "no_password"])]
    clean: bool,

    /// Write a copy to this file; the folder must be there [aliases: -ep]
    #[arg(long, visible_alias = "ep", value_name = "PATH", conflicts_with = "import")]
    export_path: Option<PathBuf>,

    /// Password of the file that is exported or imported; in PEM, of the key
    #[arg(short, long, conflicts_with = "no_password")]
    password: Option<String>,

    /// Export the key although nothing protects it [aliases: -np]
    #[arg(long, visible_alias = "np", requires = "export_path")]
    no_password: bool,

    /// pfx: one file (PKCS#12). pem: the certificate, and beside it the key with the extension .key, if --password or
    /// --no-password is given [default: pfx]
    #[arg(long, ignore_case = true, requires = "export_path")]
    format: Option<Format>,

    /// Take this certificate, with its key, in the place of a made one: PKCS#12, or PEM with the key in the same file
    /// or in one with the extension .key
    #[arg(short, long, value_name = "FILE")]
    import: Option<PathBuf>,

    /// Tell of every file and every program that is run
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,

    /// Print only warnings and errors
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Pfx,
    Pem,
}

/// Why a command ends with another code than 0.
#[derive(Debug)]
struct Failure {
    code: Code,
    /// Empty if all was said already.
    why: String,
}

impl Failure {
    fn new(code: Code, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }
}

/// Spells two flags as clap knows them: `-ep` and `-np` are those of `dotnet dev-certs`, in the scripts that exist.
pub(crate) fn spell(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let args: Vec<OsString> = args.collect();
    if !is_meant(&args) {
        return args;
    }
    let long = |arg: OsString| match arg.to_str() {
        Some("-ep") => "--export-path".into(),
        Some("-np") => "--no-password".into(),
        _ => arg,
    };
    args.into_iter().map(long).collect()
}

/// Whether a command line is for this room.
pub(crate) fn is_meant(args: &[OsString]) -> bool {
    args.get(1).is_some_and(|arg| arg == "dev-certs")
}

impl DevCerts {
    /// Does what the command line says.
    ///
    /// # Errors
    /// It makes no sense; nothing was done.
    pub(crate) fn run(self) -> Result<ExitCode, (ErrorKind, &'static str)> {
        let Self::Https(https) = self;
        https.check_combination()?;
        let console = Console::new(https.verbose, https.quiet);
        Ok(match https.run(&console) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                if !failure.why.is_empty() {
                    console.error(&failure.why);
                }
                ExitCode::from(failure.code as u8)
            }
        })
    }
}

impl Https {
    /// What clap cannot say of them.
    fn check_combination(&self) -> Result<(), (ErrorKind, &'static str)> {
        let conflict = |why| Err((ErrorKind::ArgumentConflict, why));
        let missing = |why| Err((ErrorKind::MissingRequiredArgument, why));
        if self.clean && self.trust && self.import.is_none() {
            return conflict("--clean removes what --trust would trust: use one of them, or add --import");
        }
        if self.password.is_some() && self.export_path.is_none() && self.import.is_none() {
            return missing("--password is for --export-path or --import: neither is given");
        }
        let Some(path) = &self.export_path else { return Ok(()) };
        let has_said = self.password.is_some() || self.no_password;
        match self.format() {
            Format::Pfx if !has_said => missing("a pfx file holds the key: give --password or --no-password"),
            Format::Pem if path.extension().is_some_and(|extension| extension == "key") => {
                conflict("the extension .key is for the key beside the certificate: name the file otherwise")
            }
            _ => Ok(()),
        }
    }

    fn format(&self) -> Format {
        self.format.unwrap_or(Format::Pfx)
    }

    fn run(&self, console: &Console) -> Result<(), Failure> {
        let store = DevCertificates::of_user().map_err(|error| saving(&error))?;
        console.detail(&format!("The certificate's folder is {}", store.folder().display()));
        if self.check {
            return self.look(&store, console);
        }
        if self.clean {
            clean(&store, console)?;
        }
        let certificate = match &self.import {
            Some(file) => import::import(&store, file, self.password.as_deref(), console)?,
            None if self.clean => return Ok(()),
            None => ensure(&store, console)?,
        };
        if let Some(path) = &self.export_path {
            let key = match &self.password {
                Some(password) => export::Key::Encrypted(password),
                None if self.no_password => export::Key::Open,
                None => export::Key::Omitted,
            };
            export::export(&certificate, path, self.format(), key, console)?;
        }
        if self.trust { trust::trust(&certificate, console) } else { Ok(()) }
    }

    fn look(&self, store: &DevCertificates, console: &Console) -> Result<(), Failure> {
        let certificate =
            match store.look().map_err(|error| Failure::new(Code::InvalidState, error.to_string()))? {
                Found::Valid(certificate) => certificate,
                Found::Invalid(why) => return Err(Failure::new(Code::InvalidState, why.to_string())),
                Found::Expired(why) => return Err(Failure::new(Code::NoneValid, why.to_string())),
                _ => return Err(Failure::new(Code::NoneValid, "There is no development certificate")),
            };
        console.say(&format!("A valid certificate was found: {}", describe(&certificate)));
        if self.trust {
            trust::check(&certificate, console)
        } else {
            console.say("Add --trust to look whether it is trusted, too.");
            Ok(())
        }
    }
}

fn saving(error: &DevCertificateError) -> Failure {
    Failure::new(Code::Saving, error.to_string())
}

fn ensure(store: &DevCertificates, console: &Console) -> Result<DevCertificate, Failure> {
    match store.look().map_err(|error| saving(&error))? {
        Found::Valid(certificate) => {
            console.say(&format!("There is a valid certificate already: {}", describe(&certificate)));
            return Ok(certificate);
        }
        Found::Expired(why) | Found::Invalid(why) => console.warn(&format!("{why}; it is replaced")),
        _ => {}
    }
    let certificate = store.find_or_create().map_err(|error| saving(&error))?;
    console.say(&format!("The certificate was made: {}", describe(&certificate)));
    Ok(certificate)
}

/// Takes the trust away first: once the certificate is gone, it cannot be asked for what it was called.
fn clean(store: &DevCertificates, console: &Console) -> Result<(), Failure> {
    let trust = trust::clean(console);
    let removed = store.remove().map_err(|error| Failure::new(Code::Cleaning, error.to_string()))?;
    trust?;
    console.say(if removed { "The certificate was removed." } else { "There was no certificate to remove." });
    Ok(())
}

fn describe(certificate: &DevCertificate) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let left = certificate.not_after.saturating_sub(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    format!(
        "{}, thumbprint {}, valid for {} more days",
        certificate.certificate.display(),
        certificate.thumbprint,
        left / (24 * 60 * 60)
    )
}
