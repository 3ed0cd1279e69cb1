//! A distribution of latencies, all variants in one picture: time on a logarithmic scale, the share
//! of operations that took no longer upwards.

use std::fmt::Write;

use serde_json::Value;

use super::style::escape;
use super::{Column, list};

/// Adds the card of a row that has a distribution.
pub(super) fn card(out: &mut String, row: &Value, columns: &[Column]) {
    let curves: Vec<(&Column, Vec<(f64, f64)>)> = columns
        .iter()
        .map(|column| (column, points(&row["distribution"][column.key])))
        .filter(|(_, points)| !points.is_empty())
        .collect();
    let times = || {
        curves
            .iter()
            .flat_map(|(_, points)| points)
            .map(|(_, us)| *us)
    };
    let (first, last) = (
        times().fold(f64::MAX, f64::min),
        times().fold(0.0, f64::max),
    );
    let axis = Axis::over(first, last);
    out.push_str("<div class=\"card\">");
    let name = escape(row["title"].as_str().unwrap_or_default());
    let _ = writeln!(
        out,
        "<h3>{}</h3><p class=\"unit\">the curve farther to the left is better</p>",
        name.trim_end_matches(", p50")
    );
    let _ = writeln!(out, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\">");
    for (share, name) in [(0.0, "0"), (0.5, "p50"), (0.9, "p90"), (0.99, "p99")] {
        let y = height_of(share);
        let _ = write!(
            out,
            "<path class=\"g\" d=\"M{LEFT} {y:.0}H{RIGHT}\"/>\
             <text x=\"{:.0}\" y=\"{:.0}\" class=\"e s\">{name}</text>",
            LEFT - 5.0,
            y + if share == 0.99 { 1.0 } else { 5.0 }
        );
    }
    for (us, name) in axis.ticks() {
        let x = axis.place(us);
        let _ = write!(
            out,
            "<path class=\"g\" d=\"M{x:.0} {TOP}V{BOTTOM}\"/>\
             <text x=\"{x:.0}\" y=\"{:.0}\" class=\"m s\">{name}</text>",
            BOTTOM + 16.0
        );
    }
    for (column, points) in &curves {
        let dashes = if column.is_uring { " class=\"u\"" } else { "" };
        let _ = write!(
            out,
            "<polyline{dashes} stroke=\"{}\" points=\"",
            column.colour
        );
        for (share, us) in points {
            let _ = write!(out, "{:.0},{:.0} ", axis.place(*us), height_of(*share));
        }
        out.push_str("\"/>");
    }
    out.push_str("</svg></div>\n");
}

fn points(shares: &Value) -> Vec<(f64, f64)> {
    list(shares)
        .filter_map(|point| Some((point[0].as_f64()?, point[1].as_f64()?)))
        .filter(|(_, us)| *us > 0.0)
        .collect()
}

fn height_of(share: f64) -> f64 {
    BOTTOM - share * (BOTTOM - TOP)
}

/// Times from one end to the other, in logarithms.
pub(super) struct Axis {
    first: f64,
    last: f64,
}

impl Axis {
    /// Wide enough for both, and for a factor of two at least.
    pub(super) fn over(first: f64, last: f64) -> Self {
        Self {
            first: first.ln(),
            last: last.max(first * 2.0).ln(),
        }
    }

    /// Where a time lies between the ends, from 0 to 1.
    pub(super) fn share(&self, us: f64) -> f64 {
        let share = (us.ln() - self.first) / (self.last - self.first);
        share.clamp(0.0, 1.0)
    }

    fn place(&self, us: f64) -> f64 {
        LEFT + self.share(us) * (RIGHT - LEFT)
    }

    /// 1, 2 and 5 of each power of ten that lie inside.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let name = |us: f64| match us {
            us if us >= 1e6 => format!("{} s", us / 1e6),
            us if us >= 1e3 => format!("{} ms", us / 1e3),
            us => format!("{us} µs"),
        };
        let powers = (-1..9).flat_map(|power| [1.0, 2.0, 5.0].map(|n| n * 10f64.powi(power)));
        let inside = powers.filter(|us| (self.first..=self.last).contains(&us.ln()));
        let all: Vec<f64> = inside.collect();
        // Names need room.
        let only_tens = all.len() > 9;
        all.into_iter()
            .filter(|us| !only_tens || us.log10().fract().abs() < 1e-9)
            .map(|us| (us, name((us * 1e3).round() / 1e3)))
            .collect()
    }
}

const WIDTH: f64 = 540.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 36.0;
const RIGHT: f64 = 530.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 205.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_goes_from_end_to_end_and_names_round_times() {
        let axis = Axis::over(8.0, 3000.0);
        assert_eq!(axis.place(8.0), LEFT);
        assert!((axis.place(3000.0) - RIGHT).abs() < 1e-9);
        let names: Vec<String> = axis.ticks().into_iter().map(|(_, name)| name).collect();
        let expected = [
            "10 µs", "20 µs", "50 µs", "100 µs", "200 µs", "500 µs", "1 ms", "2 ms",
        ];
        assert_eq!(names, expected);
        let wide = Axis::over(0.5, 1e6);
        assert_eq!(wide.ticks().len(), 7);
    }

    #[test]
    fn equal_times_are_no_division_by_zero() {
        let axis = Axis::over(5.0, 5.0);
        assert_eq!(axis.place(5.0), LEFT);
    }
}
