//! How long a needle lives.

use std::fmt;
use std::time::Duration;

/// A count of some unit, from a minute to a year. One of a needle is stored in it; one of
/// a volume is given to each needle that is written there without its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ttl {
    /// How many units.
    pub count: u8,
    unit: u8,
}

impl Ttl {
    /// Reads the two stored bytes: count and unit. Nothing when they mean "for ever", which
    /// they also do with a unit that no server knows.
    pub fn from_bytes([count, unit]: [u8; 2]) -> Option<Self> {
        let known = (1..=UNITS.len()).contains(&usize::from(unit));
        (count != 0 && known).then_some(Self { count, unit })
    }

    /// The two stored bytes.
    pub fn to_bytes(self) -> [u8; 2] {
        [self.count, self.unit]
    }

    /// Time from writing to expiry.
    pub fn duration(self) -> Duration {
        let (_, minutes) = self.unit();
        Duration::from_secs(u64::from(self.count) * minutes * 60)
    }

    fn unit(self) -> (char, u64) {
        UNITS[usize::from(self.unit) - 1]
    }
}

impl fmt::Display for Ttl {
    /// As flags of `weed` take it: `3m`, `4h`, `5d`, `6w`, `7M`, `8y`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.count, self.unit().0)
    }
}

/// Letters and minutes of the units 1 to 6. Months have 30 days and years 365 for a server.
const UNITS: [(char, u64); 6] = [
    ('m', 1),
    ('h', 60),
    ('d', 24 * 60),
    ('w', 7 * 24 * 60),
    ('M', 30 * 24 * 60),
    ('y', 365 * 24 * 60),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_count_from_a_minute_to_a_year() {
        let of = |count, unit| Ttl::from_bytes([count, unit]).unwrap();
        assert_eq!(of(3, 1).duration(), Duration::from_secs(180));
        assert_eq!(of(1, 6).duration(), Duration::from_secs(365 * 86_400));
        let texts: Vec<_> = (1..=6).map(|unit| of(unit, unit).to_string()).collect();
        assert_eq!(texts, ["1m", "2h", "3d", "4w", "5M", "6y"]);
        assert_eq!(of(3, 1).to_bytes(), [3, 1]);
        for forever in [[0, 0], [0, 1], [5, 0], [5, 7], [255, 255]] {
            assert_eq!(Ttl::from_bytes(forever), None);
        }
    }
}
