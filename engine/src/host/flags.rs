//! The command line and its environment variables, laid over the options that the code has set.
//!
//! A flag wins over its variable, that over the code, the code over the default. Needs the feature `cli`.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{BoolishValueParser, RangedU64ValueParser, Resettable};
use clap::{Arg, Parser};

use super::options::{DriverChoice, Options};
use super::placement::CpuList;
use crate::proto::MinDataRate;
#[cfg(feature = "tls")]
use crate::tls::{Certificate, ClientCertificates, TlsVersion};

/// The flags of a server, for an application's own command line:
///
/// ```
/// use clap::Parser;
///
/// #[derive(Parser)]
/// struct Cli {
///     #[command(flatten)]
///     server: peregrine::Flags,
///     /// Where the data is
///     #[arg(long)]
///     database: Option<String>,
/// }
///
/// let cli = Cli::parse_from(["app", "--urls", "http://*:8080", "--database", "db"]);
/// let mut options = peregrine::Options::default();
/// cli.server.apply(&mut options);
/// assert_eq!(options.urls, ["http://*:8080"]);
/// ```
///
/// Each flag can also be given as an environment variable, whose name `--help` shows. A variable that is empty
/// counts as not set.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
#[command(mut_args = without_empty_variable)]
#[non_exhaustive]
pub struct Flags {
    /// The addresses to listen on, see [`Options::urls`]
    #[arg(help = "Addresses to listen on, separated by ';' [default: http://localhost:5000]")]
    #[arg(long_help = URLS_HELP)]
    #[arg(long, env = "PEREGRINE_URLS", value_name = "URLS", value_delimiter = ';')]
    #[arg(help_heading = "Listening")]
    pub urls: Vec<String>,

    /// Connections that may wait to be accepted, per worker and address [default: 4096]
    #[arg(long, env = "PEREGRINE_BACKLOG", value_name = "COUNT")]
    #[arg(value_parser = RangedU64ValueParser::<u32>::new().range(1..))]
    #[arg(help_heading = "Listening")]
    pub backlog: Option<u32>,

    /// Workers, each a thread with its own ring [default: one per usable CPU]
    #[arg(long, env = "PEREGRINE_WORKERS", value_name = "COUNT")]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    #[arg(help_heading = "Workers")]
    pub workers: Option<usize>,

    /// CPUs that the workers may use, e.g. 0-3,8 [default: all that this process may use]
    #[arg(long, env = "PEREGRINE_CPUS", value_name = "LIST")]
    #[arg(help_heading = "Workers")]
    pub cpus: Option<CpuList>,

    /// Let the kernel move the workers between CPUs
    #[arg(long, env = "PEREGRINE_NO_PIN", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = "Workers")]
    pub no_pin: bool,

    /// Kernel interface to serve with [default: auto]
    #[arg(long, env = "PEREGRINE_DRIVER", value_name = "DRIVER")]
    #[arg(help_heading = "Workers")]
    pub driver: Option<DriverChoice>,

    /// Microseconds that an idle worker looks for work before it sleeps [default: 0]
    #[arg(long, env = "PEREGRINE_BUSY_POLL_US", value_name = "MICROSECONDS")]
    #[arg(help_heading = "Workers")]
    pub busy_poll_us: Option<u64>,

    /// Microseconds that a worker may wait for more answers of a database [default: 200]
    #[arg(long, env = "PEREGRINE_COALESCE_US", value_name = "MICROSECONDS")]
    #[arg(help_heading = "Workers")]
    pub coalesce_us: Option<u64>,

    /// Newest step of the ladder of kernel features to use, 0 being the top
    #[arg(long, env = "PEREGRINE_DRIVER_RUNG", value_name = "STEP", hide = true)]
    #[arg(help_heading = "Workers")]
    pub driver_rung: Option<u8>,

    /// Certificate of endpoints of https, PEM with its chain behind it, or a PKCS#12 archive (.pfx, .p12)
    #[cfg(feature = "tls")]
    #[arg(long, env = "PEREGRINE_TLS_CERT", value_name = "FILE", help_heading = "TLS")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate, PEM [default: it is in the certificate's file]
    #[cfg(feature = "tls")]
    #[arg(long, env = "PEREGRINE_TLS_KEY", value_name = "FILE", help_heading = "TLS", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Password of the key or of the archive; better given by the variable, which other users do not see
    #[cfg(feature = "tls")]
    #[arg(long, env = "PEREGRINE_TLS_PASSWORD", value_name = "PASSWORD", help_heading = "TLS")]
    #[arg(requires = "tls_cert", hide_env_values = true)]
    pub tls_password: Option<String>,

    /// Authorities that client certificates must come from, PEM
    #[cfg(feature = "tls")]
    #[arg(long, env = "PEREGRINE_TLS_CLIENT_CA", value_name = "FILE", help_heading = "TLS")]
    pub tls_client_ca: Option<PathBuf>,

    /// Revoked client certificates, PEM or DER
    #[cfg(feature = "tls")]
    #[arg(long, env = "PEREGRINE_TLS_CLIENT_CRL", value_name = "FILE", help_heading = "TLS")]
    #[arg(requires = "tls_client_ca")]
    pub tls_client_crl: Option<PathBuf>,

    /// Whether clients are asked for a certificate [default: none]
    #[cfg(feature = "tls")]
    #[arg(long, env = "PEREGRINE_TLS_CLIENT_AUTH", value_name = "MODE", help_heading = "TLS")]
    pub tls_client_auth: Option<ClientCertificates>,

    /// Oldest version of TLS that is spoken [default: 1.2]
    #[cfg(feature = "tls")]
    #[arg(long, env = "PEREGRINE_TLS_MIN_VERSION", value_name = "VERSION", help_heading = "TLS")]
    pub tls_min_version: Option<TlsVersion>,

    /// Cipher suites by their IANA names, separated by ',', the most wanted first [default: all that are safe]
    #[cfg(feature = "tls")]
    #[arg(long, env = "PEREGRINE_TLS_CIPHER_SUITES", value_name = "SUITES", value_delimiter = ',')]
    #[arg(help_heading = "TLS")]
    pub tls_cipher_suites: Vec<String>,

    /// How long a handshake may take; also with a unit: 500ms, 10s [default: 10]
    #[cfg(feature = "tls")]
    #[arg(long, env = "PEREGRINE_TLS_HANDSHAKE_TIMEOUT", value_name = "SECONDS", help_heading = "TLS")]
    #[arg(value_parser = duration)]
    pub tls_handshake_timeout: Option<Duration>,

    /// Compute handshakes on threads beside the workers
    #[cfg(feature = "tls")]
    #[arg(long, env = "PEREGRINE_TLS_OFFLOAD_HANDSHAKES", help_heading = "TLS")]
    #[arg(value_parser = BoolishValueParser::new())]
    pub tls_offload_handshakes: bool,

    /// Largest request body, e.g. 64k, 30m or 1g in powers of 1024, or none for no limit [default: 30000000]
    #[arg(long, env = "PEREGRINE_MAX_REQUEST_BODY_SIZE", value_name = "BYTES")]
    #[arg(value_parser = body_size, help_heading = "Limits")]
    pub max_request_body_size: Option<BodySize>,

    /// Longest request line, line ending included [default: 8192]
    #[arg(long, env = "PEREGRINE_MAX_REQUEST_LINE_SIZE", value_name = "BYTES")]
    #[arg(value_parser = size, help_heading = "Limits")]
    pub max_request_line_size: Option<usize>,

    /// All header fields of a request together [default: 32768]
    #[arg(long, env = "PEREGRINE_MAX_REQUEST_HEADERS_TOTAL_SIZE", value_name = "BYTES")]
    #[arg(value_parser = size, help_heading = "Limits")]
    pub max_request_headers_total_size: Option<usize>,

    /// Header fields of a request [default: 100]
    #[arg(long, env = "PEREGRINE_MAX_REQUEST_HEADER_COUNT", value_name = "COUNT")]
    #[arg(help_heading = "Limits")]
    pub max_request_header_count: Option<usize>,

    /// How long a connection may stay idle; also with a unit: 500ms, 130s, 2m [default: 130]
    #[arg(long, env = "PEREGRINE_KEEP_ALIVE_TIMEOUT", value_name = "SECONDS")]
    #[arg(value_parser = duration, help_heading = "Limits")]
    pub keep_alive_timeout: Option<Duration>,

    /// How long the head of a request may take [default: 30]
    #[arg(long, env = "PEREGRINE_REQUEST_HEADERS_TIMEOUT", value_name = "SECONDS")]
    #[arg(value_parser = duration, help_heading = "Limits")]
    pub request_headers_timeout: Option<Duration>,

    /// How long a handler goes on when its client sends no more and waits for nothing that is sent [default: 1]
    #[arg(long, env = "PEREGRINE_HALF_CLOSED_TIMEOUT", value_name = "SECONDS")]
    #[arg(value_parser = duration, help_heading = "Limits")]
    pub half_closed_timeout: Option<Duration>,

    /// Bytes of a request that may wait to be read by a streaming handler, or none [default: 1048576]
    #[arg(long, env = "PEREGRINE_MAX_REQUEST_BUFFER_SIZE", value_name = "BYTES")]
    #[arg(value_parser = buffer_size, help_heading = "Limits")]
    pub max_request_buffer_size: Option<BufferSize>,

    /// Bytes of a streamed response that may wait to be sent, or none [default: 65536]
    #[arg(long, env = "PEREGRINE_MAX_RESPONSE_BUFFER_SIZE", value_name = "BYTES")]
    #[arg(value_parser = buffer_size, help_heading = "Limits")]
    pub max_response_buffer_size: Option<BufferSize>,

    /// Memory for all bodies that are being collected, or none for no limit [default: 1g]
    #[arg(long, env = "PEREGRINE_MAX_BUFFERED_BODIES_SIZE", value_name = "BYTES")]
    #[arg(value_parser = body_size, help_heading = "Limits")]
    pub max_buffered_bodies_size: Option<BodySize>,

    /// Connections that may be open at once, or none for no limit [default: none]
    #[arg(long, env = "PEREGRINE_MAX_CONCURRENT_CONNECTIONS", value_name = "COUNT")]
    #[arg(value_parser = count, help_heading = "Limits")]
    pub max_concurrent_connections: Option<BodySize>,

    /// Upgraded connections that may be open at once, or none [default: none]
    #[arg(long, env = "PEREGRINE_MAX_CONCURRENT_UPGRADED_CONNECTIONS", value_name = "COUNT")]
    #[arg(value_parser = count, help_heading = "Limits")]
    pub max_concurrent_upgraded_connections: Option<BodySize>,

    /// Connections that one IP address may have open at once, or none [default: none]
    #[arg(long, env = "PEREGRINE_MAX_CONNECTIONS_PER_ADDRESS", value_name = "COUNT")]
    #[arg(value_parser = count, help_heading = "Limits")]
    pub max_connections_per_address: Option<BodySize>,

    /// Requests that a connection may bring, or none [default: none]
    #[arg(long, env = "PEREGRINE_MAX_REQUESTS_PER_CONNECTION", value_name = "COUNT")]
    #[arg(value_parser = count, help_heading = "Limits")]
    pub max_requests_per_connection: Option<BodySize>,

    /// How old a connection may become, or none [default: none]
    #[arg(long, env = "PEREGRINE_MAX_CONNECTION_LIFETIME", value_name = "SECONDS")]
    #[arg(value_parser = lifetime, help_heading = "Limits")]
    pub max_connection_lifetime: Option<Lifetime>,

    /// Bytes per second at which a body must arrive, and after which grace period, or none [default: 240/5s]
    #[arg(long, env = "PEREGRINE_MIN_REQUEST_BODY_DATA_RATE", value_name = "RATE")]
    #[arg(value_parser = rate, help_heading = "Limits")]
    pub min_request_body_data_rate: Option<DataRate>,

    /// Bytes per second at which a client must read, and after which grace period, or none [default: 240/5s]
    #[arg(long, env = "PEREGRINE_MIN_RESPONSE_DATA_RATE", value_name = "RATE")]
    #[arg(value_parser = rate, help_heading = "Limits")]
    pub min_response_data_rate: Option<DataRate>,

    /// How long open requests may take to finish after Ctrl+C [default: 30]
    #[arg(long, env = "PEREGRINE_SHUTDOWN_TIMEOUT", value_name = "SECONDS")]
    #[arg(value_parser = duration, help_heading = "Limits")]
    pub shutdown_timeout: Option<Duration>,

    /// Directory that the application's files are relative to [default: the current one]
    #[arg(long, env = "PEREGRINE_CONTENT_ROOT", value_name = "DIRECTORY")]
    #[arg(help_heading = "Application")]
    pub content_root: Option<PathBuf>,

    /// Name of the environment, e.g. Development [default: Production]
    #[arg(long, env = "PEREGRINE_ENVIRONMENT", value_name = "NAME")]
    #[arg(help_heading = "Application")]
    pub environment: Option<String>,

    /// Leave the Server field out of the responses
    #[arg(long, env = "PEREGRINE_NO_SERVER_HEADER", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = "Application")]
    pub no_server_header: bool,

    /// Tell of each request that is refused, and why, on standard error
    #[arg(long, env = "PEREGRINE_LOG_REJECTIONS", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = "Diagnostics")]
    pub log_rejections: bool,

    /// Print how much memory the server would take, and for what, and exit
    #[arg(long, env = "PEREGRINE_MEMORY_PLAN", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = "Diagnostics")]
    pub memory_plan: bool,

    /// Print the routes, with their handlers, and exit
    #[arg(long, env = "PEREGRINE_ROUTES", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = "Diagnostics")]
    pub routes: bool,
}

const URLS_HELP: &str = "Addresses to listen on, separated by ';' [default: http://localhost:5000]

  http://127.0.0.1:5000      that address; IPv6 in brackets: http://[::1]:5000
  http://localhost:5000      both loopback addresses
  http://*:5000              all interfaces, IPv4 and IPv6
  http://unix:/run/app.sock  a Unix socket
  https://...                the same over TLS

Port 0 lets the kernel choose. In the environment Development https://localhost:5001 is a default, too.";

/// Limits; `None` lifts them. Under a name, because clap reads an `Option` in an `Option` as a flag
/// whose value may be left out.
type BodySize = Option<u64>;
type BufferSize = Option<usize>;
type Lifetime = Option<Duration>;
type DataRate = Option<MinDataRate>;

/// The command line of an application that has no flags of its own.
#[derive(Debug, Parser)]
#[command(about = "An HTTP server", max_term_width = 110)]
struct CommandLine {
    #[command(flatten)]
    flags: Flags,
}

impl Flags {
    /// Reads the process's command line and environment. Ends the process when they cannot be understood,
    /// with a message on standard error and exit code 2, and after printing what `--help` asks for.
    #[must_use]
    pub fn from_args() -> Self {
        CommandLine::parse().flags
    }

    /// Reads a command line, its first element being the program's name, and the process's environment.
    ///
    /// # Errors
    /// What cannot be understood, and also `--help`: the error's text is the answer.
    pub fn try_from_args<I, T>(args: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        Ok(CommandLine::try_parse_from(args)?.flags)
    }

    /// Lays what was given over `options`; the rest of them stays as it is.
    pub fn apply(self, options: &mut Options) {
        // An empty list is as good as none.
        if self.urls.iter().any(|url| !url.trim().is_empty()) {
            options.urls = self.urls;
        }
        set(&mut options.backlog, self.backlog);
        options.workers = self.workers.or(options.workers);
        options.cpus = self.cpus.or(options.cpus.take());
        options.pin &= !self.no_pin;
        set(&mut options.driver, self.driver);
        set(&mut options.busy_poll, self.busy_poll_us.map(Duration::from_micros));
        set(&mut options.coalesce, self.coalesce_us.map(Duration::from_micros));
        options.driver_rung = self.driver_rung.or(options.driver_rung);
        #[cfg(feature = "tls")]
        {
            let tls = &mut options.tls;
            if let Some(file) = self.tls_cert {
                let is_archive = file.extension().is_some_and(|extension| {
                    extension.eq_ignore_ascii_case("pfx") || extension.eq_ignore_ascii_case("p12")
                });
                let mut certificate = if is_archive {
                    Certificate::pkcs12(file)
                } else {
                    let key = self.tls_key.unwrap_or_else(|| file.clone());
                    Certificate::pem(file, key)
                };
                certificate.password = self.tls_password;
                tls.certificate = Some(certificate);
            }
            tls.client_ca = self.tls_client_ca.or(tls.client_ca.take());
            tls.client_crl = self.tls_client_crl.or(tls.client_crl.take());
            set(&mut tls.client_certificates, self.tls_client_auth);
            set(&mut tls.min_version, self.tls_min_version);
            if !self.tls_cipher_suites.is_empty() {
                tls.cipher_suites = self.tls_cipher_suites;
            }
            tls.handshake_timeout = self.tls_handshake_timeout.or(tls.handshake_timeout);
            tls.offload_handshakes |= self.tls_offload_handshakes;
        }
        let limits = &mut options.limits;
        set(&mut limits.max_request_body_size, self.max_request_body_size);
        set(&mut limits.max_request_line_size, self.max_request_line_size);
        set(&mut limits.max_request_headers_total_size, self.max_request_headers_total_size);
        set(&mut limits.max_request_header_count, self.max_request_header_count);
        set(&mut limits.max_request_buffer_size, self.max_request_buffer_size);
        set(&mut limits.max_response_buffer_size, self.max_response_buffer_size);
        set(&mut limits.max_buffered_bodies_size, self.max_buffered_bodies_size);
        set(&mut limits.max_concurrent_connections, self.max_concurrent_connections);
        set(&mut limits.max_concurrent_upgraded_connections, self.max_concurrent_upgraded_connections);
        let per_address = self.max_connections_per_address;
        let per_address =
            per_address.map(|count| count.map(|count| u32::try_from(count).unwrap_or(u32::MAX)));
        set(&mut limits.max_connections_per_address, per_address);
        set(&mut limits.max_requests_per_connection, self.max_requests_per_connection);
        set(&mut limits.max_connection_lifetime, self.max_connection_lifetime);
        set(&mut limits.min_request_body_data_rate, self.min_request_body_data_rate);
        set(&mut limits.min_response_data_rate, self.min_response_data_rate);
        set(&mut limits.keep_alive_timeout, self.keep_alive_timeout);
        set(&mut limits.request_headers_timeout, self.request_headers_timeout);
        set(&mut limits.half_closed_timeout, self.half_closed_timeout);
        set(&mut options.shutdown_timeout, self.shutdown_timeout);
        set(&mut options.content_root, self.content_root);
        set(&mut options.environment, self.environment);
        options.server_header &= !self.no_server_header;
        options.memory_plan |= self.memory_plan;
        options.print_routes |= self.routes;
        options.log_rejections |= self.log_rejections;
    }
}

fn set<T>(option: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *option = given;
    }
}

/// Takes the variable from an argument of ours if it is empty.
fn without_empty_variable(arg: Arg) -> Arg {
    let is_empty = |variable: &OsStr| {
        variable.as_encoded_bytes().starts_with(b"PEREGRINE_")
            && env::var_os(variable).is_some_and(|value| value.is_empty())
    };
    if arg.get_env().is_some_and(is_empty) { arg.env(Resettable::Reset) } else { arg }
}

/// Reads a number and what its unit multiplies it by.
fn number_with_unit(text: &str, units: &[(&str, u64)], expected: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let number = number.parse::<u64>().ok().zip(factor).and_then(|(number, (_, by))| number.checked_mul(*by));
    number.ok_or_else(|| format!("write {expected}"))
}

fn bytes(text: &str, expected: &str) -> Result<u64, String> {
    number_with_unit(text, &[("", 1), ("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30)], expected)
}

fn size(text: &str) -> Result<usize, String> {
    let size = bytes(text, "a number of bytes, e.g. 8192, 64k, 30m or 1g")?;
    usize::try_from(size).map_err(|error| error.to_string())
}

/// Reads a limit that may be none.
fn limit<T>(text: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    match text.to_ascii_lowercase().as_str() {
        "none" | "unlimited" => Ok(None),
        text => read(text).map(Some).map_err(|expected| format!("{expected}, or none")),
    }
}

fn body_size(text: &str) -> Result<BodySize, String> {
    limit(text, |text| bytes(text, "a number of bytes, e.g. 8192, 64k, 30m or 1g"))
}

fn buffer_size(text: &str) -> Result<BufferSize, String> {
    limit(text, size)
}

fn count(text: &str) -> Result<BodySize, String> {
    limit(text, |text| number_with_unit(text, &[("", 1)], "a number"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let units = [("", 1000), ("s", 1000), ("ms", 1), ("m", 60_000), ("h", 3_600_000)];
    let expected = "a number of seconds, e.g. 30, or with a unit: 500ms, 30s, 2m, 1h";
    number_with_unit(text, &units, expected).map(Duration::from_millis)
}

fn lifetime(text: &str) -> Result<Lifetime, String> {
    limit(text, duration)
}

/// Reads bytes per second, and behind a slash the grace period.
fn rate(text: &str) -> Result<DataRate, String> {
    limit(text, |text| {
        let (rate, grace) = text.split_once('/').unwrap_or((text, "5s"));
        let expected = "write bytes per second, e.g. 240 or 1k, and perhaps the grace period: 240/5s";
        let rate = bytes(rate, expected).ok().and_then(|rate| u32::try_from(rate).ok());
        let grace = duration(grace).ok();
        let (rate, grace) = rate.zip(grace).ok_or(expected)?;
        Ok(MinDataRate::new(rate, grace))
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::super::limits::Limits;
    use super::*;

    fn options_of(args: &[&str]) -> Options {
        let mut options = Options::default();
        parse(args).unwrap().apply(&mut options);
        options
    }

    fn parse(args: &[&str]) -> Result<Flags, clap::Error> {
        Flags::try_from_args([&["peregrine"], args].concat())
    }

    #[test]
    fn the_definition_is_sound() {
        <CommandLine as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn no_flag_changes_nothing() {
        // The test run itself may be told its driver by the environment.
        let driver = options_of(&[]).driver;
        assert_eq!(options_of(&[]), Options { driver, ..Options::default() });
        let set_by_code = Options {
            driver,
            urls: vec!["http://*:1".to_owned()],
            workers: Some(3),
            cpus: Some("0-2".parse().unwrap()),
            pin: false,
            server_header: false,
            ..Options::default()
        };
        let mut after = set_by_code.clone();
        parse(&[]).unwrap().apply(&mut after);
        assert_eq!(after, set_by_code);
    }

    #[test]
    fn every_flag_reaches_its_option_and_wins_over_the_code() {
        let args = "--urls http://*:80;http://[::1]:81 --backlog 7 --workers 2 --cpus 4-5 --no-pin --driver \
                    io_uring --busy-poll-us 50 --coalesce-us 70 --driver-rung 2 --content-root /tmp --environment Staging \
                    --no-server-header --memory-plan --routes --max-request-body-size 1m --max-request-line-size 4k \
                    --max-request-headers-total-size 16K --max-request-header-count 50 --keep-alive-timeout 2m \
                    --request-headers-timeout 10 --half-closed-timeout 3 --shutdown-timeout 500ms --max-request-buffer-size 2m \
                    --max-response-buffer-size none --max-buffered-bodies-size 1g --max-concurrent-connections 8 \
                    --max-concurrent-upgraded-connections 0 --max-connections-per-address 3 \
                    --max-requests-per-connection 1000 --max-connection-lifetime 1h \
                    --min-request-body-data-rate none --min-response-data-rate 1k/10s --log-rejections";
        let args: Vec<&str> = args.split_whitespace().collect();
        let urls = vec!["http://*:1".to_owned()];
        let mut options = Options { urls, workers: Some(9), backlog: 9, ..Options::default() };
        parse(&args).unwrap().apply(&mut options);

        let expected = Options {
            urls: vec!["http://*:80".to_owned(), "http://[::1]:81".to_owned()],
            backlog: 7,
            workers: Some(2),
            cpus: Some("4,5".parse().unwrap()),
            pin: false,
            driver: DriverChoice::IoUring,
            busy_poll: Duration::from_micros(50),
            coalesce: Duration::from_micros(70),
            driver_rung: Some(2),
            content_root: "/tmp".into(),
            environment: "Staging".to_owned(),
            server_header: false,
            memory_plan: true,
            print_routes: true,
            limits: Limits {
                max_request_body_size: Some(1 << 20),
                max_request_line_size: 4096,
                max_request_headers_total_size: 16_384,
                max_request_header_count: 50,
                keep_alive_timeout: Duration::from_secs(120),
                request_headers_timeout: Duration::from_secs(10),
                half_closed_timeout: Duration::from_secs(3),
                max_request_buffer_size: Some(2 << 20),
                max_response_buffer_size: None,
                max_buffered_bodies_size: Some(1 << 30),
                max_concurrent_connections: Some(8),
                max_concurrent_upgraded_connections: Some(0),
                max_connections_per_address: Some(3),
                max_requests_per_connection: Some(1000),
                max_connection_lifetime: Some(Duration::from_secs(3600)),
                min_request_body_data_rate: None,
                min_response_data_rate: Some(MinDataRate::new(1024, Duration::from_secs(10))),
            },
            log_rejections: true,
            shutdown_timeout: Duration::from_millis(500),
            ..Options::default()
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn sizes_and_durations_take_units() {
        for (text, expected) in [("0", 0), ("30000000", 30_000_000), ("64k", 65_536), ("1G", 1 << 30)] {
            assert_eq!(body_size(text), Ok(Some(expected)), "{text}");
            assert_eq!(size(text), Ok(expected as usize), "{text}");
        }
        assert_eq!((body_size("none"), body_size("Unlimited")), (Ok(None), Ok(None)));
        let lifted = options_of(&["--max-request-body-size", "none"]).limits;
        assert_eq!(lifted, Limits { max_request_body_size: None, ..Limits::default() });
        for text in ["", "k", "-1", "1.5m", "1 k", "1kb", "99999999999999999999", "17179869184g"] {
            assert!(body_size(text).unwrap_err().ends_with("or none"), "{text}");
            assert!(size(text).is_err(), "{text}");
        }
        for (text, millis) in
            [("30", 30_000), ("30s", 30_000), ("250ms", 250), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "1d", "1.5", "-1"] {
            assert!(duration(text).unwrap_err().starts_with("write a number of seconds"), "{text}");
        }
        let refusal = parse(&["--keep-alive-timeout", "soon"]).unwrap_err().to_string();
        assert!(refusal.contains("'--keep-alive-timeout <SECONDS>': write a number of seconds"), "{refusal}");
    }

    #[test]
    fn rates_take_a_grace_period_and_none_turns_them_off() {
        let five = Duration::from_secs(5);
        assert_eq!(rate("240"), Ok(Some(MinDataRate::new(240, five))));
        assert_eq!(rate("1k/1500ms"), Ok(Some(MinDataRate::new(1024, Duration::from_millis(1500)))));
        assert_eq!(rate("none"), Ok(None));
        for text in ["", "/5s", "240/", "240/soon", "5000000000", "-1"] {
            assert!(rate(text).unwrap_err().contains("240/5s"), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_understood_says_what_could() {
        let refusal = |args: &[&str]| parse(args).unwrap_err().to_string();
        assert!(refusal(&["--workers", "0"]).contains("0 is not in 1.."));
        assert!(refusal(&["--backlog", "0"]).contains("0 is not in 1.."));
        assert!(refusal(&["--cpus", "3-1"]).contains("the range 3-1 runs backwards"));
        assert!(refusal(&["--driver", "kqueue"]).contains("[possible values: auto, io_uring, epoll]"));
        assert!(refusal(&["--url", "x"]).contains("'--urls'"), "a near miss is named");
    }

    #[test]
    fn help_is_grouped_and_hides_what_is_not_for_users() {
        let help = parse(&["--help"]).unwrap_err().to_string();
        let at = |text: &str| help.find(text).unwrap_or_else(|| panic!("no {text} in\n{help}"));
        assert!(at("Listening:") < at("--urls") && at("--urls") < at("Workers:"));
        assert!(at("Workers:") < at("--cpus") && at("--cpus") < at("Limits:"));
        assert!(at("Limits:") < at("--keep-alive-timeout") && at("--shutdown-timeout") < at("Application:"));
        assert!(at("[env: PEREGRINE_NO_PIN") > 0);
        assert!(!help.contains("driver-rung"));
        // An application's version is not the engine's.
        assert!(parse(&["--version"]).unwrap_err().to_string().contains("unexpected argument"));
    }

    #[test]
    fn flags_can_be_part_of_an_applications_own_command_line() {
        /// About the application
        #[derive(Parser)]
        struct Cli {
            #[command(flatten)]
            server: Flags,
            #[arg(long)]
            database: String,
        }
        let cli = Cli::parse_from(["app", "--database", "db", "--workers", "1"]);
        assert_eq!((cli.database.as_str(), cli.server.workers), ("db", Some(1)));
        let help = <Cli as clap::CommandFactory>::command().render_help().to_string();
        assert!(help.starts_with("About the application"), "{help}");
    }

    /// Runs only as the child of the test below, whose environment is its own.
    #[test]
    #[ignore = "needs the environment that its parent sets"]
    fn child_reads_its_environment() {
        let mut options = options_of(&["--workers", "2"]);
        assert_eq!(options.urls, ["http://*:80", "http://*:81"]);
        assert_eq!(options.workers, Some(2), "the flag wins over PEREGRINE_WORKERS");
        assert_eq!(options.environment, "Development");
        assert_eq!(options.driver, DriverChoice::Epoll);
        assert!(!options.pin && options.server_header);
        assert_eq!(options.limits.max_request_body_size, None);
        assert_eq!(options.limits.keep_alive_timeout, Duration::from_millis(1500));
        let flags = parse(&["--max-request-body-size", "2k", "--keep-alive-timeout", "3"]).unwrap();
        flags.apply(&mut options);
        assert_eq!(options.limits.max_request_body_size, Some(2048), "the flag wins over the variable");
        assert_eq!(options.limits.keep_alive_timeout, Duration::from_secs(3));
        options.environment = "set by code".to_owned();
        parse(&[]).unwrap().apply(&mut options);
        assert_eq!(options.environment, "Development", "the variable wins over the code");
    }

    /// Runs only as the child of the test below.
    #[test]
    #[ignore = "needs the environment that its parent sets"]
    fn child_reads_empty_variables() {
        assert_eq!(options_of(&[]), Options::default());
        assert_eq!(options_of(&["--workers", "2"]).workers, Some(2));
        assert!(!options_of(&["--no-pin"]).pin);
    }

    #[test]
    fn empty_variables_count_as_not_set() {
        let command = <CommandLine as clap::CommandFactory>::command();
        let mut child = child("child_reads_empty_variables");
        let variables: Vec<&OsStr> = command.get_arguments().filter_map(Arg::get_env).collect();
        assert!(variables.len() > 15);
        assert_succeeds(child.envs(variables.into_iter().map(|variable| (variable, ""))));
    }

    fn child(test: &str) -> Command {
        let module = module_path!().split_once("::").unwrap().1;
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--ignored", "--exact"]).arg(format!("{module}::{test}")).stderr(Stdio::inherit());
        child
    }

    fn assert_succeeds(child: &mut Command) {
        let child = child.output().unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    fn variables_count_unless_a_flag_is_given() {
        let mut child = child("child_reads_its_environment");
        child
            .env("PEREGRINE_URLS", "http://*:80;http://*:81")
            .env("PEREGRINE_WORKERS", "9")
            .env("PEREGRINE_ENVIRONMENT", "Development")
            .env("PEREGRINE_DRIVER", "epoll")
            .env("PEREGRINE_NO_PIN", "1")
            .env("PEREGRINE_NO_SERVER_HEADER", "false")
            .env("PEREGRINE_MAX_REQUEST_BODY_SIZE", "unlimited")
            .env("PEREGRINE_KEEP_ALIVE_TIMEOUT", "1500ms");
        assert_succeeds(&mut child);
    }
}
