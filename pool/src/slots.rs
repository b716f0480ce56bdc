//! Values of any size that stay where they are and often come anew, such as futures.
//!
//! Owns: memory of a few sizes between two uses, and the values in it meanwhile. Must not know: what they do.
//!
//! A [`Placed`] is what a `Box` is, but that its memory comes from a shelf and goes back there: in steady state
//! nothing is asked of the allocator. Invariants:
//!
//! - `SLOT-MEMORY`: a slot's memory was allocated with the layout of its class, or with its value's own, and is on
//!   a shelf or under one `Placed`, never both.
//! - `SLOT-VALUE`: the value of a `Placed` is initialised, lies at the start of the slot, and stays there until it is
//!   dropped.

#![allow(unsafe_code, reason = "keeps values in memory that it allocates itself")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The sizes of slots are powers of two from this on, in bytes.
const SMALLEST: usize = 64;

/// How many sizes there are: the largest has 16 KiB. Values beyond that have memory of their own.
const CLASSES: usize = 9;

/// Every slot begins on such a border, a cache line.
const ALIGN: usize = 64;

/// Each shelf keeps at most so many bytes.
const SHELF_BYTES: usize = 1 << 20;

/// Memory for values that come and go. Clones share it.
#[derive(Clone, Default)]
pub struct Slots {
    shelves: Rc<Shelves>,
}

#[derive(Default)]
struct Shelves {
    free: [RefCell<Vec<NonNull<u8>>>; CLASSES],
    /// Values that are placed now.
    placed: Cell<usize>,
}

/// A value in a slot, pinned there.
pub struct Placed<T: ?Sized> {
    value: NonNull<T>,
    /// The class of the slot, or [`CLASSES`] for memory of the value's own.
    class: u8,
    shelves: Rc<Shelves>,
}

fn class_layout(class: usize) -> Layout {
    Layout::from_size_align(SMALLEST << class, ALIGN).expect("a power of two")
}

/// The class that fits, or [`CLASSES`].
fn class_of(layout: Layout) -> usize {
    if layout.align() > ALIGN || layout.size() > SMALLEST << (CLASSES - 1) {
        return CLASSES;
    }
    let size = layout.size().max(SMALLEST).next_power_of_two();
    (size / SMALLEST).trailing_zeros() as usize
}

/// A layout that an allocator takes: it has no use for one without bytes.
fn own_layout(layout: Layout) -> Layout {
    if layout.size() == 0 {
        Layout::from_size_align(1, layout.align()).expect("valid before")
    } else {
        layout
    }
}

impl Shelves {
    fn take(&self, layout: Layout) -> NonNull<u8> {
        let class = class_of(layout);
        let layout = match self.free.get(class) {
            Some(shelf) => {
                if let Some(memory) = shelf.borrow_mut().pop() {
                    return memory;
                }
                class_layout(class)
            }
            None => own_layout(layout),
        };
        // SAFETY: neither layout is without bytes.
        let memory = unsafe { alloc(layout) };
        NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
    }

    /// # Safety
    /// `memory` came from `take` for this class, or for this layout, and nobody uses it.
    unsafe fn give(&self, memory: NonNull<u8>, class: usize, layout: Layout) {
        let layout = match self.free.get(class) {
            Some(shelf) => {
                let mut shelf = shelf.borrow_mut();
                if shelf.len() < SHELF_BYTES / (SMALLEST << class) {
                    return shelf.push(memory);
                }
                class_layout(class)
            }
            None => own_layout(layout),
        };
        // SAFETY: SLOT-MEMORY: allocated with this layout, and given up by the caller.
        unsafe { dealloc(memory.as_ptr(), layout) };
    }
}

impl Drop for Shelves {
    fn drop(&mut self) {
        for (class, shelf) in self.free.iter_mut().enumerate() {
            for memory in shelf.get_mut().drain(..) {
                // SAFETY: SLOT-MEMORY: what is on a shelf has the layout of its class, and no `Placed`.
                unsafe { dealloc(memory.as_ptr(), class_layout(class)) };
            }
        }
    }
}

impl Slots {
    /// Slots without any memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Places `value`. `unsize` says what it is seen as from then on, `|value| value` in most cases.
    ///
    /// ```
    /// use std::fmt::Display;
    ///
    /// let slots = peregrine_pool::Slots::new();
    /// let placed = slots.place(7, |value| value as &mut dyn Display);
    /// assert_eq!(placed.to_string(), "7");
    /// ```
    ///
    /// # Panics
    /// When `unsize` returns anything but the whole of what it is given.
    pub fn place<V, T: ?Sized>(&self, value: V, unsize: impl FnOnce(&mut V) -> &mut T) -> Placed<T> {
        let layout = Layout::new::<V>();
        let class = class_of(layout);
        let memory = self.shelves.take(layout).cast::<V>();
        // SAFETY: the memory is nobody else's, and large and aligned enough for a `V`.
        unsafe { memory.write(value) };
        // SAFETY: just initialised.
        let seen = NonNull::from(unsize(unsafe { &mut *memory.as_ptr() }));
        // SAFETY: a reference until now.
        let seen_layout = Layout::for_value(unsafe { seen.as_ref() });
        // Another value, or a part of this one, would be dropped in its place.
        assert!(seen.cast() == memory && seen_layout == layout, "not the value that was placed");
        self.shelves.placed.set(self.shelves.placed.get() + 1);
        Placed { value: seen, class: class as u8, shelves: Rc::clone(&self.shelves) }
    }

    /// How many values are placed now.
    #[must_use]
    pub fn placed(&self) -> usize {
        self.shelves.placed.get()
    }

    /// Gives the memory of an earlier peak back, but for `keep` slots of each size.
    pub fn trim(&self, keep: usize) {
        for (class, shelf) in self.shelves.free.iter().enumerate() {
            let mut shelf = shelf.borrow_mut();
            let surplus = shelf.len().saturating_sub(keep);
            for memory in shelf.drain(..surplus) {
                // SAFETY: SLOT-MEMORY: it was on the shelf, and is no longer.
                unsafe { dealloc(memory.as_ptr(), class_layout(class)) };
            }
            shelf.shrink_to_fit();
        }
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("placed", &self.placed()).finish_non_exhaustive()
    }
}

impl<T: ?Sized> Placed<T> {
    /// The value, where it is pinned.
    #[inline]
    pub fn as_mut(&mut self) -> Pin<&mut T> {
        // SAFETY: SLOT-VALUE: initialised, ours alone, and never moved before it is dropped.
        unsafe { Pin::new_unchecked(self.value.as_mut()) }
    }
}

impl<T: ?Sized> Deref for Placed<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: SLOT-VALUE: initialised; a shared borrow of `self` lets nobody change it.
        unsafe { self.value.as_ref() }
    }
}

impl<F: Future + ?Sized> Future for Placed<F> {
    type Output = F::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.as_mut().get_mut().as_mut().poll(context)
    }
}

// The value is pinned behind the pointer, whose own place is of no matter.
impl<T: ?Sized> Unpin for Placed<T> {}

impl<T: ?Sized> Drop for Placed<T> {
    fn drop(&mut self) {
        /// Gives the memory back even if the value panics as it goes.
        struct Return<'a>(&'a Shelves, NonNull<u8>, usize, Layout);

        impl Drop for Return<'_> {
            fn drop(&mut self) {
                self.0.placed.set(self.0.placed.get() - 1);
                // SAFETY: SLOT-MEMORY: the value that was in it is dropped, and its `Placed` going.
                unsafe { self.0.give(self.1, self.2, self.3) };
            }
        }

        // SAFETY: SLOT-VALUE: initialised until the next line.
        let layout = Layout::for_value(unsafe { self.value.as_ref() });
        let _memory = Return(&self.shelves, self.value.cast(), usize::from(self.class), layout);
        // SAFETY: SLOT-VALUE: initialised, and nobody can reach it after this.
        unsafe { self.value.drop_in_place() };
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Placed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

const _: () = assert!(size_of::<Placed<dyn Future<Output = ()>>>() <= 32);

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn memory_is_used_again_and_values_are_dropped_once() {
        let slots = Slots::new();
        let counted = Rc::new(());
        let mut addresses = Vec::new();
        for _ in 0..3 {
            let placed = slots.place(Rc::clone(&counted), |value| value);
            assert_eq!((Rc::strong_count(&counted), slots.placed()), (2, 1));
            addresses.push(placed.value);
            drop(placed);
            assert_eq!((Rc::strong_count(&counted), slots.placed()), (1, 0));
        }
        assert_eq!(addresses[0], addresses[2]);
    }

    #[test]
    fn every_size_and_border_is_kept_apart() {
        #[repr(align(256))]
        struct Wide(u8);

        let slots = Slots::new();
        for _ in 0..2 {
            let small = slots.place([1_u8; 1], |value| &mut value[..]);
            let exact = slots.place([2_u8; 64], |value| &mut value[..]);
            let next = slots.place([3_u8; 65], |value| &mut value[..]);
            let largest = slots.place([4_u8; 16 * 1024], |value| &mut value[..]);
            let huge = slots.place([5_u8; 16 * 1024 + 1], |value| &mut value[..]);
            let none = slots.place((), |value| value);
            let wide = slots.place(Wide(6), |value| value);
            for (bytes, number) in [&small, &exact, &next, &largest, &huge].into_iter().zip(1..) {
                assert!(bytes.iter().all(|&byte| byte == number));
            }
            assert_eq!(((*none), wide.0, wide.value.as_ptr().addr() % 256), ((), 6, 0));
            assert_eq!(slots.placed(), 7);
        }
        slots.trim(0);
        assert!(slots.shelves.free.iter().all(|shelf| shelf.borrow().is_empty()));
    }

    #[test]
    fn shelves_are_bounded() {
        let slots = Slots::new();
        let many: Vec<_> = (0..200).map(|_| slots.place([0_u8; 16 * 1024], |value| value)).collect();
        drop(many);
        assert_eq!(slots.shelves.free[CLASSES - 1].borrow().len(), SHELF_BYTES / (16 * 1024));
        slots.trim(3);
        assert_eq!(slots.shelves.free[CLASSES - 1].borrow().len(), 3);
    }

    #[test]
    fn a_value_outlives_its_slots() {
        let slots = Slots::new();
        let placed = slots.place(String::from("still here"), |value| value);
        drop(slots);
        assert_eq!(*placed, "still here");
    }

    #[test]
    fn only_the_whole_value_can_be_placed() {
        let slots = Slots::new();
        let part = catch_unwind(AssertUnwindSafe(|| slots.place((1_u64, 2_u8), |value| &mut value.0)));
        assert!(part.is_err());
        let other = catch_unwind(AssertUnwindSafe(|| slots.place(1_u64, |_| Box::leak(Box::new(2_u64)))));
        assert!(other.is_err());
        assert_eq!(slots.placed(), 0);
    }

    #[test]
    fn a_drop_that_panics_gives_the_memory_back() {
        struct Bomb;

        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("as meant");
            }
        }

        let slots = Slots::new();
        let placed = slots.place(Bomb, |value| value);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(placed))).is_err());
        assert_eq!((slots.placed(), slots.shelves.free[0].borrow().len()), (0, 1));
    }

    #[test]
    fn futures_run_where_they_lie() {
        let slots = Slots::new();
        let number = 7;
        let future = async { number + std::future::ready(1).await };
        let mut placed = slots.place(future, |future| future as &mut dyn Future<Output = i32>);
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert_eq!(Pin::new(&mut placed).poll(&mut context), Poll::Ready(8));
    }
}
