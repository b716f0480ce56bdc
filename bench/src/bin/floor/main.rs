//! The floor: the least that one ring can do for HTTP. It parses nothing, counts blank lines, and answers the
//! same bytes to each. Every server's cost per request is given as a ratio to this program's. Of a body it counts
//! the bytes, and a download is the same bytes over and over (`bulk`).
//!
//! One pinned thread, one `io_uring_enter` per turn of the loop, no other system call on the warm path.

#![allow(unsafe_code, reason = "a ring, its buffer memory and its entry system call are raw by nature")]

mod bulk;
mod ring;

use std::io::{Error, ErrorKind, Result};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use io_uring::types::Fd;
use io_uring::{IoUring, SubmissionQueue, cqueue, opcode, squeue};
use memchr::memmem::Finder;
use peregrine_bench::requests::{BLANK_LINE, count};
use socket2::{Domain, Protocol, Socket, Type};

use bulk::{Download, Purpose, Step, Transfer};
use ring::{BUFFER_GROUP, Buffers, enter, pages, register_ring};

/// Peregrine's plaintext answer, byte for byte as long and as formed.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: peregrine\r\nDate: Mon, 23 Nov 2026 01:45:13 GMT\r\n\
Content-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\n\r\nHello, World!";

/// Connections are found by descriptor; a descriptor beyond the table is closed at once.
const CONNECTIONS: usize = 8192;
const SUBMISSIONS: u32 = 4096;
const COMPLETIONS: u32 = 32768;
/// No completion leads to more submissions than this.
const SUBMISSIONS_PER_COMPLETION: usize = 3;
const RESPONSES_PER_BLOCK: usize = 100;
/// One cache line past a multiple of 4 KiB, so that blocks do not all fall into the same cache sets.
const BLOCK_STRIDE: usize = 16384 + 64;
const _: () = assert!(RESPONSES_PER_BLOCK * RESPONSE.len() <= BLOCK_STRIDE);

const RECV_POLL_FIRST: u16 = 1;

const ACCEPT: u64 = 1 << 32;
const RECEIVE: u64 = 2 << 32;
const SEND: u64 = 3 << 32;
const CLOSE: u64 = 4 << 32;
const SEND_BULK: u64 = 5 << 32;

#[derive(Clone, Copy, PartialEq)]
enum Receive {
    Multishot,
    /// Multishot, and each completion may fill several buffers (Linux 6.10).
    MultishotBundle,
    Single,
    /// Single, and waiting for readiness before the first try unless the socket said that it holds more.
    SinglePollFirst,
}

struct Options {
    listen: SocketAddr,
    cpu: Option<usize>,
    receive: Receive,
    buffers: u16,
    buffer_bytes: usize,
    stride_bytes: usize,
    /// What each send of a download carries.
    send_bytes: usize,
}

fn main() -> Result<()> {
    let options = options(std::env::args().skip(1)).map_err(|message| {
        let usage = "floor [--listen ADDR] [--cpu N] [--recv multishot|multishot-bundle|single|single-poll-first] \
                     [--buffers N] [--buffer-bytes N] [--stride-bytes N] [--send-bytes N]";
        Error::new(ErrorKind::InvalidInput, format!("{message}; usage: {usage}"))
    })?;
    if let Some(cpu) = options.cpu {
        pin(cpu)?;
    }
    let listener = listen(options.listen)?;
    println!("Now listening on: http://{}", listener.local_addr()?);
    serve(&listener, &options)
}

fn options(mut arguments: impl Iterator<Item = String>) -> std::result::Result<Options, String> {
    let mut options = Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        cpu: None,
        receive: Receive::Multishot,
        buffers: 512,
        buffer_bytes: 4096,
        stride_bytes: 4160,
        send_bytes: 65_536,
    };
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let wrong = |_| format!("{flag} does not take {value}");
        match flag.as_str() {
            "--listen" => options.listen = value.parse().map_err(|_| format!("{value} is no address"))?,
            "--cpu" => options.cpu = Some(value.parse().map_err(wrong)?),
            "--buffers" => options.buffers = value.parse().map_err(wrong)?,
            "--buffer-bytes" => options.buffer_bytes = value.parse().map_err(wrong)?,
            "--send-bytes" => options.send_bytes = value.parse().map_err(wrong)?,
            "--stride-bytes" => options.stride_bytes = value.parse().map_err(wrong)?,
            "--recv" => {
                options.receive = match value.as_str() {
                    "multishot" => Receive::Multishot,
                    "multishot-bundle" => Receive::MultishotBundle,
                    "single" => Receive::Single,
                    "single-poll-first" => Receive::SinglePollFirst,
                    _ => return Err(format!("--recv does not take {value}")),
                }
            }
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    if !options.buffers.is_power_of_two() || options.buffers > 1 << 15 {
        return Err("--buffers takes a power of two up to 32768".into());
    }
    if options.buffer_bytes == 0 || options.stride_bytes < options.buffer_bytes {
        return Err("--stride-bytes must hold --buffer-bytes, which must not be 0".into());
    }
    if !(1..=1 << 30).contains(&options.send_bytes) {
        return Err("--send-bytes takes 1 to 1 GiB".into());
    }
    Ok(options)
}

fn pin(cpu: usize) -> Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(Error::new(ErrorKind::InvalidInput, "no such CPU"));
    }
    // SAFETY: a CPU set is plain bits, zero is its empty value, and `cpu` lies inside it; the call reads it.
    let status = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set)
    };
    if status == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?; // accepted sockets inherit it
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

#[derive(Clone, Copy, Default)]
struct Connection {
    purpose: Purpose,
    /// Operations whose last completion is still to come; the descriptor is closed only at 0.
    outstanding: u8,
    /// How many bytes of a blank line the last receive ended with.
    matched: u8,
    ended: bool,
    sending: bool,
    /// Requests seen and not yet answered, because a send is in flight.
    owed: u32,
    /// The send in flight: its block and the bytes of it that are still to go.
    block: u16,
    start: u16,
    end: u16,
}

struct Floor<'ring> {
    queue: SubmissionQueue<'ring>,
    listener: RawFd,
    receive: Receive,
    blank_line: Finder<'static>,
    buffers: Buffers,
    connections: Box<[Connection]>,
    blocks: *mut u8,
    free_blocks: Vec<u16>,
    /// By descriptor, as the connections, which stay small without them.
    transfers: Box<[Transfer]>,
    download: &'static Download,
}

fn serve(listener: &TcpListener, options: &Options) -> Result<()> {
    let mut ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(COMPLETIONS)
        .setup_no_sqarray()
        .build(SUBMISSIONS)?;
    let registered_ring = register_ring(ring.as_raw_fd())?;
    let buffers = Buffers::register(&ring, options)?;
    let (_, queue, mut completions) = ring.split();
    let mut floor = Floor {
        queue,
        listener: listener.as_raw_fd(),
        receive: options.receive,
        blank_line: Finder::new(BLANK_LINE),
        buffers,
        connections: vec![Connection::default(); CONNECTIONS].into(),
        // One block per connection at most is in flight; untouched ones take no memory.
        blocks: pages(CONNECTIONS * BLOCK_STRIDE)?,
        free_blocks: (0..CONNECTIONS as u16).rev().collect(),
        transfers: vec![Transfer::default(); CONNECTIONS].into(),
        download: Box::leak(Box::new(Download::new(options.send_bytes))),
    };
    floor.accept();
    loop {
        floor.buffers.publish();
        floor.queue.sync();
        completions.sync();
        enter(registered_ring, floor.queue.len() as u32)?;
        floor.queue.sync();
        completions.sync();
        while floor.queue.capacity() - floor.queue.len() >= SUBMISSIONS_PER_COMPLETION
            && let Some(completion) = completions.next()
        {
            floor.complete(&completion)?;
        }
    }
}

impl Floor<'_> {
    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: entries point to send blocks, which are never unmapped and belong to one send each until its
        // completion, or to the download, which is never written, or to nothing.
        let pushed = unsafe { self.queue.push(entry) };
        pushed.expect("the loop keeps room for the submissions of one completion");
    }

    fn accept(&mut self) {
        let entry = opcode::AcceptMulti::new(Fd(self.listener)).flags(libc::SOCK_CLOEXEC).build();
        self.push(&entry.user_data(ACCEPT));
    }

    fn receive(&mut self, fd: RawFd, more_waits: bool) {
        let entry = if self.receive == Receive::Multishot {
            opcode::RecvMulti::new(Fd(fd), BUFFER_GROUP).build()
        } else if self.receive == Receive::MultishotBundle {
            opcode::RecvMultiBundle::new(Fd(fd), BUFFER_GROUP).build()
        } else {
            let poll_first = self.receive == Receive::SinglePollFirst && !more_waits;
            opcode::Recv::new(Fd(fd), ptr::null_mut(), 0)
                .ioprio(if poll_first { RECV_POLL_FIRST } else { 0 })
                .buf_group(BUFFER_GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT)
        };
        self.connections[fd as usize].outstanding += 1;
        self.push(&entry.user_data(RECEIVE | fd as u64));
    }

    /// Sends what is left of the connection's block.
    fn send(&mut self, fd: RawFd) {
        let connection = &mut self.connections[fd as usize];
        connection.outstanding += 1;
        let offset = usize::from(connection.block) * BLOCK_STRIDE + usize::from(connection.start);
        let length = u32::from(connection.end - connection.start);
        let bytes = self.blocks.wrapping_add(offset);
        let entry = opcode::Send::new(Fd(fd), bytes, length).flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL);
        self.push(&entry.build().user_data(SEND | fd as u64));
    }

    /// Writes as many owed responses as a block holds, and sends them.
    fn answer(&mut self, fd: RawFd) {
        let block = self.free_blocks.pop().expect("one block per connection");
        let connection = &mut self.connections[fd as usize];
        let count = (connection.owed as usize).min(RESPONSES_PER_BLOCK);
        let length = count * RESPONSE.len();
        // SAFETY: the block lies in the mapping, `length` fits its stride, and no send uses it.
        let bytes = unsafe {
            let start = self.blocks.add(usize::from(block) * BLOCK_STRIDE);
            std::slice::from_raw_parts_mut(start, length)
        };
        bytes.chunks_exact_mut(RESPONSE.len()).for_each(|chunk| chunk.copy_from_slice(RESPONSE));
        connection.owed -= count as u32;
        connection.sending = true;
        (connection.block, connection.start, connection.end) = (block, 0, length as u16);
        self.send(fd);
    }

    fn complete(&mut self, completion: &cqueue::Entry) -> Result<()> {
        let fd = (completion.user_data() & 0xFFFF_FFFF) as RawFd;
        let (result, flags) = (completion.result(), completion.flags());
        match completion.user_data() & !0xFFFF_FFFF {
            ACCEPT => return self.accepted(result, cqueue::more(flags)),
            RECEIVE => self.received(fd, result, flags),
            SEND => self.sent(fd, result),
            SEND_BULK => self.sent_bulk(fd, result),
            _ => {} // a close
        }
        Ok(())
    }

    fn accepted(&mut self, result: i32, more: bool) -> Result<()> {
        if !more {
            self.accept();
        }
        match result {
            fd if fd >= CONNECTIONS as i32 => self.push(&close(fd)),
            fd if fd >= 0 => {
                self.connections[fd as usize] = Connection::default();
                self.receive(fd, false);
            }
            error if -error == libc::ECONNABORTED || -error == libc::EINTR => {}
            error => return Err(Error::from_raw_os_error(-error)),
        }
        Ok(())
    }

    fn received(&mut self, fd: RawFd, result: i32, flags: u32) {
        let more = cqueue::more(flags);
        let connection = &mut self.connections[fd as usize];
        connection.outstanding -= u8::from(!more);
        if let Some(mut id) = cqueue::buffer_select(flags) {
            let mut left = result.max(0) as usize;
            loop {
                let length = left.min(self.buffers.bytes);
                let connection = &mut self.connections[fd as usize];
                if connection.purpose == Purpose::Plain {
                    let data = self.buffers.filled(id, length);
                    connection.owed += count(&self.blank_line, &mut connection.matched, data);
                } else {
                    self.received_other(fd, id, length);
                }
                self.buffers.give_back(id);
                left -= length;
                if left == 0 {
                    break;
                }
                id = self.buffers.next_in_bundle(id);
            }
        }
        let connection = &mut self.connections[fd as usize];
        connection.ended |= result == 0 || (result < 0 && result != -libc::ENOBUFS);
        let ended = connection.ended;
        if connection.owed > 0 && !connection.sending {
            self.answer(fd);
        }
        if !more && !ended {
            self.receive(fd, cqueue::sock_nonempty(flags));
        }
        self.close_if_done(fd);
    }

    /// What a connection receives first, or in bulk.
    #[inline(never)]
    fn received_other(&mut self, fd: RawFd, id: u16, length: usize) {
        let data = self.buffers.filled(id, length);
        let connection = &mut self.connections[fd as usize];
        if connection.purpose == Purpose::Unknown {
            connection.purpose = Purpose::of(data);
            self.transfers[fd as usize] = Transfer::default();
        }
        if connection.purpose == Purpose::Plain {
            connection.owed += count(&self.blank_line, &mut connection.matched, data);
            return;
        }
        match self.transfers[fd as usize].received(data, self.download) {
            Step::Wait => {}
            Step::Answer => connection.owed += 1,
            Step::Send => self.send_bulk(fd),
            // SAFETY: the descriptor is open until its close is pushed, which is later than this.
            Step::Refuse => _ = unsafe { libc::shutdown(fd, libc::SHUT_RDWR) },
        }
    }

    /// Sends what is left of a download's chunk.
    fn send_bulk(&mut self, fd: RawFd) {
        self.connections[fd as usize].outstanding += 1;
        let part = self.download.part(self.transfers[fd as usize].part());
        let entry = opcode::Send::new(Fd(fd), part.as_ptr(), part.len() as u32)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL);
        self.push(&entry.build().user_data(SEND_BULK | fd as u64));
    }

    fn sent_bulk(&mut self, fd: RawFd, result: i32) {
        self.connections[fd as usize].outstanding -= 1;
        if result <= 0 {
            // SAFETY: the descriptor is open until `outstanding` is 0 and its close is pushed. This ends the
            // receive that is still armed.
            unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
        } else if self.transfers[fd as usize].sent(result as u32, self.download) {
            return self.send_bulk(fd);
        }
        self.close_if_done(fd);
    }

    fn sent(&mut self, fd: RawFd, result: i32) {
        let connection = &mut self.connections[fd as usize];
        connection.outstanding -= 1;
        if result > 0 {
            connection.start += result as u16;
        }
        if result > 0 && connection.start < connection.end {
            return self.send(fd); // a short send
        }
        connection.sending = false;
        self.free_blocks.push(connection.block);
        if result <= 0 {
            connection.owed = 0;
            // SAFETY: the descriptor is open until `outstanding` is 0. This ends the receive that is still armed.
            unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
        } else if connection.owed > 0 {
            self.answer(fd);
        }
        self.close_if_done(fd);
    }

    fn close_if_done(&mut self, fd: RawFd) {
        let connection = &self.connections[fd as usize];
        if connection.ended && connection.outstanding == 0 {
            self.push(&close(fd));
        }
    }
}

fn close(fd: RawFd) -> squeue::Entry {
    opcode::Close::new(Fd(fd)).build().user_data(CLOSE)
}
