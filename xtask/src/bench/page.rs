//! The page with plots that is written beside the table: one file, no scripts, nothing from the net.
//!
//! It is made from the JSON of a run alone, so it can be made again from a run that was kept
//! (`cargo xtask page`). The plots are SVG written by hand: bars, lines and text are all there is, and
//! a library for them would be larger than they are.

mod bars;
mod curves;
mod scale;
mod style;

use std::fmt::Write;

use serde_json::Value;

use style::{colour, escape};

/// A variant that took part.
struct Column<'a> {
    key: &'a str,
    title: &'a str,
    short: &'a str,
    colour: &'static str,
    /// Lines of what comes through io_uring are broken, so that colours alone do not matter.
    is_uring: bool,
}

/// The page of a run.
pub(crate) fn render(run: &Value) -> String {
    let columns: Vec<Column> = list(&run["variants"]).map(Column::of).collect();
    let rows: Vec<&Value> = list(&run["rows"]).collect();
    if let Some(about) = run["about"].as_str() {
        return curves_alone(about, run, &rows, &columns);
    }
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Riptide and the stock mount, side by side</title>\n<style>{}</style></head><body>\n\
         <h1>Riptide and the stock mount, side by side</h1>\n",
        style::CSS
    );
    out += INTRODUCTION;
    facts(&mut out, run);
    verdicts(&mut out, &rows, &columns);
    out += "<h2>What was measured</h2>\n";
    legend(&mut out, &columns);
    out += "<p>Bars are medians over the rounds, the thin line goes from the worst sample to the best one. \
            Beside each: its value, and how many times better than stock it is (below 1 it is worse).</p>\n\
            <div class=\"grid\">\n";
    for row in rows.iter().filter(|row| row["curve"].is_null()) {
        bars::card(&mut out, row, &columns);
    }
    out += "</div>\n";
    scale::section(&mut out, scale::OF_A_MOUNT, &rows, &columns);
    let drawn = rows
        .iter()
        .filter(|row| !members(&row["distribution"]).is_empty());
    let drawn: Vec<&&Value> = drawn.collect();
    if !drawn.is_empty() {
        out += "<h2>Latencies</h2>\n<p>The share of all operations, of all rounds together, that took no \
                longer than a time. Two steps in a curve are two kinds of wake-up: on the CPU of the reader, \
                and on another one. \
                Broken lines are those through io_uring.</p>\n";
        legend(&mut out, &columns);
        out += "<div class=\"grid\">\n";
        for row in drawn {
            curves::card(&mut out, row, &columns);
        }
        out += "</div>\n";
    }
    out += METHOD;
    out += "</body></html>\n";
    out
}

/// The page of a run that is no comparison of mounts and says itself what its curves are.
fn curves_alone(about: &str, run: &Value, rows: &[&Value], columns: &[Column]) -> String {
    let title = escape(run["title"].as_str().unwrap_or("Riptide"));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{}</style></head><body>\n<h1>{title}</h1>\n",
        style::CSS
    );
    facts(&mut out, run);
    scale::section(&mut out, about, rows, columns);
    out += "</body></html>\n";
    out
}

impl<'a> Column<'a> {
    fn of(variant: &'a Value) -> Self {
        let text = |name: &str| variant[name].as_str().unwrap_or_default();
        Self {
            key: text("key"),
            title: text("title"),
            short: text("short"),
            colour: colour(text("key")),
            is_uring: text("transport") == "uring",
        }
    }
}

fn facts(out: &mut String, run: &Value) {
    out.push_str("<table class=\"facts\">\n");
    for (name, value) in ["machine", "settings"]
        .iter()
        .flat_map(|part| members(&run[*part]))
    {
        let value = value.as_str().unwrap_or_default();
        let _ = writeln!(
            out,
            "<tr><th>{}</th><td>{}</td></tr>",
            escape(name),
            escape(value)
        );
    }
    out.push_str("</table>\n");
}

/// How many bars were met, and which were not.
fn verdicts(out: &mut String, rows: &[&Value], columns: &[Column]) {
    let all = rows
        .iter()
        .flat_map(|row| list(&row["bars"]).map(move |bar| (*row, bar)));
    let (met, missed): (Vec<_>, Vec<_>) = all.partition(|(_, bar)| bar["met"] == true);
    if met.is_empty() && missed.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "<h2>{} of {} bars met</h2>",
        met.len(),
        met.len() + missed.len()
    );
    if missed.is_empty() {
        return;
    }
    out.push_str(
        "<p>Bars were set before anything was measured and are not moved. Not met are:</p>\n\
         <table class=\"missed\"><tr><th></th><th>mount</th><th>asked for</th><th>found</th></tr>\n",
    );
    for (row, bar) in missed {
        let text = |name: &str| escape(bar[name].as_str().unwrap_or_default());
        let mount = columns.iter().find(|column| bar["variant"] == column.key);
        let _ = writeln!(
            out,
            "<tr><td>{} <i>{}</i></td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(row["title"].as_str().unwrap_or_default()),
            escape(row["key"].as_str().unwrap_or_default()),
            mount.map(|column| escape(column.title)).unwrap_or_default(),
            text("asked"),
            text("found"),
        );
    }
    out.push_str("</table>\n");
}

fn legend(out: &mut String, columns: &[Column]) {
    out.push_str("<p class=\"legend\">");
    for column in columns {
        let _ = write!(
            out,
            "<span><b style=\"background:{}\"></b>{}</span> ",
            column.colour,
            escape(column.title)
        );
    }
    out.push_str("</p>\n");
}

/// The title of a card: what it is, its unit, and which way is better.
fn title(row: &Value) -> String {
    let text = |name: &str| escape(row[name].as_str().unwrap_or_default());
    let better = match row["higher_is_better"] == true {
        true => "more is better",
        false => "less is better",
    };
    format!(
        "<h3>{}</h3><p class=\"unit\">{} in {}, {better}</p>\n",
        text("title"),
        text("key"),
        text("unit")
    )
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn members(value: &Value) -> Vec<(&str, &Value)> {
    let object = value.as_object().into_iter().flatten();
    object.map(|(name, value)| (name.as_str(), value)).collect()
}

/// Numbers of a JSON list.
fn numbers(value: &Value) -> Vec<f64> {
    list(value).filter_map(Value::as_f64).collect()
}

const INTRODUCTION: &str = "<p>One run on one machine: every sample is a fresh mount with empty caches, the \
    servers have everything in memory, variants take turns within a round, and every byte is compared \
    while the clock runs. <i>Null mount</i> is a FUSE file system that answers from memory: what FUSE \
    itself costs. <i>Read-ahead raised</i> is stock with one line written into /sys by hand, so that \
    it is seen how much of a gain is that line.</p>\n";

const METHOD: &str = "<h2>Method, noise, and what not to conclude</h2>\n<ul>\n\
    <li>docs/BENCHMARKING.md has the method of each row and how to repeat it: <code>make bench</code>.</li>\n\
    <li>Differences below 15 % in throughput are noise on a small shared machine. CPU time is the most stable \
    number, the median latency the next, p99 the least.</li>\n\
    <li>With few cores the reader, the mount and the servers share them: what a mount saves, the servers get.</li>\n\
    <li>On a virtual machine a wake-up of another CPU costs tens of µs; a median latency may jump between two humps.</li>\n\
    <li>Nothing follows for a network: servers are on loopback. Nothing for cold servers, whose disk would be measured. \
    Nothing for many clients, or for days.</li>\n\
    <li>Absolute numbers do not carry over to another machine; ratios do to some extent, those of CPU time best.</li>\n</ul>\n";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run() -> Value {
        json!({
            "machine": {"CPU": "2 × <fast> & good"},
            "settings": {"amount": "2 rounds"},
            "variants": [
                {"key": "stock", "title": "stock", "short": "stock"},
                {"key": "riptide", "title": "riptide, HTTP", "short": "HTTP"},
            ],
            "rows": [{
                "key": "random-p50", "title": "random 4 KiB", "unit": "µs",
                "higher_is_better": false,
                "samples": {"stock": [200.0, 220.0], "riptide": [100.0, 90.0]},
                "ratio": {"riptide": 2.21},
                "bars": [
                    {"variant": "riptide", "asked": "≥ 2 × better than stock", "found": "2.21 ×", "met": true},
                    {"variant": "riptide", "asked": "≤ 1.00 × the null mount's", "found": "3.00 ×", "met": false},
                ],
                "distribution": {"stock": [[0.1, 150.0], [0.5, 200.0], [0.99, 900.0]],
                                 "riptide": [[0.1, 80.0], [0.5, 95.0], [0.99, 300.0]]},
            }],
        })
    }

    /// Every element that is opened is closed, in order.
    fn is_balanced(page: &str) -> bool {
        let mut open = Vec::new();
        for tag in page.split('<').skip(1) {
            let Some((tag, _)) = tag.split_once('>') else {
                return false;
            };
            let name = tag
                .split([' ', '/'])
                .find(|word| !word.is_empty())
                .unwrap_or("");
            match () {
                () if tag.starts_with('!') || tag.ends_with('/') || name == "meta" => {}
                () if tag.starts_with('/') => {
                    if open.pop() != Some(name) {
                        return false;
                    }
                }
                () => open.push(name),
            }
        }
        open.is_empty()
    }

    #[test]
    fn the_page_is_whole_and_needs_nothing_from_elsewhere() {
        let page = render(&run());
        assert!(is_balanced(&page), "{page}");
        assert!(
            !page.contains("<script") && !page.contains("http"),
            "{page}"
        );
        assert_eq!(page.matches("<svg").count(), 2);
    }

    #[test]
    fn what_was_missed_is_told_and_what_was_met_counted() {
        let page = render(&run());
        assert!(page.contains("<h2>1 of 2 bars met</h2>"));
        assert!(
            page.contains("<td>≤ 1.00 × the null mount's</td><td>3.00 ×</td>"),
            "{page}"
        );
    }

    #[test]
    fn names_cannot_break_the_page() {
        let page = render(&run());
        assert!(page.contains("2 × &lt;fast&gt; &amp; good"));
    }

    #[test]
    fn curves_can_stand_alone_with_their_own_words() {
        let mut run = run();
        run["title"] = "Indexes".into();
        run["about"] = "What a look-up costs.".into();
        run["rows"] = json!([
            {"curve": "find", "known": 10.0, "samples": {"riptide": [1.0]}},
            {"curve": "find", "known": 1000.0, "samples": {"riptide": [1.1]}},
        ]);
        let page = render(&run);
        assert!(is_balanced(&page), "{page}");
        assert!(page.contains("<h1>Indexes</h1>") && page.contains("What a look-up costs."));
        assert_eq!(page.matches("<svg").count(), 1);
        assert!(!page.contains("stock mount"), "{page}");
    }

    #[test]
    fn a_run_without_anything_is_a_page_too() {
        assert!(is_balanced(&render(&json!({}))));
    }
}
