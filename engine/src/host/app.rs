//! The application as its author builds it: options, routes, and the start.

use std::sync::Arc;

use super::error::{Result, StartError};
use super::options::Options;
use super::server::{self, Server};
use crate::app::{
    Answer, Handler, Methods, Route, RouteError, RouteLimits, Router, Routes, StreamingHandler, streaming,
};
use crate::http::{Exchange, Method, Outcome};

/// An application: routes, and the server that they run on.
///
/// ```no_run
/// use peregrine::prelude::*;
///
/// fn hello(_: &Request, response: &mut Response) {
///     response.text("Hello, World!");
/// }
///
/// fn main() -> Result<()> {
///     let mut app = App::new();
///     app.get("/", hello);
///     app.run()
/// }
/// ```
#[derive(Clone, Default)]
pub struct App {
    options: Options,
    /// What the command line and the environment ask for: it wins over what the code says.
    #[cfg(feature = "cli")]
    flags: Option<super::Flags>,
    routes: Vec<Route>,
    fallback: Option<Handler>,
    connect: Option<StreamingHandler>,
    limits: Vec<(String, ChangeLimits)>,
}

/// What [`App::limits_for`] was told.
type ChangeLimits = Arc<dyn Fn(&mut RouteLimits) + Send + Sync>;

impl App {
    /// An application with default options: `http://localhost:5000`, a worker per CPU.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An application with these options.
    #[must_use]
    pub fn with_options(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// An application configured by the command line and the environment, with the flags of the `peregrine`
    /// command: `--urls`, `--workers` and so on. A flag wins over the environment, and that over what the
    /// code says in [`configure`](Self::configure). `--help` and flags that do not exist end the process, as
    /// users expect of a command.
    ///
    /// For flags of your own beside these, or a `--version`, see [`Flags`](crate::Flags).
    ///
    /// # Errors
    /// This version has none to report.
    #[cfg(feature = "cli")]
    pub fn from_args() -> Result<Self> {
        Ok(Self { flags: Some(super::Flags::from_args()), ..Self::default() })
    }

    /// Changes the options, as Kestrel's `ConfigureKestrel`.
    ///
    /// ```
    /// let mut app = peregrine::App::new();
    /// app.configure(|options| options.limits.max_request_body_size = Some(1_000_000));
    /// ```
    pub fn configure(&mut self, change: impl FnOnce(&mut Options)) -> &mut Self {
        change(&mut self.options);
        self
    }

    fn route(&mut self, methods: Methods, template: &str, handler: Handler) -> &mut Self {
        self.routes.push(Route { methods, template: template.to_owned(), answer: Answer::Whole(handler) });
        self
    }

    /// Answers GET, and HEAD with the same head, for paths that match `template`: `/users/{id}` captures one
    /// segment, `/files/{*rest}` the rest of the path. Templates are checked at the start.
    ///
    /// Paths are case-sensitive, and `/users/` is another path than `/users`. Neither `{id}` nor `{*rest}`
    /// matches nothing: `/files/{*rest}` does not match `/files/`. A path that has routes, but none for the
    /// method, is answered with 405 and `Allow`.
    pub fn get(&mut self, template: &str, handler: Handler) -> &mut Self {
        self.route(Methods::One(Method::Get), template, handler)
    }

    /// Answers POST; templates as in [`get`](Self::get).
    pub fn post(&mut self, template: &str, handler: Handler) -> &mut Self {
        self.route(Methods::One(Method::Post), template, handler)
    }

    /// Answers PUT; templates as in [`get`](Self::get).
    pub fn put(&mut self, template: &str, handler: Handler) -> &mut Self {
        self.route(Methods::One(Method::Put), template, handler)
    }

    /// Answers PATCH; templates as in [`get`](Self::get).
    pub fn patch(&mut self, template: &str, handler: Handler) -> &mut Self {
        self.route(Methods::One(Method::Patch), template, handler)
    }

    /// Answers DELETE; templates as in [`get`](Self::get).
    pub fn delete(&mut self, template: &str, handler: Handler) -> &mut Self {
        self.route(Methods::One(Method::Delete), template, handler)
    }

    /// Answers HEAD in another way than by GET's head; templates as in [`get`](Self::get).
    pub fn head(&mut self, template: &str, handler: Handler) -> &mut Self {
        self.route(Methods::One(Method::Head), template, handler)
    }

    /// Answers OPTIONS in another way than with `Allow`; templates as in [`get`](Self::get).
    pub fn options(&mut self, template: &str, handler: Handler) -> &mut Self {
        self.route(Methods::One(Method::Options), template, handler)
    }

    /// Answers every method that has no handler of its own; templates as in [`get`](Self::get).
    pub fn any(&mut self, template: &str, handler: Handler) -> &mut Self {
        self.route(Methods::Any, template, handler)
    }

    /// Answers what no template matches, instead of 404. It does not get the requests whose path matches but
    /// whose method does not: these are answered with 405.
    pub fn fallback(&mut self, handler: Handler) -> &mut Self {
        self.fallback = Some(handler);
        self
    }

    /// Answers `method` by a handler that streams: see [`Exchange`]. Templates as in [`get`](Self::get); a handler
    /// of GET answers HEAD too, with whatever it writes swallowed.
    ///
    /// ```
    /// use peregrine::{App, Exchange, ExchangeError, Method};
    ///
    /// async fn numbers(mut exchange: Exchange) -> Result<(), ExchangeError> {
    ///     let mut stream = exchange.start(|head| {
    ///         head.field("Content-Type", "text/plain");
    ///     })?;
    ///     for number in 0..1_000_000 {
    ///         stream.write(format!("{number}\n").as_bytes()).await?;
    ///     }
    ///     stream.finish()
    /// }
    ///
    /// let mut app = App::new();
    /// app.stream(Method::Get, "/numbers", numbers);
    /// ```
    ///
    /// # Panics
    /// `method` is [`Method::Other`], [`Method::Trace`] or [`Method::Connect`], which routes cannot name.
    pub fn stream<H, F>(&mut self, method: Method, template: &str, handler: H) -> &mut Self
    where
        H: Fn(Exchange) -> F + Send + Sync + 'static,
        F: Future<Output: Outcome> + 'static,
    {
        let named = !matches!(method, Method::Other | Method::Trace | Method::Connect);
        assert!(named, "no route can name the method {method:?}; for CONNECT there is App::connect");
        let answer = Answer::Streaming(streaming(handler));
        self.routes.push(Route { methods: Methods::One(method), template: template.to_owned(), answer });
        self
    }

    /// Answers CONNECT, whose target is a host and a port instead of a path: see [`Exchange::accept_connect`].
    /// Without such a handler CONNECT is answered with 404.
    pub fn connect<H, F>(&mut self, handler: H) -> &mut Self
    where
        H: Fn(Exchange) -> F + Send + Sync + 'static,
        F: Future<Output: Outcome> + 'static,
    {
        self.connect = Some(streaming(handler));
        self
    }

    /// Changes limits for the routes of one template, which must have a handler when the server starts. `change`
    /// is given those of the server.
    ///
    /// ```
    /// let mut app = peregrine::App::new();
    /// app.post("/upload", |_, response| response.text("thanks"));
    /// app.limits_for("/upload", |limits| limits.max_request_body_size = Some(1 << 30));
    /// ```
    pub fn limits_for(
        &mut self,
        template: &str,
        change: impl Fn(&mut RouteLimits) + Send + Sync + 'static,
    ) -> &mut Self {
        self.limits.push((template.to_owned(), Arc::new(change)));
        self
    }

    /// The options that the server would start with now: the defaults, what the code has set, and over that
    /// the environment and the command line of [`from_args`](Self::from_args). For what an application decides
    /// by them:
    ///
    /// ```
    /// let mut app = peregrine::App::new();
    /// if app.configuration().environment == "Development" {
    ///     app.get("/debug", |request, response| response.text(request.target()));
    /// }
    /// ```
    #[must_use]
    pub fn configuration(&self) -> Options {
        #[cfg_attr(not(feature = "cli"), expect(unused_mut, reason = "only flags change them"))]
        let mut options = self.options.clone();
        #[cfg(feature = "cli")]
        if let Some(flags) = self.flags.clone() {
            flags.apply(&mut options);
        }
        options
    }

    fn compile(&self) -> Result<Router> {
        let limits = self.configuration().limits.of_routes();
        let mut own_limits: Vec<(String, RouteLimits)> = Vec::new();
        for (template, change) in &self.limits {
            let known = own_limits.iter().position(|(known, _)| known == template);
            let at = known.unwrap_or_else(|| {
                own_limits.push((template.clone(), limits));
                own_limits.len() - 1
            });
            change(&mut own_limits[at].1);
        }
        for (_, own) in &own_limits {
            super::limits::check_rates(own.min_request_body_data_rate, own.min_response_data_rate)?;
        }
        let routes = Routes {
            routes: self.routes.clone(),
            fallback: self.fallback,
            connect: self.connect.clone(),
            limits,
            own_limits,
        };
        Router::new(&routes)
            .map_err(|RouteError { template, problem }| StartError::Route { pattern: template, problem })
    }

    /// Serves until SIGINT or SIGTERM, then drains. Prints the start-up lines on standard output.
    ///
    /// # Errors
    /// Why it could not start, in one sentence; or that a worker failed.
    pub fn run(&self) -> Result<()> {
        server::run(self.configuration(), &self.compile()?)
    }

    /// Serves in the background, without start-up lines and without touching signals. Returns once connections
    /// are accepted. What [`run`](Self::run) would warn of is in [`Server::warnings`]; a handler that fails is
    /// still reported on standard error, by its panic or by why its response could not be sent.
    ///
    /// ```
    /// use peregrine::{App, Options};
    ///
    /// let mut options = Options::default();
    /// options.urls = vec!["http://127.0.0.1:0".to_owned()];
    /// let mut app = App::with_options(options);
    /// app.get("/", |_, response| response.text("hi"));
    /// let server = app.start()?;
    /// println!("{}", server.addresses()[0]);
    /// server.shutdown()?;
    /// # Ok::<(), peregrine::StartError>(())
    /// ```
    ///
    /// # Errors
    /// Why it could not start, in one sentence.
    pub fn start(&self) -> Result<Server> {
        Server::start(self.configuration(), &self.compile()?)
    }
}
