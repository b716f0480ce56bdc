//! What comes of every kind of type, and what is said when nothing does.

mod differential;
mod errors;
mod forms;
mod params;
mod speed;

/// Whether `part` lies inside `whole`: it was borrowed, not copied.
fn lies_in(part: &str, whole: &[u8]) -> bool {
    let whole = whole.as_ptr_range();
    let part = part.as_bytes().as_ptr_range();
    whole.start <= part.start && part.end <= whole.end
}
