//! One worker's connections to the database: when they are made, and whose turn it is. It must not know what is asked.
//!
//! A request waits for no connection to be free, because each of them pipelines. Some requests that come together share
//! one, so that their queries leave in one send; then it is the next one's turn.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use peregrine::net::{TcpStream, UnixStream};
use peregrine::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

use super::routes::away;
use super::world::Database;

/// Connections of one worker, at most.
const CONNECTIONS: usize = 8;
/// So many requests at most are gathered for one send: the database answers them one behind the other.
const GATHERED_MAX: u32 = 16;
/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(5);
const PORT: u16 = 5432;

/// A connection, or its making, which all requests that have come to need it wait for. Whoever of them is polled
/// makes it go on.
type Opening = Shared<LocalBoxFuture<'static, Result<Rc<Database>, Rc<str>>>>;

#[derive(Default)]
struct Place {
    opening: RefCell<Option<Opening>>,
    /// How often it was handed out since its task has last sent what it was asked.
    gathered: Rc<Cell<u32>>,
}

pub(crate) struct Pool {
    config: Config,
    places: [Place; CONNECTIONS],
    turn: Cell<usize>,
}

impl Pool {
    /// Nothing is connected before the first request.
    pub(crate) fn new(config: Config) -> Self {
        Self { config, places: Default::default(), turn: Cell::new(0) }
    }

    /// The connection whose turn it is, made anew when it has ended.
    pub(crate) async fn next(&self) -> Result<Rc<Database>> {
        if !(1..GATHERED_MAX).contains(&self.places[self.turn.get()].gathered.get()) {
            self.turn.set((self.turn.get() + 1) % CONNECTIONS);
        }
        let place = &self.places[self.turn.get()];
        let opening = {
            let mut opening = place.opening.borrow_mut();
            match opening.as_ref().map(Shared::peek) {
                Some(Some(Ok(database))) if !database.is_closed() => {
                    place.gathered.set(place.gathered.get() + 1);
                    return Ok(Rc::clone(database));
                }
                // It is under way.
                Some(None) => {}
                _ => {
                    place.gathered.set(0);
                    let opened = open(self.config.clone(), Rc::clone(&place.gathered));
                    *opening = Some(opened.boxed_local().shared());
                }
            }
            opening.clone()
        };
        let opening = opening.ok_or_else(|| away("no connection"))?;
        opening.await.map_err(|failure| away(&*failure))
    }
}

async fn open(config: Config, gathered: Rc<Cell<u32>>) -> Result<Rc<Database>, Rc<str>> {
    let opened = peregrine::timeout(PATIENCE, async {
        let client = connect(&config, gathered).await?;
        Ok::<_, Error>(Database::prepare(client).await?)
    });
    let failure = match opened.await {
        Ok(Ok(database)) => return Ok(Rc::new(database)),
        Ok(Err(error)) => error.to_string(),
        Err(elapsed) => elapsed.to_string(),
    };
    Err(failure.into())
}

/// Connects to the first host that the URL names.
async fn connect(config: &Config, gathered: Rc<Cell<u32>>) -> Result<Client> {
    let port = config.get_ports().first().copied().unwrap_or(PORT);
    match config.get_hosts().first() {
        Some(Host::Tcp(name)) => {
            let stream = TcpStream::connect((name.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            speak(config, stream, gathered).await
        }
        Some(Host::Unix(folder)) => {
            let stream = UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await?;
            speak(config, stream, gathered).await
        }
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "the URL names no host").into()),
    }
}

/// Has a task of the worker's own move everything between the client and the socket.
async fn speak<S>(config: &Config, stream: S, gathered: Rc<Cell<u32>>) -> Result<Client>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    peregrine::spawn(async move {
        let mut connection = pin!(connection);
        let ended = poll_fn(|context| {
            gathered.set(0);
            connection.as_mut().poll(context)
        });
        if let Err(error) = ended.await {
            eprintln!("a connection to the database has ended: {error}");
        }
    });
    Ok(client)
}
