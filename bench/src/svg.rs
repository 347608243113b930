//! A bar chart as SVG text.

use std::fmt::Write;

/// One bar.
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) value: f64,
    /// What stands at its end.
    pub(crate) text: String,
    /// Ours.
    pub(crate) accent: bool,
}

const WIDTH: f64 = 720.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 70.0;
const ROW: f64 = 30.0;

/// Horizontal bars from zero; `unit` says what they mean and which direction is better.
pub(crate) fn chart(title: &str, subtitle: &str, unit: &str, bars: &[Bar]) -> String {
    let height = TOP + ROW * bars.len() as f64 + 36.0;
    let longest = bars
        .iter()
        .map(|b| b.value)
        .fold(f64::MIN_POSITIVE, f64::max);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\" role=\"img\">\n\
         <title>{title}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"20\" y=\"28\" font-size=\"17\" font-weight=\"600\" fill=\"#1c2733\">{title}</text>\n\
         <text x=\"20\" y=\"49\" font-size=\"11\" fill=\"#5b6773\">{subtitle}</text>\n",
        title = escape(title),
        subtitle = escape(subtitle),
    );
    for (i, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * i as f64;
        let length = (WIDTH - LEFT - RIGHT) * bar.value / longest;
        let (fill, weight) = if bar.accent {
            ("#2f7d4f", 600)
        } else {
            ("#b4bfc9", 400)
        };
        let (middle, end) = (y + 15.0, LEFT + length + 8.0);
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "<text x=\"{x}\" y=\"{middle}\" text-anchor=\"end\" font-weight=\"{weight}\" fill=\"#1c2733\">{label}</text>\n\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"20\" rx=\"3\" fill=\"{fill}\"/>\n\
             <text x=\"{end:.1}\" y=\"{middle}\" font-weight=\"{weight}\" fill=\"#1c2733\">{text}</text>\n",
            x = LEFT - 10.0,
            label = escape(&bar.label),
            text = escape(&bar.text),
        );
    }
    let _ = write!(
        out,
        "<text x=\"20\" y=\"{y}\" font-size=\"12\" fill=\"#5b6773\">{unit}</text>\n</svg>\n",
        y = height - 12.0,
        unit = escape(unit)
    );
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_width_and_text_is_escaped() {
        let bar = |label: &str, value: f64| Bar {
            label: label.into(),
            value,
            text: String::new(),
            accent: false,
        };
        let svg = chart("a < b", "", "", &[bar("x&y", 2.0), bar("z", 1.0)]);
        assert!(svg.contains("width=\"380.0\"") && svg.contains("width=\"190.0\""));
        assert!(svg.contains("a &lt; b") && svg.contains("x&amp;y"));
    }
}
