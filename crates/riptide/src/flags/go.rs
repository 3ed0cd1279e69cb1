//! Values as Go's `strconv` and `time` packages read them.
//!
//! `weed` reads its flags with them, so that `0x10`, `1_000`, `T` and
//! `1m30.5s` are values people may have in their scripts.

use std::time::Duration;

/// A word for on or off: the twelve that `strconv.ParseBool` knows.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A whole number as `strconv.ParseInt(text, 0, 64)` reads it: an optional
/// sign, an optional prefix `0x`, `0o`, `0b` or `0` (octal), and underscores
/// between digits or after the prefix.
pub fn parse_int(text: &str) -> Option<i64> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = split_prefix(unsigned);
    let prefixed = digits.len() < unsigned.len();
    if !underscores_separate(digits, prefixed) {
        return None;
    }
    let mut value: i128 = 0;
    for digit in digits.chars().filter(|c| *c != '_') {
        value = value * i128::from(radix) + i128::from(digit.to_digit(radix)?);
        if value > 1 << 63 {
            return None;
        }
    }
    i64::try_from(if negative { -value } else { value }).ok()
}

fn split_prefix(text: &str) -> (u32, &str) {
    let lower = text.get(..2).map(str::to_ascii_lowercase);
    match lower.as_deref() {
        Some("0x") => (16, &text[2..]),
        Some("0o") => (8, &text[2..]),
        Some("0b") => (2, &text[2..]),
        _ if text.len() > 1 && text.starts_with('0') => (8, &text[1..]),
        _ => (10, text),
    }
}

/// Whether each underscore has a digit on both sides, where a prefix counts as one.
fn underscores_separate(digits: &str, prefixed: bool) -> bool {
    let mut after_digit = prefixed;
    for c in digits.chars() {
        if c == '_' && !after_digit {
            return false;
        }
        after_digit = c != '_';
    }
    after_digit && digits.chars().any(|c| c != '_')
}

/// A span of time as `time.ParseDuration` reads it: numbers with units, such
/// as `300ms`, `1.5h` or `2h45m`, or a bare `0`. Negative ones are not
/// accepted, since no flag has a use for them.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total_ns: u128 = 0;
    let mut parts = 0;
    while !rest.is_empty() {
        let (number, after) = split_while(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split_while(after, |c| !c.is_ascii_digit() && c != '.');
        total_ns = total_ns.checked_add(part_ns(number, unit_ns(unit)?)?)?;
        parts += 1;
        rest = after;
    }
    // Go keeps a duration in an int64 of nanoseconds.
    let total_ns = i64::try_from(total_ns).ok()?;
    (parts > 0).then(|| Duration::from_nanos(total_ns.unsigned_abs()))
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !keep(c)).unwrap_or(text.len()))
}

fn unit_ns(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// `number` times `unit`, where the number may have a fraction.
fn part_ns(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole_ns = match whole {
        "" => 0,
        digits => digits.parse::<u128>().ok()?.checked_mul(unit)?,
    };
    // More digits than 15 cannot change a count of nanoseconds below an hour.
    let digits = &fraction[..fraction.len().min(15)];
    let fraction_ns = match digits {
        "" => 0,
        digits => digits.parse::<u128>().ok()? * unit / 10u128.pow(digits.len() as u32),
    };
    whole_ns.checked_add(fraction_ns)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_are_read_as_go_reads_them() {
        for (text, value) in [
            ("0", Some(0)),
            ("42", Some(42)),
            ("-3", Some(-3)),
            ("+7", Some(7)),
            ("0x1F", Some(31)),
            ("0X1f", Some(31)),
            ("0o17", Some(15)),
            ("017", Some(15)),
            ("00", Some(0)),
            ("0b101", Some(5)),
            ("1_000", Some(1000)),
            ("0x_10", Some(16)),
            ("0_7", Some(7)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            ("+-1", None),
            ("0x", None),
            ("08", None),
            ("_1", None),
            ("1_", None),
            ("1__0", None),
            ("0_", None),
            ("1.5", None),
            (" 1", None),
            ("1k", None),
            ("é", None),
        ] {
            assert_eq!(parse_int(text), value, "{text:?}");
        }
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let ms = Duration::from_millis;
        for (text, value) in [
            ("6s", Some(ms(6_000))),
            ("1m30s", Some(ms(90_000))),
            ("500ms", Some(ms(500))),
            ("1h1.5m2ms", Some(ms(3_690_002))),
            (".5s", Some(ms(500))),
            ("1.s", Some(ms(1_000))),
            ("0", Some(ms(0))),
            ("+2s", Some(ms(2_000))),
            ("3us", Some(Duration::from_micros(3))),
            ("3µs", Some(Duration::from_micros(3))),
            ("3ns", Some(Duration::from_nanos(3))),
            ("0.0000000004s", Some(ms(0))),
            ("6", None),
            ("", None),
            ("+", None),
            ("s", None),
            (".s", None),
            ("1.2.3s", None),
            ("-1s", None),
            ("1d", None),
            ("1 s", None),
            ("9999999999h", None),
        ] {
            assert_eq!(parse_duration(text), value, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_them_panic(text in ".{0,24}") {
            let _ = (parse_bool(&text), parse_int(&text), parse_duration(&text));
        }

        #[test]
        fn written_integers_are_read_back(value: i64) {
            prop_assert_eq!(parse_int(&value.to_string()), Some(value));
            prop_assert_eq!(parse_int(&format!("{:#x}", value.unsigned_abs() >> 1)),
                i64::try_from(value.unsigned_abs() >> 1).ok());
        }

        #[test]
        fn written_durations_are_read_back(ns in 0..=i64::MAX as u64) {
            let duration = Duration::from_nanos(ns);
            let text = format!("{}s{}ns", duration.as_secs(), duration.subsec_nanos());
            prop_assert_eq!(parse_duration(&text), Some(duration));
        }
    }
}
