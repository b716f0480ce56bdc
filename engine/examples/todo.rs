//! A JSON API over a list that all workers share.
//!
//! ```text
//! curl -i localhost:5000/todos -H 'Content-Type: application/json' -d '{"title":"write"}'
//! curl -i localhost:5000/todos?done=false
//! curl -i -X PATCH localhost:5000/todos/1 -H 'Content-Type: application/json' -d '{"done":true}'
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use peregrine::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize)]
struct Todo {
    id: u64,
    title: String,
    done: bool,
}

#[derive(Deserialize)]
struct NewTodo {
    title: String,
}

#[derive(Deserialize)]
struct Change {
    title: Option<String>,
    done: Option<bool>,
}

#[derive(Deserialize)]
struct Filter {
    done: Option<bool>,
}

/// Held for a few instructions at a time, so that no worker waits for another to speak of. With more than that, or in
/// a process of many, this is where the database would be.
#[derive(Default)]
struct Todos(Mutex<BTreeMap<u64, Todo>>);

impl Todos {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Todo>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn list(Shared(todos): Shared<Todos>, Query(filter): Query<Filter>) -> Json<Vec<Todo>> {
    let is_wanted = |todo: &&Todo| filter.done.is_none_or(|done| done == todo.done);
    Json(todos.lock().values().filter(is_wanted).cloned().collect())
}

fn create(Shared(todos): Shared<Todos>, Json(new): Json<NewTodo>) -> Result<impl Respond> {
    if new.title.trim().is_empty() {
        return Err(Error::new(422).with_detail("a todo needs a title"));
    }
    let mut todos = todos.lock();
    let id = todos.last_key_value().map_or(1, |(id, _)| id + 1);
    let todo = Todo { id, title: new.title, done: false };
    todos.insert(id, todo.clone());
    Ok((201, [("Location", format!("/todos/{id}"))], Json(todo)))
}

fn show(Shared(todos): Shared<Todos>, Path(id): Path<u64>) -> Option<Json<Todo>> {
    todos.lock().get(&id).cloned().map(Json)
}

fn change(
    Shared(todos): Shared<Todos>,
    Path(id): Path<u64>,
    Json(change): Json<Change>,
) -> Option<Json<Todo>> {
    let mut todos = todos.lock();
    let todo = todos.get_mut(&id)?;
    todo.title = change.title.unwrap_or_else(|| todo.title.clone());
    todo.done = change.done.unwrap_or(todo.done);
    Some(Json(todo.clone()))
}

fn remove(Shared(todos): Shared<Todos>, Path(id): Path<u64>) -> Status {
    match todos.lock().remove(&id) {
        Some(_) => Status(204),
        None => Status(404),
    }
}

fn main() -> Result<()> {
    let mut app = App::from_args()?;
    app.shared(Arc::new(Todos::default()));
    let mut todos = app.group("/todos");
    todos.get("/", list).post("/", create);
    todos.get("/{id:long}", show).patch("/{id:long}", change).delete("/{id:long}", remove);
    app.run()
}
