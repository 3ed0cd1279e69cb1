//! How it looks.

/// Text as it may stand in HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// The colour of a variant: one hue for each way of the bytes, the lighter one through io_uring.
pub(super) fn colour(key: &str) -> &'static str {
    match key {
        "stock" => "#c2570c",
        "stock-read-ahead" => "#f2a65a",
        "riptide" => "#2456c5",
        "riptide-uring" => "#7fa8f8",
        "riptide-shm" => "#0b7a56",
        "riptide-shm-uring" => "#5fc9a0",
        "riptide-tcp" => "#7a3fd1",
        "riptide-direct" => "#b3123f",
        "riptide-direct-uring" => "#f0748e",
        "riptide-fast" => "#0c7c95",
        "null" => "#5b5b63",
        "null-uring" => "#a0a0a8",
        "http" => "#3b3b8f",
        "native" => "#8a7a1e",
        _ => "#d4488e",
    }
}

pub(super) const CSS: &str = "
:root{--ink:#1b1d22;--soft:#666c78;--line:#dfe2e8;--paper:#fff;--card:#fafbfc}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaee;--soft:#9aa1ad;--line:#383c45;--paper:#16181c;--card:#1d2025}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1240px;margin:2em auto;padding:0 1.2em}
h1{font-size:1.7em}h2{font-size:1.3em;margin-top:2em}h3{font-size:1em;margin:0}
p,li{max-width:60em}code{font-size:.95em}
table{border-collapse:collapse;font-size:.92em}th,td{text-align:left;padding:.15em 1.2em .15em 0;vertical-align:top}
.facts th{color:var(--soft);font-weight:normal;white-space:nowrap}
.missed td{border-top:1px solid var(--line)}.missed i{color:var(--soft);font-size:.9em}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(540px,1fr));gap:1em}
.card{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.8em 1em}
.unit{color:var(--soft);margin:0 0 .4em;font-size:.85em}
.legend span{display:inline-block;margin-right:1.2em;white-space:nowrap}
.legend b{display:inline-block;width:.8em;height:.8em;margin-right:.4em;border-radius:2px}
.chips{margin:.3em 0 0;font-size:.82em}.chips span{display:inline-block;margin-right:1em}
.met{color:#1a8a4f}.not{color:#d03434;font-weight:600}
svg{width:100%;height:auto;display:block}
svg text{font-size:12px;fill:var(--ink)}svg .s{fill:var(--soft)}svg .e{text-anchor:end}svg .m{text-anchor:middle}
svg .w{stroke:var(--ink);stroke-width:1.3;opacity:.75}svg .g{stroke:var(--line);stroke-width:1}
svg polyline{fill:none;stroke-width:1.8}svg .u{stroke-dasharray:5 3}
";
