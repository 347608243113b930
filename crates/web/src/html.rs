//! Writing HTML by hand: escaping, units, and the frame around every page.

use std::fmt::{self, Display, Write};

use axum::{
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};

/// Text within elements and quoted attributes. Control characters and those that
/// turn the direction of what follows are left out.
pub(crate) struct Text<'a>(pub(crate) &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
                c if c.is_control() => {}
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// One segment of a URL's path (RFC 3986 section 3.3): all but unreserved characters encoded.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Bytes in binary units.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// Bytes a second, in megabytes; nothing for nothing.
pub(crate) fn rate(bytes: u64) -> String {
    if bytes == 0 {
        return String::new();
    }
    format!("{:.1} MB/s", bytes as f64 / 1e6)
}

/// "2 d 3 h", "4 min", "12 s".
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A time of RFC 3339 for people: day and minute.
pub(crate) fn time(rfc3339: &str) -> String {
    let shown = rfc3339.get(..16).unwrap_or(rfc3339).replace('T', " ");
    format!(
        "<time datetime=\"{}\">{} UTC</time>",
        Text(rfc3339),
        Text(&shown)
    )
}

/// A whole page. `body` is HTML, everything else text.
pub(crate) fn page(status: StatusCode, title: &str, refresh: Option<u32>, body: &str) -> Response {
    let refresh = refresh
        .map(|seconds| format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">\n"))
        .unwrap_or_default();
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n{refresh}\
         <title>{title} · Samara</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n\
         </head>\n<body>\n<header><nav><a class=\"mark\" href=\"/\">Samara</a>\
         <a href=\"/\">Status</a><a href=\"/read\">Newsletters</a></nav></header>\n\
         <main>\n{body}\n</main>\n</body>\n</html>\n",
        title = Text(title),
    );
    (status, Html(html)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_place() {
        let hostile = "<b a=\"x\" b='y'>&\u{202e}\u{1b}[31m";
        assert_eq!(
            Text(hostile).to_string(),
            "&lt;b a=&quot;x&quot; b=&#39;y&#39;&gt;&amp;[31m"
        );
    }

    #[test]
    fn a_segment_stays_one_segment() {
        assert_eq!(segment("a/b ?#%ü"), "a%2Fb%20%3F%23%25%C3%BC");
        assert_eq!(segment("may-2026_1.0"), "may-2026_1.0");
    }

    #[test]
    fn sizes_change_unit_where_the_number_would_grow() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1024), "1.0 KiB");
        assert_eq!(size((1 << 20) - 1), "1.0 MiB");
        assert_eq!(size(20 << 30), "20.0 GiB");
    }
}
