//! One worker's connections to the database: when they are made, and whose turn it is. It must not know what is asked.
//!
//! A request waits for no connection to be free, because each of them pipelines.

use std::cell::{Cell, RefCell};
use std::io;
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
/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(5);
const PORT: u16 = 5432;

/// A connection, or its making, which all requests that have come to need it wait for. Whoever of them is polled
/// makes it go on.
type Opening = Shared<LocalBoxFuture<'static, Result<Rc<Database>, Rc<str>>>>;

pub(crate) struct Pool {
    config: Config,
    openings: [RefCell<Option<Opening>>; CONNECTIONS],
    turn: Cell<usize>,
}

impl Pool {
    /// Nothing is connected before the first request.
    pub(crate) fn new(config: Config) -> Self {
        Self { config, openings: Default::default(), turn: Cell::new(0) }
    }

    /// The connection whose turn it is, made anew when it has ended.
    pub(crate) async fn next(&self) -> Result<Rc<Database>> {
        let turn = self.turn.get();
        self.turn.set((turn + 1) % CONNECTIONS);
        let opening = {
            let mut opening = self.openings[turn].borrow_mut();
            match opening.as_ref().map(Shared::peek) {
                Some(Some(Ok(database))) if !database.is_closed() => return Ok(Rc::clone(database)),
                // It is under way.
                Some(None) => {}
                _ => *opening = Some(open(self.config.clone()).boxed_local().shared()),
            }
            opening.clone()
        };
        let opening = opening.ok_or_else(|| away("no connection"))?;
        opening.await.map_err(|failure| away(&*failure))
    }
}

async fn open(config: Config) -> Result<Rc<Database>, Rc<str>> {
    let opened = peregrine::timeout(PATIENCE, async {
        let client = connect(&config).await?;
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
async fn connect(config: &Config) -> Result<Client> {
    let port = config.get_ports().first().copied().unwrap_or(PORT);
    match config.get_hosts().first() {
        Some(Host::Tcp(name)) => {
            let stream = TcpStream::connect((name.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            speak(config, stream).await
        }
        Some(Host::Unix(folder)) => {
            speak(config, UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await?).await
        }
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "the URL names no host").into()),
    }
}

/// Has a task of the worker's own move everything between the client and the socket.
async fn speak<S>(config: &Config, stream: S) -> Result<Client>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    peregrine::spawn(async {
        if let Err(error) = connection.await {
            eprintln!("a connection to the database has ended: {error}");
        }
    });
    Ok(client)
}
