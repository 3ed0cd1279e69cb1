//! Times of entries: seconds and nanoseconds since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The moment that a filer's pair of numbers names. Nanoseconds out of range, which no writer
/// has a reason to send, are limited to a second; so is what the clock cannot express.
pub(super) fn stamp(seconds: i64, nanos: i32) -> SystemTime {
    let nanos = nanos.clamp(0, NANOS_MAX).unsigned_abs();
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = match seconds < 0 {
        true => UNIX_EPOCH.checked_sub(whole),
        false => UNIX_EPOCH.checked_add(whole),
    };
    let moment = second.and_then(|s| s.checked_add(Duration::new(0, nanos)));
    moment.unwrap_or(UNIX_EPOCH)
}

/// The reverse of [`stamp`].
pub(super) fn split(time: SystemTime) -> (i64, i32) {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (seconds(after), after.subsec_nanos().cast_signed()),
        Err(before) => {
            let before = before.duration();
            match before.subsec_nanos().cast_signed() {
                0 => (-seconds(before), 0),
                nanos => (-seconds(before) - 1, NANOS_MAX + 1 - nanos),
            }
        }
    }
}

/// Whether a time was ever set. Filers store Go's zero time for times that nobody gave them,
/// among others in directories they make by themselves.
pub(super) fn is_known(seconds: i64, nanos: i32) -> bool {
    (seconds, nanos) != (0, 0) && seconds != GO_ZERO
}

/// The first of January of the year 1.
const GO_ZERO: i64 = -62_135_596_800;
/// Nanoseconds of the last moment of a second.
const NANOS_MAX: i32 = 999_999_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_count_forwards_even_before_1970() {
        assert_eq!(stamp(0, 0), UNIX_EPOCH);
        assert_eq!(stamp(3, 5), UNIX_EPOCH + Duration::new(3, 5));
        assert_eq!(stamp(-1, 999_999_999), UNIX_EPOCH - Duration::new(0, 1));
    }

    #[test]
    fn what_is_split_is_the_same_moment() {
        for moment in [
            stamp(3, 5),
            stamp(-1, 999_999_999),
            stamp(-7, 0),
            UNIX_EPOCH,
        ] {
            let (seconds, nanos) = split(moment);
            assert_eq!(stamp(seconds, nanos), moment);
        }
    }

    #[test]
    fn the_zero_times_of_c_and_go_are_unknown() {
        assert!(!is_known(0, 0) && !is_known(-62_135_596_800, 0));
        assert!(is_known(0, 1) && is_known(-1, 0) && is_known(1, 0));
    }

    #[test]
    fn nonsense_stays_a_time() {
        assert_eq!(stamp(3, -5), UNIX_EPOCH + Duration::from_secs(3));
        assert_eq!(
            stamp(3, i32::MAX),
            UNIX_EPOCH + Duration::new(3, 999_999_999)
        );
        for seconds in [i64::MIN, i64::MAX] {
            stamp(seconds, 999_999_999);
        }
    }
}
