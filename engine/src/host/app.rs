//! The application as its author builds it: options, routes, and the start.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use super::error::{Result, StartError};
use super::options::Options;
use super::server::{self, Server};
use crate::app::{
    Blueprint, Endpoint, Handler, MakeState, Methods, Route, RouteError, RouteLimits, Router, Routes,
};
use crate::http::{Error, Method, Need, Needs, WorkerInfo};

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
    fallback: Option<Endpoint>,
    connect: Option<Endpoint>,
    limits: Vec<(String, ChangeLimits)>,
    states: Vec<(Need, MakeState)>,
    shared: Vec<(Need, Arc<dyn Any + Send + Sync>)>,
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

    fn route<M>(&mut self, methods: Methods, template: &str, handler: impl Handler<M>) -> &mut Self {
        let endpoint = handler.endpoint();
        self.routes.push(Route { methods, template: template.to_owned(), endpoint });
        self
    }

    /// Answers GET, and HEAD with the same head, for paths that match `template`: `/users/{id}` captures one
    /// segment, `/files/{*rest}` the rest of the path. Templates are checked at the start.
    ///
    /// Paths are case-sensitive, and `/users/` is another path than `/users`. Neither `{id}` nor `{*rest}`
    /// matches nothing: `/files/{*rest}` does not match `/files/`. A path that has routes, but none for the
    /// method, is answered with 405 and `Allow`.
    pub fn get<M>(&mut self, template: &str, handler: impl Handler<M>) -> &mut Self {
        self.route(Methods::One(Method::Get), template, handler)
    }

    /// Answers POST; templates as in [`get`](Self::get).
    pub fn post<M>(&mut self, template: &str, handler: impl Handler<M>) -> &mut Self {
        self.route(Methods::One(Method::Post), template, handler)
    }

    /// Answers PUT; templates as in [`get`](Self::get).
    pub fn put<M>(&mut self, template: &str, handler: impl Handler<M>) -> &mut Self {
        self.route(Methods::One(Method::Put), template, handler)
    }

    /// Answers PATCH; templates as in [`get`](Self::get).
    pub fn patch<M>(&mut self, template: &str, handler: impl Handler<M>) -> &mut Self {
        self.route(Methods::One(Method::Patch), template, handler)
    }

    /// Answers DELETE; templates as in [`get`](Self::get).
    pub fn delete<M>(&mut self, template: &str, handler: impl Handler<M>) -> &mut Self {
        self.route(Methods::One(Method::Delete), template, handler)
    }

    /// Answers HEAD in another way than by GET's head; templates as in [`get`](Self::get).
    pub fn head<M>(&mut self, template: &str, handler: impl Handler<M>) -> &mut Self {
        self.route(Methods::One(Method::Head), template, handler)
    }

    /// Answers OPTIONS in another way than with `Allow`; templates as in [`get`](Self::get).
    pub fn options<M>(&mut self, template: &str, handler: impl Handler<M>) -> &mut Self {
        self.route(Methods::One(Method::Options), template, handler)
    }

    /// Answers every method that has no handler of its own; templates as in [`get`](Self::get).
    pub fn any<M>(&mut self, template: &str, handler: impl Handler<M>) -> &mut Self {
        self.route(Methods::Any, template, handler)
    }

    /// Answers what no template matches, instead of 404. It does not get the requests whose path matches but
    /// whose method does not: these are answered with 405.
    pub fn fallback<M>(&mut self, handler: impl Handler<M>) -> &mut Self {
        self.fallback = Some(handler.endpoint());
        self
    }

    /// Answers `method`; templates as in [`get`](Self::get).
    ///
    /// # Panics
    /// `method` is [`Method::Other`], [`Method::Trace`] or [`Method::Connect`], which routes cannot name.
    pub fn on<M>(&mut self, method: Method, template: &str, handler: impl Handler<M>) -> &mut Self {
        let named = !matches!(method, Method::Other | Method::Trace | Method::Connect);
        assert!(named, "no route can name the method {method:?}; for CONNECT there is App::connect");
        self.route(Methods::One(method), template, handler)
    }

    /// Answers CONNECT, whose target is a host and a port instead of a path: see
    /// [`Exchange::accept_connect`](crate::Exchange::accept_connect). Without such a handler CONNECT is answered with
    /// 404.
    ///
    /// # Panics
    /// `handler` takes no [`Exchange`](crate::Exchange): no other makes a tunnel, which a success would promise.
    pub fn connect<M>(&mut self, handler: impl Handler<M>) -> &mut Self {
        let endpoint = handler.endpoint();
        assert!(endpoint.streams(), "a handler of CONNECT takes an Exchange");
        self.connect = Some(endpoint);
        self
    }

    /// Makes state for the handlers of each worker, once, when the worker starts and on its own thread: what `make`
    /// returns needs no lock and need not be `Send`. Handlers take it as [`State`](crate::State). A panic of `make`
    /// keeps the server from starting.
    ///
    /// ```
    /// use std::cell::RefCell;
    /// use std::collections::HashMap;
    ///
    /// let mut app = peregrine::App::new();
    /// app.state(|_worker| RefCell::new(HashMap::<u64, String>::new()));
    /// ```
    pub fn state<T: 'static>(
        &mut self,
        make: impl Fn(&WorkerInfo) -> T + Send + Sync + 'static,
    ) -> &mut Self {
        let make: MakeState = Arc::new(move |worker| Rc::new(make(worker)));
        self.states.push((need(Needs::state::<T>), make));
        self
    }

    /// Gives all workers a value to share, which handlers take as [`Shared`](crate::Shared).
    pub fn shared<T: Send + Sync + 'static>(&mut self, value: Arc<T>) -> &mut Self {
        self.shared.push((need(Needs::shared::<T>), value));
        self
    }

    /// Changes limits for the routes of one template, which must have a handler when the server starts. `change`
    /// is given those of the server.
    ///
    /// ```
    /// let mut app = peregrine::App::new();
    /// app.post("/upload", || "thanks");
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
    ///     app.get("/debug", |request: &peregrine::Request| request.target().to_owned());
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

    /// Finds state that is missing, or made twice.
    fn check_needs(&self) -> Result<()> {
        let routes = self.routes.iter().map(|route| (route.template.as_str(), route.endpoint));
        let others = [("the fallback", self.fallback), ("CONNECT", self.connect)];
        let others = others.into_iter().filter_map(|(name, endpoint)| Some((name, endpoint?)));
        let has: Vec<Need> = self
            .states
            .iter()
            .map(|(need, _)| *need)
            .chain(self.shared.iter().map(|(need, _)| *need))
            .collect();
        for (at, need) in has.iter().enumerate() {
            if has[..at].contains(need) {
                return Err(StartError::StateTwice { name: need.name });
            }
        }
        for (pattern, endpoint) in routes.chain(others) {
            let mut needs = Needs::default();
            (endpoint.needs)(&mut needs);
            if let Some(need) = needs.needs.iter().find(|need| !has.contains(need)) {
                let Need { name, is_shared, .. } = *need;
                return Err(StartError::MissingState { pattern: pattern.to_owned(), name, is_shared });
            }
        }
        Ok(())
    }

    fn compile(&self) -> Result<Blueprint> {
        self.check_needs()?;
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
            connect: self.connect,
            limits,
            own_limits,
        };
        let router = Router::new(&routes)
            .map_err(|RouteError { template, problem }| StartError::Route { pattern: template, problem })?;
        Ok(Blueprint {
            router,
            states: self.states.iter().map(|(_, make)| Arc::clone(make)).collect(),
            shared: self.shared.iter().map(|(_, value)| Arc::clone(value)).collect(),
        })
    }

    /// Serves until SIGINT or SIGTERM, then drains. Prints the start-up lines on standard output.
    ///
    /// # Errors
    /// Why it could not start, in one sentence; or that a worker failed. Each is a [`StartError`].
    pub fn run(&self) -> Result<(), Error> {
        Ok(server::run(self.configuration(), &self.compile()?)?)
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
    /// app.get("/", || "hi");
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

/// The one need that `note` notes.
fn need(note: fn(&mut Needs)) -> Need {
    let mut needs = Needs::default();
    note(&mut needs);
    needs.needs[0]
}
