//! What an operation costs when more is known: rows that are points of a curve, number of entries
//! to the right, the median upwards, both on logarithmic scales: what costs nothing is level, also
//! where another variant costs a hundred times as much.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::curves::Axis;
use super::style::escape;
use super::{Column, legend, numbers};

/// What the curves of a mount are.
pub(super) const OF_A_MOUNT: &str = "The median of an operation after more and more entries were looked at through the \
    mount. A curve that stays level says that what a mount knows costs nothing.";

/// Adds a card for each curve that the rows make, if there are any; `about` says what they are.
pub(super) fn section(out: &mut String, about: &str, rows: &[&Value], columns: &[Column]) {
    let mut curves: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for row in rows {
        if let Some(curve) = row["curve"].as_str() {
            curves.entry(curve).or_default().push(row);
        }
    }
    if curves.is_empty() {
        return;
    }
    let _ = writeln!(out, "<h2>Cost against scale</h2>\n<p>{}</p>", escape(about));
    legend(out, columns);
    out.push_str("<div class=\"grid\">\n");
    for (curve, rows) in curves {
        card(out, curve, &rows, columns);
    }
    out.push_str("</div>\n");
}

fn card(out: &mut String, curve: &str, rows: &[&Value], columns: &[Column]) {
    let lines: Vec<(&Column, Vec<(f64, f64)>)> = columns
        .iter()
        .map(|column| (column, points(rows, column)))
        .filter(|(_, points)| !points.is_empty())
        .collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let most = all().map(|(_, us)| *us).fold(0.0, f64::max);
    let least = all().map(|(_, us)| *us).fold(f64::MAX, f64::min);
    let axis = Axis::over(least / 1.3, most * 1.2);
    let first = all().map(|(known, _)| *known).fold(f64::MAX, f64::min);
    let last = all().map(|(known, _)| *known).fold(first * 2.0, f64::max);
    let x = |known: f64| LEFT + (known / first).ln() / (last / first).ln() * (RIGHT - LEFT);
    let y = |us: f64| BOTTOM - axis.share(us) * (BOTTOM - TOP);
    let _ = writeln!(
        out,
        "<div class=\"card\"><h3>{}</h3><p class=\"unit\">p50 against entries known, lower is better</p>\n\
         <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\">",
        escape(curve)
    );
    for (us, name) in axis.ticks() {
        let line = y(us);
        let _ = write!(
            out,
            "<path class=\"g\" d=\"M{LEFT} {line:.0}H{RIGHT}\"/>\
             <text x=\"{:.0}\" y=\"{:.0}\" class=\"e s\">{name}</text>",
            LEFT - 5.0,
            line + 4.0,
        );
    }
    for (known, _) in lines.first().map_or(&[][..], |(_, points)| points) {
        let at = x(*known);
        let _ = write!(
            out,
            "<path class=\"g\" d=\"M{at:.0} {TOP}V{BOTTOM}\"/>\
             <text x=\"{at:.0}\" y=\"{:.0}\" class=\"m s\">{known:.0}</text>",
            BOTTOM + 16.0
        );
    }
    for (column, points) in &lines {
        let dashes = if column.is_uring { " class=\"u\"" } else { "" };
        let _ = write!(
            out,
            "<polyline{dashes} stroke=\"{}\" points=\"",
            column.colour
        );
        for (known, us) in points {
            let _ = write!(out, "{:.0},{:.0} ", x(*known), y(*us));
        }
        out.push_str("\"/>");
    }
    out.push_str("</svg></div>\n");
}

/// Entries known and the median of each row, for one variant, the fewest first.
fn points(rows: &[&Value], column: &Column) -> Vec<(f64, f64)> {
    let point = |row: &&Value| {
        let mut series = bench::Series::default();
        let samples = numbers(&row["samples"][column.key]);
        samples.iter().for_each(|sample| series.push(*sample));
        let known = row["known"].as_f64().filter(|known| *known > 0.0)?;
        Some((known, series.median()?))
    };
    let mut points: Vec<(f64, f64)> = rows.iter().filter_map(point).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

const WIDTH: f64 = 540.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 520.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 185.0;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_curve_goes_from_the_fewest_entries_to_the_most() {
        let variant = json!({"key": "riptide", "short": "HTTP", "transport": "uring"});
        let row = |known: f64, us: f64| json!({"curve": "GETATTR", "known": known, "samples": {"riptide": [us]}});
        let rows = [row(20_000.0, 10.0), row(200.0, 5.0)];
        let mut out = String::new();
        section(&mut out, "a < b", &rows.each_ref(), &[Column::of(&variant)]);
        assert!(out.contains("<p>a &lt; b</p>"), "{out}");
        assert_eq!(out.matches("<polyline").count(), 1);
        assert!(out.contains("points=\"46,145 520,38 \""), "{out}");
        assert!(
            out.contains(">200</text>") && out.contains(">20000</text>"),
            "{out}"
        );
    }

    #[test]
    fn rows_that_are_no_points_make_no_section() {
        let row = json!({"title": "t", "curve": null});
        let mut out = String::new();
        section(&mut out, "", &[&row], &[]);
        assert!(out.is_empty());
    }
}
