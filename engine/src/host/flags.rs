//! The command line and its environment variables, laid over the options that the code has set.
//!
//! A flag wins over its variable, that over the code, the code over the default. Needs the feature `cli`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::{BoolishValueParser, RangedU64ValueParser};

use super::options::{DriverChoice, Options};
use super::placement::CpuList;

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
/// Each flag can also be given as an environment variable, whose name `--help` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
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

    /// Newest step of the ladder of kernel features to use, 0 being the top
    #[arg(long, env = "PEREGRINE_DRIVER_RUNG", value_name = "STEP", hide = true)]
    #[arg(help_heading = "Workers")]
    pub driver_rung: Option<u8>,

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

    /// Print how much memory the server would take, and for what, and exit
    #[arg(long, env = "PEREGRINE_MEMORY_PLAN", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = "Diagnostics")]
    pub memory_plan: bool,
}

const URLS_HELP: &str = "Addresses to listen on, separated by ';' [default: http://localhost:5000]

  http://127.0.0.1:5000      that address; IPv6 in brackets: http://[::1]:5000
  http://localhost:5000      both loopback addresses
  http://*:5000              all interfaces, IPv4 and IPv6
  http://unix:/run/app.sock  a Unix socket

Port 0 lets the kernel choose.";

/// The command line of an application that has no flags of its own.
#[derive(Debug, Parser)]
#[command(version, about = "An HTTP server on Peregrine", max_term_width = 110)]
struct CommandLine {
    #[command(flatten)]
    flags: Flags,
}

impl Flags {
    /// Reads the process's command line and environment. Ends the process when they cannot be understood,
    /// with a message on standard error and exit code 2, and after printing what `--help` or `--version` ask
    /// for.
    #[must_use]
    pub fn from_args() -> Self {
        CommandLine::parse().flags
    }

    /// Reads a command line, its first element being the program's name, and the process's environment.
    ///
    /// # Errors
    /// What cannot be understood, and also `--help` and `--version`: the error's text is the answer.
    pub fn try_from_args<I, T>(args: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        Ok(CommandLine::try_parse_from(args)?.flags)
    }

    /// Lays what was given over `options`; the rest of them stays as it is.
    pub fn apply(self, options: &mut Options) {
        // An empty variable is as good as none.
        if self.urls.iter().any(|url| !url.trim().is_empty()) {
            options.urls = self.urls;
        }
        set(&mut options.backlog, self.backlog);
        options.workers = self.workers.or(options.workers);
        options.cpus = self.cpus.or(options.cpus.take());
        options.pin &= !self.no_pin;
        set(&mut options.driver, self.driver);
        set(&mut options.busy_poll, self.busy_poll_us.map(Duration::from_micros));
        options.driver_rung = self.driver_rung.or(options.driver_rung);
        set(&mut options.content_root, self.content_root);
        set(&mut options.environment, self.environment);
        options.server_header &= !self.no_server_header;
        options.memory_plan |= self.memory_plan;
    }
}

fn set<T>(option: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *option = given;
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::{Command, Stdio};

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
                    io_uring --busy-poll-us 50 --driver-rung 2 --content-root /tmp --environment Staging \
                    --no-server-header --memory-plan";
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
            driver_rung: Some(2),
            content_root: "/tmp".into(),
            environment: "Staging".to_owned(),
            server_header: false,
            memory_plan: true,
            ..Options::default()
        };
        assert_eq!(options, expected);
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
        assert!(at("Workers:") < at("--cpus") && at("--cpus") < at("Application:"));
        assert!(at("[env: PEREGRINE_NO_PIN") > 0);
        assert!(!help.contains("driver-rung"));
        assert!(parse(&["--version"]).unwrap_err().to_string().contains(env!("CARGO_PKG_VERSION")));
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
        options.environment = "set by code".to_owned();
        parse(&[]).unwrap().apply(&mut options);
        assert_eq!(options.environment, "Development", "the variable wins over the code");
    }

    #[test]
    fn variables_count_unless_a_flag_is_given() {
        let module = module_path!().split_once("::").unwrap().1;
        let child = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact"])
            .arg(format!("{module}::child_reads_its_environment"))
            .env("PEREGRINE_URLS", "http://*:80;http://*:81")
            .env("PEREGRINE_WORKERS", "9")
            .env("PEREGRINE_ENVIRONMENT", "Development")
            .env("PEREGRINE_DRIVER", "epoll")
            .env("PEREGRINE_NO_PIN", "1")
            .env("PEREGRINE_NO_SERVER_HEADER", "false")
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
    }
}
