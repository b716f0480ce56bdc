//! Who trusts the certificate: the machine's store of authorities for OpenSSL and its like (`system`), the databases
//! of browsers (`nss`). Owns what counts as trusted. Must not know how the certificate is made.

mod nss;
mod system;

use peregrine::tls::development::DevCertificate;

use super::console::Console;
use super::{Code, Failure};
use nss::Certutil;
use system::SystemStore;

/// What the names of all entries in databases begin with; the start of the thumbprint follows.
const NICKNAME: &str = "peregrine localhost ";

/// What the names of all files in the machine's store begin with.
const FILE_NAME: &str = "peregrine-dev-";

const NO_SYSTEM_STORE: &str = "This machine has no store of authorities in a known place: programs that use OpenSSL do not know the certificate";

const NO_CERTUTIL: &str = "certutil is missing, so browsers are left out: install libnss3-tools (Debian, Ubuntu), \
                           nss-tools (Fedora, Alpine), mozilla-nss-tools (openSUSE) or nss (Arch)";

/// Lets everything that can be found trust the certificate.
///
/// # Errors
/// The machine's store could not be changed; or there is none, and no browser's database either.
pub(super) fn trust(certificate: &DevCertificate, console: &Console) -> Result<(), Failure> {
    if let Some(issuer) = &certificate.issuer {
        let why = format!(
            "The certificate was signed by {issuer}: that is who has to be trusted, not the certificate"
        );
        return Err(Failure::new(Code::Trusting, why));
    }
    let browsers = trust_in_browsers(certificate, console);
    let Some(store) = SystemStore::find() else {
        console.warn(NO_SYSTEM_STORE);
        return if browsers > 0 {
            Ok(())
        } else {
            Err(Failure::new(Code::Trusting, "Nothing trusts the certificate"))
        };
    };
    if store.has(certificate) {
        console.say("The machine's store has the certificate already.");
        return Ok(());
    }
    store.add(certificate, console)?;
    console.say("Programs of this machine trust the certificate; those that run already, once they are started again.");
    Ok(())
}

/// In how many databases the certificate is now.
fn trust_in_browsers(certificate: &DevCertificate, console: &Console) -> usize {
    let Some(certutil) = Certutil::find() else {
        console.warn(NO_CERTUTIL);
        return 0;
    };
    let mut count = 0;
    for database in nss::databases(true) {
        match certutil.add(&database, certificate, console) {
            Ok(()) => {
                count += 1;
                console.detail(&format!("{} has the certificate", database.folder.display()));
            }
            Err(why) => console.warn(&format!("{}: {why}", database.folder.display())),
        }
    }
    if count > 0 {
        console.say("Browsers of this user trust the certificate; those that run already, once they are started again.");
    }
    count
}

/// Looks whether everything that can be found trusts the certificate.
///
/// # Errors
/// Something does not.
pub(super) fn check(certificate: &DevCertificate, console: &Console) -> Result<(), Failure> {
    let mut missing = Vec::new();
    let store = SystemStore::find();
    match &store {
        Some(store) if store.has(certificate) => console.detail("The machine's store has the certificate"),
        Some(_) => missing.push("the machine's store".to_owned()),
        None => console.warn(NO_SYSTEM_STORE),
    }
    let databases = nss::databases(false);
    match Certutil::find() {
        Some(certutil) => {
            for database in &databases {
                let name = database.folder.display().to_string();
                if certutil.has(database, certificate, console) {
                    console.detail(&format!("{name} has the certificate"));
                } else {
                    missing.push(name);
                }
            }
        }
        None if databases.is_empty() => {}
        None => console.warn(NO_CERTUTIL),
    }
    if store.is_none() && databases.is_empty() {
        return Err(Failure::new(Code::NotTrusted, "Nothing was found that could trust the certificate"));
    }
    if missing.is_empty() {
        console.say("The certificate is trusted.");
        return Ok(());
    }
    Err(Failure::new(Code::NotTrusted, format!("The certificate is not trusted by {}", missing.join(", "))))
}

/// Takes all development certificates, also earlier ones, from wherever [`trust`] puts them.
///
/// # Errors
/// Something could not be removed; the rest is.
pub(super) fn clean(console: &Console) -> Result<(), Failure> {
    let mut failures = Vec::new();
    let databases = nss::databases(false);
    match Certutil::find() {
        Some(certutil) => {
            for database in databases {
                if let Err(why) = certutil.remove_all(&database, console) {
                    failures.push(format!("{}: {why}", database.folder.display()));
                }
            }
        }
        None if databases.is_empty() => {}
        None => console.warn(NO_CERTUTIL),
    }
    if let Some(store) = SystemStore::find()
        && let Err(failure) = store.remove_all(console)
    {
        failures.push(failure.why);
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::new(Code::Cleaning, failures.join("\n"))) }
}
