//! What every request of a worker is answered with: its state.
//!
//! Owns the values that the application has made for this worker, by their types. It must not know what they are.

use std::any::{Any, TypeId, type_name};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use peregrine_pool::{Slots, Spare};

use super::Kept;
use crate::conn::Common;

/// So many places of kept requests are kept.
const SPARE_KEPT_MAX: usize = 64;

/// The worker that state is made for, and that handlers run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// Its number, from 0 on.
    pub index: usize,
    /// How many workers there are.
    pub count: usize,
    /// The port of the server's only endpoint of https.
    pub(crate) https_port: Option<u16>,
}

/// See the module's text.
pub(crate) struct Context {
    pub(crate) worker: WorkerInfo,
    /// Where the futures of handlers lie.
    pub(crate) slots: Slots,
    /// What responses are written with.
    pub(crate) common: Rc<Common>,
    /// Places of kept requests, for the next ones.
    pub(crate) spare_kept: RefCell<Spare<Rc<Kept>>>,
    states: Vec<(TypeId, Rc<dyn Any>)>,
    shared: Vec<(TypeId, Arc<dyn Any + Send + Sync>)>,
}

impl Context {
    pub(crate) fn new(worker: WorkerInfo, slots: Slots, common: Rc<Common>) -> Self {
        let spare_kept = RefCell::new(Spare::new(SPARE_KEPT_MAX));
        Self { worker, slots, common, spare_kept, states: Vec::new(), shared: Vec::new() }
    }

    pub(crate) fn add_state(&mut self, state: Rc<dyn Any>) {
        self.states.push(((*state).type_id(), state));
    }

    pub(crate) fn add_shared(&mut self, shared: Arc<dyn Any + Send + Sync>) {
        self.shared.push(((*shared).type_id(), shared));
    }

    /// The worker's value of a type.
    #[inline]
    pub(crate) fn state<T: 'static>(&self) -> Option<Rc<T>> {
        let wanted = TypeId::of::<T>();
        // A few entries, which one look after the other finds sooner than a hash.
        let (_, state) = self.states.iter().find(|(id, _)| *id == wanted)?;
        Rc::clone(state).downcast().ok()
    }

    /// The value of a type that all workers share.
    #[inline]
    pub(crate) fn shared<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let wanted = TypeId::of::<T>();
        let (_, shared) = self.shared.iter().find(|(id, _)| *id == wanted)?;
        Arc::clone(shared).downcast().ok()
    }
}

/// A value that a handler needs, and that the application must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) id: TypeId,
    pub(crate) name: &'static str,
    /// Of all workers, not one for each.
    pub(crate) is_shared: bool,
}

/// What a handler's extractors need of the application, found out at the start.
#[derive(Debug, Default)]
pub struct Needs {
    pub(crate) needs: Vec<Need>,
}

impl Needs {
    pub(crate) fn state<T: 'static>(&mut self) {
        self.needs.push(Need { id: TypeId::of::<T>(), name: type_name::<T>(), is_shared: false });
    }

    pub(crate) fn shared<T: 'static>(&mut self) {
        self.needs.push(Need { id: TypeId::of::<T>(), name: type_name::<T>(), is_shared: true });
    }
}
