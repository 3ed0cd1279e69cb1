//! One row of the table as bars, all variants below each other.

use std::fmt::Write;

use serde_json::Value;

use super::style::escape;
use super::{Column, list, numbers, title};
use crate::bench::report::number;

/// What is drawn of a variant.
struct Bar<'a> {
    column: &'a Column<'a>,
    median: f64,
    least: f64,
    most: f64,
    ratio: Option<f64>,
}

/// Adds the card of a row.
pub(super) fn card(out: &mut String, row: &Value, columns: &[Column]) {
    let bars: Vec<Bar> = columns
        .iter()
        .filter_map(|column| bar(row, column))
        .collect();
    // The longest line decides the scale.
    let most = bars.iter().map(|bar| bar.most).fold(0.0, f64::max);
    let scale = if most > 0.0 { LENGTH / most } else { 0.0 };
    out.push_str("<div class=\"card\">");
    out.push_str(&title(row));
    let height = bars.len() as f64 * PITCH + 2.0;
    let _ = writeln!(out, "<svg viewBox=\"0 0 {WIDTH} {height:.0}\">");
    for (i, bar) in bars.iter().enumerate() {
        let top = i as f64 * PITCH;
        let (text, middle) = (top + 13.0, top + 9.0);
        let _ = write!(
            out,
            "<text x=\"{LABEL}\" y=\"{text:.0}\" class=\"e\">{}</text>\
             <rect x=\"{START}\" y=\"{:.0}\" width=\"{:.1}\" height=\"13\" fill=\"{}\"/>\
             <path class=\"w\" d=\"M{:.1} {middle:.0}H{:.1}\"/>",
            escape(bar.column.short),
            top + 2.5,
            (bar.median * scale).max(0.5),
            bar.column.colour,
            START + bar.least * scale,
            START + bar.most * scale,
        );
        let ratio = bar.ratio.map(|ratio| format!("{} ×", number(ratio)));
        let _ = writeln!(
            out,
            "<text x=\"{VALUE}\" y=\"{text:.0}\" class=\"e\">{}</text>\
             <text x=\"{WIDTH}\" y=\"{text:.0}\" class=\"e s\">{}</text>",
            number(bar.median),
            ratio.unwrap_or_default()
        );
    }
    out.push_str("</svg>");
    chips(out, row, columns);
    out.push_str("</div>\n");
}

fn bar<'a>(row: &Value, column: &'a Column) -> Option<Bar<'a>> {
    let samples = numbers(&row["samples"][column.key]);
    let mut series = bench::Series::default();
    samples.iter().for_each(|sample| series.push(*sample));
    Some(Bar {
        column,
        median: series.median()?,
        least: series.best(bench::Better::Lower)?,
        most: series.best(bench::Better::Higher)?,
        ratio: row["ratio"][column.key].as_f64(),
    })
}

/// The bars that were set for the row.
fn chips(out: &mut String, row: &Value, columns: &[Column]) {
    let mut chips = list(&row["bars"]).peekable();
    if chips.peek().is_none() {
        return;
    }
    out.push_str("<p class=\"chips\">");
    for bar in chips {
        let column = columns.iter().find(|column| bar["variant"] == column.key);
        let (class, sign) = match bar["met"] == true {
            true => ("met", "✓"),
            false => ("not", "✗"),
        };
        let text = |name: &str| escape(bar[name].as_str().unwrap_or_default());
        let _ = write!(
            out,
            "<span class=\"{class}\">{sign} {} {}: {}</span> ",
            column
                .map(|column| escape(column.short))
                .unwrap_or_default(),
            text("asked"),
            text("found")
        );
    }
    out.push_str("</p>");
}

const WIDTH: f64 = 540.0;
/// Where names end, bars start, and values end.
const LABEL: f64 = 84.0;
const START: f64 = 92.0;
const VALUE: f64 = 480.0;
const LENGTH: f64 = 325.0;
const PITCH: f64 = 18.0;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_longest_sample_fills_the_room_and_a_median_its_share() {
        let variant = json!({"key": "stock", "title": "stock", "short": "stock"});
        let columns = [Column::of(&variant)];
        let row = json!({"title": "t", "key": "k", "unit": "u", "samples": {"stock": [10.0, 20.0, 40.0]}});
        let mut out = String::new();
        card(&mut out, &row, &columns);
        assert!(out.contains("width=\"162.5\""), "{out}");
        assert!(out.contains("d=\"M173.2 9H417.0\""), "{out}");
        assert!(out.contains(">20.0</text>"), "{out}");
    }
}
