//! The application as its author builds it: options, routes, and the start.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use super::client::TestClient;
use super::error::{Result, StartError};
use super::options::Options;
use super::server::{self, Server};
use crate::app::{Blueprint, Handler, MakeState, ROOT, Registry, RouteError, registers};
use crate::http::{Error, Need, Needs, WorkerInfo};

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
    pub(super) registry: Registry,
    states: Vec<(Need, MakeState)>,
    shared: Vec<(Need, Arc<dyn Any + Send + Sync>)>,
    #[cfg(feature = "tower")]
    pub(super) mounts: Vec<crate::app::MakeMount>,
}

registers!(App, self => self.registry, ROOT);

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

    /// Answers CONNECT, whose target is a host and a port instead of a path: see
    /// [`Exchange::accept_connect`](crate::Exchange::accept_connect). Without such a handler CONNECT is answered with
    /// 404.
    ///
    /// # Panics
    /// `handler` takes no [`Exchange`](crate::Exchange): no other makes a tunnel, which a success would promise.
    pub fn connect<M>(&mut self, handler: impl Handler<M>) -> &mut Self {
        let endpoint = handler.endpoint();
        assert!(endpoint.call.streams(), "a handler of CONNECT takes an Exchange");
        self.registry.set_connect(endpoint);
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

    /// Takes over another application's routes, groups, middleware and state, below `prefix` (`""` for none). Its
    /// options, its handler of CONNECT and what it was told on the command line stay behind.
    ///
    /// ```
    /// use peregrine::App;
    ///
    /// fn shop() -> App {
    ///     let mut shop = App::new();
    ///     shop.get("/things", || "things");
    ///     shop
    /// }
    ///
    /// let mut app = App::new();
    /// app.nest("/shop", shop()); // GET /shop/things
    /// ```
    pub fn nest(&mut self, prefix: &str, app: App) -> &mut Self {
        let scope = self.registry.add_scope(ROOT, prefix);
        #[cfg(feature = "tower")]
        let mounts = {
            let mounts = self.mounts.len();
            self.mounts.extend(app.mounts);
            mounts
        };
        #[cfg(not(feature = "tower"))]
        let mounts = 0;
        self.registry.nest(scope, &app.registry, mounts);
        self.states.extend(app.states);
        self.shared.extend(app.shared);
        self
    }

    /// The routes, a line each, in the order of their registration: methods, template, handler, and how much
    /// middleware is around it. What `--routes` prints.
    #[must_use]
    pub fn routes(&self) -> String {
        super::banner::routes(&self.registry.list())
    }

    /// The options that the server would start with now: the defaults, what the code has set, and over that
    /// the environment and the command line of `from_args`. For what an application decides
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
        let mut missing = None;
        self.registry.needs(|pattern, needs| {
            if let Some(need) = needs.needs.iter().find(|need| !has.contains(need)) {
                missing.get_or_insert((pattern.to_owned(), *need));
            }
        });
        match missing {
            None => Ok(()),
            Some((pattern, Need { name, is_shared, .. })) => {
                Err(StartError::MissingState { pattern, name, is_shared })
            }
        }
    }

    fn compile(&self) -> Result<Blueprint> {
        self.check_needs()?;
        let limits = self.configuration().limits.of_routes();
        for (_, own) in self.registry.own_limits(limits) {
            super::limits::check_rates(own.min_request_body_data_rate, own.min_response_data_rate)?;
        }
        let router = self
            .registry
            .compile(limits)
            .map_err(|RouteError { template, problem }| StartError::Route { pattern: template, problem })?;
        Ok(Blueprint {
            router,
            states: self.states.iter().map(|(_, make)| Arc::clone(make)).collect(),
            shared: self.shared.iter().map(|(_, value)| Arc::clone(value)).collect(),
            #[cfg(feature = "tower")]
            mounts: self.mounts.clone(),
        })
    }

    /// Serves until SIGINT or SIGTERM, then drains. Prints the start-up lines on standard output.
    ///
    /// # Errors
    /// Why it could not start, in one sentence; or that a worker failed. Each is a [`StartError`].
    pub fn run(&self) -> Result<(), Error> {
        let (options, blueprint) = (self.configuration(), self.compile()?);
        if options.print_routes {
            super::banner::print_routes(&self.routes());
            return Ok(());
        }
        Ok(server::run(options, &blueprint)?)
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

    /// A client that is served by this application in memory, on the calling thread: for tests. Everything is there but
    /// the sockets: parser, limits, routes, handlers, timers. Of the options those count that have to do with
    /// requests; nothing is listened on, and there is one worker.
    ///
    /// ```
    /// use peregrine::prelude::*;
    ///
    /// let mut app = App::new();
    /// app.get("/users/{id}", |Path(id): Path<u64>| format!("user {id}"));
    ///
    /// let mut client = app.client()?;
    /// let response = client.get("/users/7").send();
    /// assert_eq!((response.status(), response.text()), (200, "user 7"));
    /// assert_eq!(client.get("/users/me").send().status(), 400);
    /// # Ok::<(), peregrine::StartError>(())
    /// ```
    ///
    /// # Errors
    /// Why a server could not start, as far as it is not about addresses or workers.
    pub fn client(&self) -> Result<TestClient> {
        TestClient::new(&self.configuration().checked()?, self.compile()?)
    }
}

/// The one need that `note` notes.
fn need(note: fn(&mut Needs)) -> Need {
    let mut needs = Needs::default();
    note(&mut needs);
    needs.needs[0]
}
