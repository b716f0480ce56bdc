//! What an application has registered: routes in groups, with their middleware.
//!
//! Owns the registrations as they were made, and makes the [`Router`] of them at the start. It must not know options,
//! workers or requests.

use std::sync::Arc;

use super::handler::Endpoint;
use super::middleware::{Chain, End, Middleware};
use super::router::Resolved;
use super::{Methods, RouteError, RouteLimits, Router};
use crate::http::Needs;

/// Changes the limits of routes.
pub(crate) type ChangeLimits = Arc<dyn Fn(&mut RouteLimits) + Send + Sync>;

/// One registration.
#[derive(Clone)]
struct Registration {
    scope: usize,
    methods: Methods,
    /// With the prefixes of its groups.
    template: String,
    endpoint: Endpoint,
}

/// A group, or the application itself, which is the first.
#[derive(Clone, Default)]
struct Scope {
    parent: Option<usize>,
    /// With those of the groups around it.
    prefix: String,
    layers: Vec<Arc<dyn Middleware>>,
    fallback: Option<Endpoint>,
    limits: Vec<ChangeLimits>,
}

/// See the module's text.
#[derive(Clone)]
pub(crate) struct Registry {
    scopes: Vec<Scope>,
    routes: Vec<Registration>,
    connect: Option<Endpoint>,
    limits: Vec<(String, ChangeLimits)>,
}

/// The scope of the application itself.
pub(crate) const ROOT: usize = 0;

impl Default for Registry {
    fn default() -> Self {
        Self { scopes: vec![Scope::default()], routes: Vec::new(), connect: None, limits: Vec::new() }
    }
}

/// A template behind a prefix: that of a group's own root is the prefix.
fn join(prefix: &str, template: &str) -> String {
    if template == "/" && !prefix.is_empty() { prefix.to_owned() } else { format!("{prefix}{template}") }
}

/// A route, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) methods: String,
    pub(crate) template: String,
    pub(crate) handler: &'static str,
    pub(crate) layers: usize,
}

impl Registry {
    pub(crate) fn add(&mut self, scope: usize, methods: Methods, template: &str, endpoint: Endpoint) {
        let template = join(&self.scopes[scope].prefix, template);
        self.routes.push(Registration { scope, methods, template, endpoint });
    }

    pub(crate) fn set_fallback(&mut self, scope: usize, endpoint: Endpoint) {
        self.scopes[scope].fallback = Some(endpoint);
    }

    pub(crate) fn set_connect(&mut self, endpoint: Endpoint) {
        self.connect = Some(endpoint);
    }

    pub(crate) fn add_layer(&mut self, scope: usize, layer: Arc<dyn Middleware>) {
        self.scopes[scope].layers.push(layer);
    }

    pub(crate) fn change_limits(&mut self, scope: usize, change: ChangeLimits) {
        self.scopes[scope].limits.push(change);
    }

    pub(crate) fn change_limits_for(&mut self, scope: usize, template: &str, change: ChangeLimits) {
        self.limits.push((join(&self.scopes[scope].prefix, template), change));
    }

    /// Begins a group within another.
    pub(crate) fn add_scope(&mut self, parent: usize, prefix: &str) -> usize {
        let prefix = format!("{}{prefix}", self.scopes[parent].prefix);
        self.scopes.push(Scope { parent: Some(parent), prefix, ..Scope::default() });
        self.scopes.len() - 1
    }

    /// Takes over everything of another application, whose mounted applications have numbers from `mounts` on now.
    pub(crate) fn nest(&mut self, scope: usize, other: &Registry, mounts: usize) {
        let prefix = self.scopes[scope].prefix.clone();
        let first = self.scopes.len();
        for inner in &other.scopes {
            let parent = Some(inner.parent.map_or(scope, |parent| first + parent));
            let fallback = inner.fallback.clone().map(|endpoint| endpoint.renumbered(mounts));
            let prefix = join(&prefix, &inner.prefix);
            self.scopes.push(Scope { parent, prefix, fallback, ..inner.clone() });
        }
        for route in &other.routes {
            let template = join(&prefix, &route.template);
            let endpoint = route.endpoint.clone().renumbered(mounts);
            self.routes.push(Registration {
                scope: first + route.scope,
                methods: route.methods,
                template,
                endpoint,
            });
        }
        for (template, change) in &other.limits {
            self.limits.push((join(&prefix, template), Arc::clone(change)));
        }
    }

    /// From a scope to the application.
    fn outwards(&self, scope: usize) -> impl Iterator<Item = &Scope> {
        std::iter::successors(Some(&self.scopes[scope]), |scope| Some(&self.scopes[scope.parent?]))
    }

    /// From the application to a scope.
    fn inwards(&self, scope: usize) -> Vec<&Scope> {
        let mut scopes: Vec<&Scope> = self.outwards(scope).collect();
        scopes.reverse();
        scopes
    }

    /// The middleware around a handler of a scope, the outermost first.
    fn layers(&self, scope: usize, own: &[Arc<dyn Middleware>]) -> Vec<Arc<dyn Middleware>> {
        self.inwards(scope).iter().flat_map(|scope| &scope.layers).chain(own).map(Arc::clone).collect()
    }

    /// What handles a request that an endpoint is found for.
    fn resolve(&self, scope: usize, template: &str, endpoint: &Endpoint) -> Result<Resolved, RouteError> {
        let layers = self.layers(scope, &endpoint.layers);
        if layers.is_empty() {
            return Ok(Resolved::Plain(endpoint.call));
        }
        #[cfg(feature = "tower")]
        if matches!(endpoint.call, super::handler::Call::Mounted(_)) {
            let problem =
                "is answered by a service of tower, around which no middleware of the engine can stand: \
                           use layers of tower"
                    .into();
            return Err(RouteError { template: template.to_owned(), problem });
        }
        #[cfg(not(feature = "tower"))]
        let _ = template;
        let end = End::Handler(endpoint.call);
        Ok(Resolved::Chained(Arc::new(Chain { layers: layers.into(), end })))
    }

    /// Every handler and the template that it is for.
    fn endpoints(&self) -> impl Iterator<Item = (&str, &Endpoint)> {
        let routes = self.routes.iter().map(|route| (route.template.as_str(), &route.endpoint));
        let fallbacks =
            self.scopes.iter().filter_map(|scope| Some(("the fallback", scope.fallback.as_ref()?)));
        routes.chain(fallbacks).chain(self.connect.as_ref().map(|endpoint| ("CONNECT", endpoint)))
    }

    /// Calls `look` with what each handler needs of the application.
    pub(crate) fn needs(&self, mut look: impl FnMut(&str, &Needs)) {
        for (template, endpoint) in self.endpoints() {
            let mut needs = Needs::default();
            (endpoint.needs)(&mut needs);
            look(template, &needs);
        }
    }

    /// The limits of templates that have their own. `limits` are those of the server.
    pub(crate) fn own_limits(&self, limits: RouteLimits) -> Vec<(String, RouteLimits)> {
        let mut own: Vec<(String, RouteLimits)> = Vec::new();
        let mut change = |template: &str, change: &ChangeLimits| {
            let at = own.iter().position(|(known, _)| known == template).unwrap_or_else(|| {
                own.push((template.to_owned(), limits));
                own.len() - 1
            });
            change(&mut own[at].1);
        };
        let mut templates: Vec<&str> = Vec::new();
        for route in &self.routes {
            // Several methods of one template have the same limits: they were changed for the first.
            if templates.contains(&route.template.as_str()) {
                continue;
            }
            templates.push(&route.template);
            self.inwards(route.scope)
                .iter()
                .flat_map(|scope| &scope.limits)
                .for_each(|limits| change(&route.template, limits));
        }
        self.limits.iter().for_each(|(template, limits)| change(template, limits));
        own
    }

    /// Compiles the routes.
    ///
    /// # Errors
    /// The first route that is malformed, registered twice, or in conflict with another.
    pub(crate) fn compile(&self, limits: RouteLimits) -> Result<Router, RouteError> {
        let mut router = Router::new(limits);
        for route in &self.routes {
            let resolved = self.resolve(route.scope, &route.template, &route.endpoint)?;
            router.add(route.methods, &route.template, resolved)?;
        }
        for (template, limits) in self.own_limits(limits) {
            router.limit(&template, limits)?;
        }
        for (number, scope) in self.scopes.iter().enumerate() {
            if !scope.prefix.is_empty() && !scope.prefix.starts_with('/') {
                let problem = "must begin with \"/\", as the prefix of a group".into();
                return Err(RouteError { template: scope.prefix.clone(), problem });
            }
            if scope.prefix.ends_with('/') {
                let problem = "must not end with \"/\", as the prefix of a group".into();
                return Err(RouteError { template: scope.prefix.clone(), problem });
            }
            if let Some(endpoint) = &scope.fallback {
                let template = if scope.prefix.is_empty() { "the fallback" } else { &scope.prefix };
                let resolved = self.resolve(number, template, endpoint)?;
                let mut limits = limits;
                self.inwards(number)
                    .iter()
                    .flat_map(|scope| &scope.limits)
                    .for_each(|change| change(&mut limits));
                router.set_fallback(&scope.prefix, resolved, limits)?;
            }
        }
        if let Some(endpoint) = &self.connect {
            router.set_connect(self.resolve(ROOT, "CONNECT", endpoint)?);
        }
        let layers = self.layers(ROOT, &[]);
        if !layers.is_empty() {
            router.set_nobody(Arc::new(Chain { layers: layers.into(), end: End::Nobody }));
        }
        router.finish()?;
        Ok(router)
    }

    /// The routes in the order of their registration.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let list = |route: &Registration| Listed {
            methods: match route.methods {
                Methods::One(method) => method.as_str().to_owned(),
                Methods::Any => "*".to_owned(),
            },
            template: route.template.clone(),
            handler: route.endpoint.name,
            layers: self.layers(route.scope, &route.endpoint.layers).len(),
        };
        self.routes.iter().map(list).collect()
    }
}

/// Gives a type the methods that register handlers, in a scope of a registry.
macro_rules! registers {
    ($type:ty, $self:ident => $registry:expr, $scope:expr) => {
        impl $type {
            fn route<M>(
                &mut $self,
                methods: $crate::app::Methods,
                template: &str,
                handler: impl $crate::app::Handler<M>,
            ) -> &mut Self {
                let scope = $scope;
                $registry.add(scope, methods, template, handler.endpoint());
                $self
            }

            /// Answers GET, and HEAD with the same head, for paths that match `template`. Templates are checked at the
            /// start. Paths are case-sensitive, and `/users/` is another path than `/users`.
            ///
            /// | template | matches |
            /// |---|---|
            /// | `/users/{id}` | one segment, which is not empty |
            /// | `/users/{id:int}` | one that fulfils a constraint, or several: `{id:int:min(1)}` |
            /// | `/users/{id?}`, `/users/{id=7}` | also `/users`, without the parameter or with 7 |
            /// | `/files/{name}.{ext}` | a segment of several parts |
            /// | `/files/{*rest}` | all that follows, if there is something |
            ///
            /// The constraints are those of ASP.NET: `int`, `long`, `bool`, `datetime`, `decimal`, `double`, `float`,
            /// `guid`, `alpha`, `required`, `file`, `nonfile`, `length(n)`, `length(min,max)`, `minlength(n)`,
            /// `maxlength(n)`, `min(n)`, `max(n)`, `range(min,max)` and, with the feature of that name, `regex(...)`.
            /// Of several templates that match a path the most specific one wins, segment by segment: literals, then
            /// mixed segments, parameters with constraints, parameters, and the rest of the path.
            ///
            /// A path that has routes, but none for the method, is answered with 405 and `Allow`.
            pub fn get<M>(&mut $self, template: &str, handler: impl $crate::app::Handler<M>) -> &mut Self {
                $self.route($crate::app::Methods::One($crate::http::Method::Get), template, handler)
            }

            /// Answers POST; templates as in [`get`](Self::get).
            pub fn post<M>(&mut $self, template: &str, handler: impl $crate::app::Handler<M>) -> &mut Self {
                $self.route($crate::app::Methods::One($crate::http::Method::Post), template, handler)
            }

            /// Answers PUT; templates as in [`get`](Self::get).
            pub fn put<M>(&mut $self, template: &str, handler: impl $crate::app::Handler<M>) -> &mut Self {
                $self.route($crate::app::Methods::One($crate::http::Method::Put), template, handler)
            }

            /// Answers PATCH; templates as in [`get`](Self::get).
            pub fn patch<M>(&mut $self, template: &str, handler: impl $crate::app::Handler<M>) -> &mut Self {
                $self.route($crate::app::Methods::One($crate::http::Method::Patch), template, handler)
            }

            /// Answers DELETE; templates as in [`get`](Self::get).
            pub fn delete<M>(&mut $self, template: &str, handler: impl $crate::app::Handler<M>) -> &mut Self {
                $self.route($crate::app::Methods::One($crate::http::Method::Delete), template, handler)
            }

            /// Answers HEAD in another way than by GET's head; templates as in [`get`](Self::get).
            pub fn head<M>(&mut $self, template: &str, handler: impl $crate::app::Handler<M>) -> &mut Self {
                $self.route($crate::app::Methods::One($crate::http::Method::Head), template, handler)
            }

            /// Answers OPTIONS in another way than with `Allow`; templates as in [`get`](Self::get).
            pub fn options<M>(&mut $self, template: &str, handler: impl $crate::app::Handler<M>) -> &mut Self {
                $self.route($crate::app::Methods::One($crate::http::Method::Options), template, handler)
            }

            /// Answers every method that has no handler of its own; templates as in [`get`](Self::get).
            pub fn any<M>(&mut $self, template: &str, handler: impl $crate::app::Handler<M>) -> &mut Self {
                $self.route($crate::app::Methods::Any, template, handler)
            }

            /// Answers `method`; templates as in [`get`](Self::get).
            ///
            /// # Panics
            /// `method` is [`Method::Other`](crate::Method::Other), [`Method::Trace`](crate::Method::Trace) or
            /// [`Method::Connect`](crate::Method::Connect), which routes cannot name.
            pub fn on<M>(
                &mut $self,
                method: $crate::http::Method,
                template: &str,
                handler: impl $crate::app::Handler<M>,
            ) -> &mut Self {
                use $crate::http::Method;
                let named = !matches!(method, Method::Other | Method::Trace | Method::Connect);
                assert!(named, "no route can name the method {method:?}; for CONNECT there is App::connect");
                $self.route($crate::app::Methods::One(method), template, handler)
            }

            /// Answers what no template matches, instead of 404; of a group, below its prefix. It does not get the
            /// requests whose path matches but whose method does not: these are answered with 405.
            pub fn fallback<M>(&mut $self, handler: impl $crate::app::Handler<M>) -> &mut Self {
                let scope = $scope;
                $registry.set_fallback(scope, handler.endpoint());
                $self
            }

            /// Puts middleware around all handlers in here, whether they are registered before or after. The first one
            /// is the outermost; that of an application is around those of its groups, that around
            /// [those of a handler](crate::Handler::with). That of an application also sees requests which nobody
            /// handles: 404, 405, and `Allow` for OPTIONS.
            pub fn middleware(&mut $self, middleware: impl $crate::app::Middleware) -> &mut Self {
                let scope = $scope;
                $registry.add_layer(scope, std::sync::Arc::new(middleware));
                $self
            }

            /// Begins a group: routes below a common prefix, with middleware and limits of their own. In it `"/"` is
            /// the prefix itself.
            ///
            /// ```
            /// let mut app = peregrine::App::new();
            /// let mut users = app.group("/users");
            /// users.get("/", || "all users"); // GET /users
            /// users.get("/{id}", || "one user"); // GET /users/7
            /// ```
            pub fn group(&mut $self, prefix: &str) -> $crate::app::Group<'_> {
                let scope = $scope;
                let registry = &mut $registry;
                let scope = registry.add_scope(scope, prefix);
                $crate::app::Group::new(registry, scope)
            }

            /// Changes limits for the routes of one template, which must have a handler when the server starts.
            /// `change` is given those of the server, as groups around it have changed them.
            ///
            /// ```
            /// let mut app = peregrine::App::new();
            /// app.post("/upload", || "thanks");
            /// app.limits_for("/upload", |limits| limits.max_request_body_size = Some(1 << 30));
            /// ```
            pub fn limits_for(
                &mut $self,
                template: &str,
                change: impl Fn(&mut $crate::app::RouteLimits) + Send + Sync + 'static,
            ) -> &mut Self {
                let scope = $scope;
                $registry.change_limits_for(scope, template, std::sync::Arc::new(change));
                $self
            }
        }
    };
}

pub(crate) use registers;

/// A group of routes, see [`App::group`](crate::App::group).
pub struct Group<'a> {
    registry: &'a mut Registry,
    scope: usize,
}

impl<'a> Group<'a> {
    pub(crate) fn new(registry: &'a mut Registry, scope: usize) -> Self {
        Self { registry, scope }
    }

    /// Changes limits for all routes of the group.
    pub fn limits(&mut self, change: impl Fn(&mut RouteLimits) + Send + Sync + 'static) -> &mut Self {
        self.registry.change_limits(self.scope, Arc::new(change));
        self
    }
}

registers!(Group<'_>, self => self.registry, self.scope);

impl std::fmt::Debug for Group<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("prefix", &self.registry.scopes[self.scope].prefix)
            .finish_non_exhaustive()
    }
}
