//! Why a server could not start, each reason as one sentence that says what failed, where, and what to do.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use super::options::DriverChoice;
use super::placement::CpuList;

pub(crate) type Result<T, E = StartError> = std::result::Result<T, E>;

/// Why a server could not start. Its text is meant for whoever started it.
///
/// `Debug` shows the same text, so that `fn main() -> peregrine::Result<()>` ends with a readable line.
#[non_exhaustive]
pub enum StartError {
    /// Somebody listens on the address already.
    AddressInUse {
        /// The URL.
        url: String,
        /// Its port.
        port: u16,
        /// The URL of this same server that took the port before, if one did.
        holder: Option<String>,
    },
    /// No interface of this machine has the address.
    AddressNotAvailable {
        /// The URL.
        url: String,
    },
    /// The port is reserved for privileged processes.
    PortPrivileged {
        /// The URL.
        url: String,
        /// The lowest port that needs no privilege.
        lowest_free: u16,
    },
    /// An address could not be bound for another reason.
    Bind {
        /// The URL.
        url: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A server listens on the Unix socket already.
    SocketInUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// There is something at the Unix socket's path that is no socket.
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The directory that a Unix socket should be made in does not exist.
    MissingDirectory {
        /// The socket's path.
        path: PathBuf,
    },
    /// A URL asks for TLS, and the feature `tls` is off.
    TlsNotAvailable {
        /// The URL as configured.
        url: String,
    },
    /// An endpoint of https cannot be secured.
    #[cfg(feature = "tls")]
    Tls {
        /// The URL as configured.
        url: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// TLS is configured for a URL that is not listened on.
    #[cfg(feature = "tls")]
    TlsWithoutEndpoint {
        /// The URL as configured.
        url: String,
    },
    /// A URL's scheme is not one that can be served.
    UnknownScheme {
        /// The URL as configured.
        url: String,
    },
    /// A URL cannot be read.
    InvalidUrl {
        /// The URL as configured.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A list of CPUs cannot be read.
    InvalidCpuList {
        /// The list as written.
        list: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A CPU was asked for that this process may not use.
    CpuNotAllowed {
        /// The CPU.
        cpu: usize,
        /// Those that it may use.
        allowed: CpuList,
    },
    /// More pinned workers were asked for than there are CPUs for them.
    TooManyWorkers {
        /// The workers asked for.
        workers: usize,
        /// The CPUs that they would share.
        cpus: CpuList,
    },
    /// The process may not open enough descriptors.
    TooFewDescriptors {
        /// What it may open.
        available: u64,
    },
    /// The content root is no directory.
    ContentRoot {
        /// The path as configured.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// An option has a value that no server can run with.
    InvalidOption {
        /// Its name.
        option: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A system call failed that should not.
    System {
        /// What was attempted, e.g. `start worker 3`.
        attempt: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A route cannot be registered.
    Route {
        /// The route's pattern.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A handler takes state that the application does not have.
    MissingState {
        /// The template of the handler's route.
        pattern: String,
        /// The type.
        name: &'static str,
        /// It is taken as `Shared`.
        is_shared: bool,
    },
    /// State of one type was given twice.
    StateTwice {
        /// The type.
        name: &'static str,
    },
    /// What makes a worker's state has panicked.
    StatePanicked {
        /// The worker.
        worker: usize,
    },
    /// A worker cannot be kept to its CPUs.
    Affinity {
        /// The worker.
        worker: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// No worker can serve: the kernel refuses the drivers that were allowed.
    NoDriver {
        /// What was asked for.
        choice: DriverChoice,
        /// What was refused, and the kernel's answer.
        problem: String,
    },
    /// A worker that served has failed; the others were drained.
    WorkerFailed {
        /// How it failed.
        problem: String,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressInUse { url, holder: Some(holder), .. } => write!(
                f,
                "Failed to bind to address {url}: address already in use by {holder}, on which this server \
                 listens too. Name each address once."
            ),
            Self::AddressInUse { url, port, holder: None } => write!(
                f,
                "Failed to bind to address {url}: address already in use. Choose another port with --urls, \
                 or see who has it: ss -ltnp 'sport = :{port}'"
            ),
            Self::AddressNotAvailable { url } => write!(
                f,
                "Failed to bind to address {url}: this machine does not have that address. Use one that \
                 `ip address` shows, or http://* for all of them."
            ),
            Self::PortPrivileged { url, lowest_free } => write!(
                f,
                "Failed to bind to address {url}: ports below {lowest_free} need a privilege. Choose a higher \
                 port, or grant it to the program: setcap cap_net_bind_service=+ep FILE"
            ),
            Self::Bind { url, source } => write!(f, "Failed to bind to address {url}: {source}."),
            Self::SocketInUse { path } => write!(
                f,
                "Failed to bind to Unix socket {}: a server is listening on it. Stop that one or choose \
                 another path.",
                path.display()
            ),
            Self::NotASocket { path } => write!(
                f,
                "Failed to bind to Unix socket {}: there is something that is not a socket. Move it away or \
                 choose another path.",
                path.display()
            ),
            Self::MissingDirectory { path } => write!(
                f,
                "Failed to bind to Unix socket {}: its directory does not exist. Make it first: mkdir -p {}",
                path.display(),
                path.parent().unwrap_or(path).display()
            ),
            Self::TlsNotAvailable { url } => write!(
                f,
                "Cannot listen on {url}: this program is built without the feature tls. Build it with the feature, \
                 or use http:// behind a proxy that ends TLS."
            ),
            #[cfg(feature = "tls")]
            Self::Tls { url, problem } => {
                write!(f, "Cannot serve {url}: {}.", problem.trim_end_matches('.'))
            }
            #[cfg(feature = "tls")]
            Self::TlsWithoutEndpoint { url } => write!(
                f,
                "TLS is configured for {url}, which is none of the server's URLs of https. Write both the same way."
            ),
            Self::UnknownScheme { url } => {
                write!(
                    f,
                    "Unrecognized scheme in server address '{url}'. Only 'http://' and 'https://' are \
                     supported."
                )
            }
            Self::InvalidUrl { url, problem } => write!(f, "Invalid server address '{url}': {problem}."),
            Self::InvalidCpuList { list, problem } => write!(
                f,
                "Invalid list of CPUs '{list}': {problem}. Write numbers and ranges with commas, e.g. 0-3,8."
            ),
            Self::CpuNotAllowed { cpu, allowed } => {
                write!(f, "CPU {cpu} is not one that this process may use. Those are: {allowed}.")
            }
            Self::TooManyWorkers { workers, cpus } => write!(
                f,
                "Cannot pin {workers} workers to CPUs {cpus}: there are only {}. Lower --workers, or let them \
                 share the CPUs with --no-pin.",
                cpus.as_slice().len()
            ),
            Self::TooFewDescriptors { available } => write!(
                f,
                "This process may open only {available} descriptors, which is too few. Raise the limit: \
                 `ulimit -n`, or LimitNOFILE= of its service."
            ),
            Self::ContentRoot { path, source } => write!(
                f,
                "The content root {} cannot be used: {source}. Name a directory with --content-root.",
                path.display()
            ),
            Self::InvalidOption { option, problem } => {
                write!(f, "The option {option} is not usable: {problem}.")
            }
            Self::System { attempt, source } => write!(f, "Failed to {attempt}: {source}."),
            Self::Route { pattern, problem } => write!(f, "Invalid route '{pattern}': {problem}."),
            Self::MissingState { pattern, name, is_shared: false } => write!(
                f,
                "The handler of '{pattern}' takes State<{name}>, which the application does not have. Make it with \
                 app.state(|worker| ...)."
            ),
            Self::MissingState { pattern, name, is_shared: true } => write!(
                f,
                "The handler of '{pattern}' takes Shared<{name}>, which the application does not have. Give it with \
                 app.shared(Arc::new(...))."
            ),
            Self::StateTwice { name } => {
                write!(f, "There is state of the type {name} twice: handlers could not tell them apart.")
            }
            Self::StatePanicked { worker } => {
                write!(f, "Failed to make the state of worker {worker}: it panicked, see above.")
            }
            Self::Affinity { worker, source } => write!(
                f,
                "Failed to keep worker {worker} to its CPUs: {source}. They may have changed since the start: \
                 try again, or use --no-pin without --cpus."
            ),
            Self::NoDriver { choice: DriverChoice::IoUring, problem } => {
                write!(f, "No worker could start: {problem}. Choose another with --driver auto.")
            }
            Self::NoDriver { problem, .. } => write!(f, "No worker could start: {problem}."),
            Self::WorkerFailed { problem } => {
                write!(f, "A worker failed and the server was drained: {problem}.")
            }
        }
    }
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Affinity { source, .. }
            | Self::Bind { source, .. }
            | Self::ContentRoot { source, .. }
            | Self::System { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_the_same_in_both_forms_and_keep_their_source() {
        let error = StartError::System { attempt: "start worker 3".to_owned(), source: denied() };
        assert_eq!(error.to_string(), "Failed to start worker 3: permission denied.");
        assert_eq!(format!("{error:?}"), error.to_string());
        assert!(error.source().is_some());
        assert!(StartError::UnknownScheme { url: "ftp://x".to_owned() }.source().is_none());
    }

    #[test]
    fn errors_say_what_to_do() {
        let missing = StartError::MissingDirectory { path: "/run/none/app.sock".into() };
        assert_eq!(
            missing.to_string(),
            "Failed to bind to Unix socket /run/none/app.sock: its directory does not exist. Make it first: \
             mkdir -p /run/none"
        );
        let crowd = StartError::TooManyWorkers { workers: 5, cpus: "0-1,4".parse().unwrap() };
        assert_eq!(
            crowd.to_string(),
            "Cannot pin 5 workers to CPUs 0-1,4: there are only 3. Lower --workers, or let them share the \
             CPUs with --no-pin."
        );
    }

    #[test]
    fn another_driver_is_advised_only_if_there_is_one() {
        let refused =
            |choice| StartError::NoDriver { choice, problem: "epoll: denied".to_owned() }.to_string();
        let advice = " Choose another with --driver auto.";
        assert_eq!(refused(DriverChoice::IoUring), format!("No worker could start: epoll: denied.{advice}"));
        assert_eq!(refused(DriverChoice::Auto), "No worker could start: epoll: denied.");
        assert_eq!(refused(DriverChoice::Epoll), "No worker could start: epoll: denied.");
        let affinity = StartError::Affinity { worker: 3, source: denied() };
        let begin = "Failed to keep worker 3 to its CPUs: permission denied. ";
        assert!(affinity.to_string().starts_with(begin), "{affinity}");
    }

    fn denied() -> io::Error {
        io::ErrorKind::PermissionDenied.into()
    }
}
