//! The memory plan: every holder of memory, line by line, so that what a worker may use is a sum and no
//! guess.
//!
//! Owns: the list and how it is printed. Must not know: who the holders are.

use std::borrow::Cow;
use std::fmt;

/// One line of the plan: `count` units of `unit_bytes` each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// What holds the memory.
    pub name: Cow<'static, str>,
    /// The size of one unit in bytes.
    pub unit_bytes: usize,
    /// The most units there can be.
    pub count: usize,
    /// Where the numbers come from, or what they bound. May be empty.
    pub note: Cow<'static, str>,
}

impl Holder {
    /// The most bytes this holder can hold; `usize::MAX` where the product is beyond it.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.unit_bytes.saturating_mul(self.count)
    }
}

/// The holders of memory and their sum. `Display` prints an aligned table that ends with the total.
#[derive(Clone, Debug, Default)]
pub struct MemoryPlan {
    holders: Vec<Holder>,
}

impl MemoryPlan {
    /// A plan without holders.
    #[must_use]
    pub fn new() -> MemoryPlan {
        MemoryPlan::default()
    }

    /// Adds a holder of `count` units of `unit_bytes` each. Lines are printed in the order they are added.
    pub fn hold(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        unit_bytes: usize,
        count: usize,
        note: impl Into<Cow<'static, str>>,
    ) -> &mut MemoryPlan {
        self.holders.push(Holder { name: name.into(), unit_bytes, count, note: note.into() });
        self
    }

    /// The lines of the plan.
    #[must_use]
    pub fn holders(&self) -> &[Holder] {
        &self.holders
    }

    /// The sum over all holders in bytes; `usize::MAX` where it is beyond that.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.holders.iter().fold(0, |sum, holder| sum.saturating_add(holder.total_bytes()))
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![["holder", "unit", "count", "bytes", "note"].map(String::from)];
        rows.extend(self.holders.iter().map(|holder| {
            [
                holder.name.to_string(),
                human(holder.unit_bytes),
                holder.count.to_string(),
                human(holder.total_bytes()),
                holder.note.to_string(),
            ]
        }));
        let total = self.total_bytes();
        let exact = format!("{total} B");
        rows.push(["total".into(), String::new(), String::new(), human(total), exact]);

        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [0, 1, 2, 3].map(width);
        for [name, unit, count, bytes, note] in &rows {
            let [w0, w1, w2, w3] = widths;
            let line = format!("{name:<w0$}  {unit:>w1$}  {count:>w2$}  {bytes:>w3$}  {note}");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// `bytes` with a binary unit and one decimal: small numbers are exact, large ones readable.
fn human(bytes: usize) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = "KiB";
    for larger in ["MiB", "GiB", "TiB", "PiB", "EiB"] {
        // 1023.95 would be printed as 1024.0.
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_an_aligned_table_with_a_total() {
        let mut plan = MemoryPlan::new();
        plan.hold("receive blocks", 4160, 1024, "one buffer ring").hold("connections", 192, 10_000, "");
        assert_eq!(plan.total_bytes(), 4160 * 1024 + 192 * 10_000);
        let expected = "\
holder             unit  count    bytes  note
receive blocks  4.1 KiB   1024  4.1 MiB  one buffer ring
connections       192 B  10000  1.8 MiB
total                           5.9 MiB  6179840 B
";
        assert_eq!(plan.to_string(), expected);
    }

    #[test]
    fn sums_saturate() {
        let mut plan = MemoryPlan::new();
        plan.hold(String::from("all"), usize::MAX, 2, "").hold("more", 1, 1, "");
        assert_eq!(plan.total_bytes(), usize::MAX);
        assert!(plan.to_string().contains("16.0 EiB"));
    }

    #[test]
    fn units_are_binary() {
        assert_eq!([0, 1023, 1024, 1 << 20].map(human), ["0 B", "1023 B", "1.0 KiB", "1.0 MiB"]);
        assert_eq!(human((1 << 20) - 1), "1.0 MiB");
        assert_eq!(MemoryPlan::new().to_string().lines().count(), 2);
    }
}
