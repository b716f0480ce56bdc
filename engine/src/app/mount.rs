//! Applications of other libraries, which answer requests without the handlers of this one.
//!
//! Owns how one is called. It must not know what they are.

use std::rc::Rc;
use std::sync::Arc;

use peregrine_pool::Slots;

use super::handler::{Call, Endpoint};
use crate::conn::{ConnectionInfo, Shared, Task};
use crate::proto::RequestParts;

/// One of them, on one worker.
pub(crate) trait Mount {
    /// Begins to answer a request: by `shared` if its body is still to come, and otherwise in place or by what is
    /// attached to the task.
    fn begin(
        &self,
        parts: &RequestParts<'_>,
        connection: &ConnectionInfo,
        slots: &Slots,
        shared: Option<Rc<Shared>>,
    ) -> Task;
}

/// Makes it on a worker.
pub(crate) type MakeMount = Arc<dyn Fn() -> Rc<dyn Mount> + Send + Sync>;

impl Endpoint {
    /// The endpoint of an application by its number.
    pub(crate) fn mounted(number: usize) -> Self {
        Self { call: Call::Mounted(number), needs: |_| {}, name: "a service of tower", layers: Vec::new() }
    }
}
