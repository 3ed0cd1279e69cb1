//! Dividing the ceiling when a mount starts.
//!
//! What a flag says is taken as it is, and together the flags must fit: if not, that is an error that
//! names them. What no flag says is a default, and gives way: all defaults are scaled down by
//! one factor, each as far as its own least.

use std::fmt::Write as _;

/// A part of the ceiling that something wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// The flag that says how much.
    pub flag: &'static str,
    /// How much, in bytes.
    pub bytes: u64,
    /// Without this much it does not work.
    pub least: u64,
    /// Whether the flag was given, so that it is not to be scaled down.
    pub given: bool,
}

/// The ceiling is too low.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("-memoryLimitMB={}: too little for {wanted}: {} MiB are needed", .ceiling >> 20, .needed.div_ceil(1 << 20))]
pub struct PlanError {
    /// The ceiling, in bytes.
    pub ceiling: u64,
    /// The lowest at which it would work.
    pub needed: u64,
    wanted: String,
}

/// The share of the ceiling that is nobody's: allocators cannot give back every hole, and some
/// memory is counted a moment late.
const SLACK: u64 = 8;

/// What of a ceiling there is to divide, with `base` bytes for the program itself.
pub fn room(ceiling: u64, base: u64) -> u64 {
    (ceiling - ceiling / SLACK).saturating_sub(base)
}

/// What each of `wants` gets, in their order.
///
/// # Errors
/// [`PlanError`] when the flags given, and the least of the others, do not fit.
pub fn plan(ceiling: u64, base: u64, wants: &[Want]) -> Result<Vec<u64>, PlanError> {
    let room = room(ceiling, base);
    let firm = |want: &Want| match want.given {
        true => want.bytes.max(want.least),
        false => want.least,
    };
    let needed = wants.iter().map(firm).fold(0, u64::saturating_add);
    if needed > room {
        let least = ceiling_for(needed, base);
        let slack = least - needed.saturating_add(base).min(least);
        return Err(PlanError {
            ceiling,
            needed: least,
            wanted: wanted(wants, base, slack),
        });
    }
    // The factor, in steps of 1/1024.
    let with = |factor: u64| {
        let scaled = |want: &Want| match want.given {
            true => firm(want),
            false => (u128::from(want.bytes) * u128::from(factor) / 1024)
                .try_into()
                .unwrap_or(u64::MAX)
                .max(want.least),
        };
        wants.iter().map(scaled).collect::<Vec<u64>>()
    };
    let fits = |all: &[u64]| all.iter().copied().fold(0, u64::saturating_add) <= room;
    let (mut low, mut high) = (0, 1024);
    if fits(&with(high)) {
        return Ok(with(high));
    }
    while high - low > 1 {
        let middle = low.midpoint(high);
        match fits(&with(middle)) {
            true => low = middle,
            false => high = middle,
        }
    }
    Ok(with(low))
}

/// The lowest ceiling that leaves this much to divide.
fn ceiling_for(needed: u64, base: u64) -> u64 {
    let all = needed.saturating_add(base);
    all.saturating_add(all.div_ceil(SLACK - 1))
}

/// Names the flags, and what is needed beside them: together as much as the ceiling must be.
fn wanted(wants: &[Want], base: u64, slack: u64) -> String {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let mut text = String::new();
    for want in wants.iter().filter(|want| want.given) {
        let bytes = mib(want.bytes.max(want.least));
        let _ = write!(text, "{} ({bytes} MiB), ", want.flag);
    }
    let least = wants.iter().filter(|want| !want.given);
    let least: u64 = least.map(|want| want.least).sum();
    let _ = write!(
        text,
        "the least of the rest ({} MiB) and an eighth that stays free ({} MiB)",
        mib(least + base),
        mib(slack)
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn want(flag: &'static str, mib: u64, least: u64, given: bool) -> Want {
        Want {
            flag,
            bytes: mib * MIB,
            least: least * MIB,
            given,
        }
    }

    #[test]
    fn defaults_give_way_and_flags_do_not() {
        let wants = [
            want("-a", 256, 16, true),
            want("-b", 256, 16, false),
            want("-c", 512, 200, false),
        ];
        let all = plan(8192 * MIB, 64 * MIB, &wants).unwrap();
        assert_eq!(all, [256 * MIB, 256 * MIB, 512 * MIB]);
        let all = plan(800 * MIB, 64 * MIB, &wants).unwrap();
        assert_eq!(all[0], 256 * MIB);
        assert!(all[1] < 256 * MIB && all[1] >= 16 * MIB, "{all:?}");
        assert!(all[2] < 512 * MIB && all[2] >= 200 * MIB, "{all:?}");
        assert!(all.iter().sum::<u64>() <= room(800 * MIB, 64 * MIB));
        assert!(all.iter().sum::<u64>() > room(790 * MIB, 64 * MIB));
    }

    #[test]
    fn flags_that_do_not_fit_are_named() {
        let wants = [want("-a", 256, 16, true), want("-b", 256, 16, false)];
        let error = plan(256 * MIB, 64 * MIB, &wants).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("-memoryLimitMB=256") && text.contains("-a (256 MiB)"),
            "{text}"
        );
        assert!(!text.contains("-b"), "{text}");
        let parts = text.split('(').skip(1);
        let parts = parts.map(|part| part.split(' ').next().unwrap().parse::<u64>().unwrap());
        let whole = error.needed.div_ceil(MIB);
        let sum: u64 = parts.sum();
        assert!((whole..whole + 3).contains(&sum), "{text}");
        assert!(plan(error.needed, 64 * MIB, &wants).is_ok());
        assert!(plan(error.needed - 2 * MIB, 64 * MIB, &wants).is_err());
    }
}
