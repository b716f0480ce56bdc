//! From options to what connections are told, and to the connections themselves.
//!
//! Owns the sizes of blocks and how each option is understood below `host`. Workers and test clients alike are made by
//! it, so that a test sees what a server does. It must not know drivers or listeners.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use peregrine_parser::{HeadLimits, Simd};
use peregrine_pool::{BlockConfig, Blocks};

use super::error::{Result, StartError};
use super::limits::Limits;
use super::options::Options;
use crate::app::{AppService, Blueprint};
use crate::conn::{Connections, Gate, GateLimits, Settings};
use crate::driver::Driver;
use crate::http::WorkerInfo;
use crate::proto::Rate;
use crate::proto::h1::MachineLimits;
use crate::runtime::drop_panic;
use crate::sys::wake::Waker;

/// Most requests fit one of these; most heads fit a quarter.
const RECEIVE_BLOCK_BYTES: usize = 4096;

/// The distance of receive blocks: a line more than a page, so that the first lines of blocks, the ones that
/// are used, do not all compete for the same sets of the cache.
pub(super) const RECEIVE_STRIDE_BYTES: usize = RECEIVE_BLOCK_BYTES + 64;

/// The most receive blocks of a worker, and the entries of the ring that lends them.
pub(super) const RECEIVE_BLOCKS_MAX: u16 = 4096;

/// The answers to everything that one receive block holds usually fit one of these.
const SEND_BLOCK_BYTES: usize = 16 * 1024;
pub(super) const SEND_STRIDE_BYTES: usize = SEND_BLOCK_BYTES + 64;

/// The most send blocks of a worker; one per connection with an open send.
const SEND_BLOCKS_MAX: u32 = 64 * 1024;

/// The most connections of a worker.
const CONNECTIONS_MAX: u32 = 1 << 20;

pub(super) const RECEIVE_BLOCKS: BlockConfig = BlockConfig {
    block_bytes: RECEIVE_BLOCK_BYTES,
    stride_bytes: RECEIVE_STRIDE_BYTES,
    max_blocks: RECEIVE_BLOCKS_MAX as u32,
    // Half a megabyte of addresses; memory is taken by use.
    chunk_blocks: 128,
};

pub(super) const SEND_BLOCKS: BlockConfig = BlockConfig {
    block_bytes: SEND_BLOCK_BYTES,
    stride_bytes: SEND_STRIDE_BYTES,
    max_blocks: SEND_BLOCKS_MAX,
    chunk_blocks: 32,
};

/// What one worker has that another has not.
pub(super) struct Own {
    pub(super) index: usize,
    pub(super) gate: Arc<Gate>,
    pub(super) bell: Waker,
    /// Bytes of memory that incomplete requests may take together.
    pub(super) max_assembled: usize,
    /// What responses are written into.
    pub(super) send_blocks: Blocks,
}

/// The gate of all workers of a server.
pub(super) fn gate(limits: &Limits) -> Arc<Gate> {
    Arc::new(Gate::new(GateLimits {
        connections: limits.max_concurrent_connections,
        upgraded: limits.max_concurrent_upgraded_connections,
        per_address: limits.max_connections_per_address,
    }))
}

/// What one of `workers` may take for incomplete requests, in bytes.
pub(super) fn max_assembled(limits: &Limits, workers: usize) -> usize {
    let bodies = limits.max_buffered_bodies_size.map(|bytes| bytes / workers as u64);
    bodies.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// What the connections of one worker are told.
pub(super) fn settings(options: &Options, own: Own) -> Settings {
    let limits = &options.limits;
    let bytes = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    Settings {
        machine: MachineLimits {
            head: HeadLimits {
                max_request_line_bytes: bytes(limits.max_request_line_size),
                max_fields_bytes: bytes(limits.max_request_headers_total_size),
            },
            max_fields: u16::try_from(limits.max_request_header_count).unwrap_or(u16::MAX),
        },
        keep_alive_millis: millis(limits.keep_alive_timeout),
        request_headers_millis: millis(limits.request_headers_timeout),
        half_closed_millis: millis(limits.half_closed_timeout),
        min_response_rate: limits.min_response_data_rate.map(Rate::from),
        max_request_buffer: limits.max_request_buffer_size.unwrap_or(usize::MAX),
        max_response_buffer: limits.max_response_buffer_size.unwrap_or(usize::MAX),
        max_assembled: own.max_assembled,
        max_held_blocks: u32::from(RECEIVE_BLOCKS_MAX) / 4,
        max_requests: limits.max_requests_per_connection,
        lifetime_millis: limits.max_connection_lifetime.map(millis),
        gate: own.gate,
        bell: own.bell,
        log_rejections: options.log_rejections,
        shows_details: options.environment == "Development",
        server_field: options.server_header,
        send_blocks: own.send_blocks,
        // So that an id names one connection of all workers.
        first_id: (own.index as u64) << 48 | 1,
        max_connections: CONNECTIONS_MAX,
    }
}

/// The connections of the worker that the calling thread is from now on, with the application behind them.
///
/// # Errors
/// What makes its state has panicked.
pub(super) fn connections<D: Driver>(
    driver: D,
    blueprint: Blueprint,
    worker: WorkerInfo,
    settings: Settings,
) -> Result<Connections<D, AppService>> {
    let made = catch_unwind(AssertUnwindSafe(|| {
        let service = |slots, common: &_| blueprint.service(worker, slots, common);
        Connections::new(driver, service, Simd::detect(), settings)
    }));
    made.map_err(|panic| {
        drop_panic(panic);
        StartError::StatePanicked { worker: worker.index }
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
