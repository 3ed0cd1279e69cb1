//! How hard memory is pressed, from one look to the next.
//!
//! Seventeen levels: at [`LEVELS`] every limit is what was planned, at 0 it is at its floor. Coming
//! near the ceiling costs a quarter of them at a time, an out-of-memory event of the control group half
//! of what is left, and each quiet look gives one back: down fast, up slowly, so that caches
//! are not emptied and filled in turn. Looks in, levels out: no time, no I/O.

/// The level without pressure.
pub const LEVELS: u8 = 16;

/// What the kernel says at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Look {
    /// Bytes of the process in memory (VmRSS).
    pub resident: usize,
    /// The tightest control group above the process that has a limit.
    pub group: Option<Group>,
    /// Part of the last ten seconds in which something waited for memory, in percent (PSI, `some`):
    /// of the control group, or of the machine. Where it cannot be read, 0.
    pub stalled: f32,
}

/// How a control group stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Group {
    /// Bytes that cannot just be dropped: without file pages not used lately.
    pub used: u64,
    /// Its limit.
    pub max: u64,
    /// Times it had no memory to give, so far.
    pub oom: u64,
}

/// More of ten seconds than this spent waiting for memory is too much.
const STALLED: f32 = 20.0;

/// The level, and what has to be remembered to tell the next.
#[derive(Debug, Clone)]
pub struct Pressure {
    level: u8,
    oom: Option<u64>,
}

impl Default for Pressure {
    fn default() -> Self {
        Self {
            level: LEVELS,
            oom: None,
        }
    }
}

impl Pressure {
    /// The level after the last look.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// The level after one more look, with `used` bytes of `ceiling` in use.
    pub fn step(&mut self, used: usize, ceiling: usize, look: &Look) -> u8 {
        let oom = look.group.map(|group| group.oom);
        let failed = self
            .oom
            .is_some_and(|before| oom.is_some_and(|now| now > before));
        self.oom = oom.or(self.oom);
        let group = look.group.unwrap_or_default();
        let fills = |sixteenths: u64| {
            let of = |all: u64| all / 16 * sixteenths;
            used as u64 > of(ceiling as u64) || (group.max > 0 && group.used > of(group.max))
        };
        self.level = if failed {
            self.level / 2
        } else if fills(15) {
            self.level.saturating_sub(LEVELS / 4)
        } else if look.stalled > STALLED {
            self.level.saturating_sub(1)
        } else if fills(14) {
            self.level
        } else {
            (self.level + 1).min(LEVELS)
        };
        self.level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_the_ceiling_it_falls_fast_and_rises_slowly() {
        let mut pressure = Pressure::default();
        let quiet = Look::default();
        assert_eq!(pressure.step(800, 1000, &quiet), 16);
        assert_eq!(pressure.step(970, 1000, &quiet), 12);
        assert_eq!(pressure.step(970, 1000, &quiet), 8);
        assert_eq!(pressure.step(900, 1000, &quiet), 8, "neither");
        assert_eq!(pressure.step(500, 1000, &quiet), 9);
        for _ in 0..5 {
            pressure.step(2000, 1000, &quiet);
        }
        assert_eq!(pressure.level(), 0);
    }

    #[test]
    fn the_control_group_and_stalls_count_too() {
        let mut pressure = Pressure::default();
        let group = |used, oom| Look {
            group: Some(Group {
                used,
                max: 1600,
                oom,
            }),
            ..Look::default()
        };
        assert_eq!(pressure.step(0, 1000, &group(100, 3)), 16, "old events");
        assert_eq!(pressure.step(0, 1000, &group(1550, 3)), 12);
        assert_eq!(pressure.step(0, 1000, &group(100, 4)), 6);
        assert_eq!(pressure.step(0, 1000, &group(100, 4)), 7);
        let stalled = Look {
            stalled: 50.0,
            ..Look::default()
        };
        assert_eq!(pressure.step(0, 1000, &stalled), 6);
    }
}
