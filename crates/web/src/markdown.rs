//! Markdown of a stranger, as HTML that can do nothing.

use std::{borrow::Cow, collections::HashSet};

use ammonia::{Builder, UrlRelative, UrlRelativeEvaluate};
use pulldown_cmark::{CowStr, Event, LinkType, Options, Parser, Tag, TagEnd, html::push_html};

use crate::limits::{MAX_NESTING, MAX_RAW_TAGS};

/// What newsletters use beyond CommonMark.
const OPTIONS: Options = Options::ENABLE_TABLES
    .union(Options::ENABLE_STRIKETHROUGH)
    .union(Options::ENABLE_FOOTNOTES);

/// Renders `markdown`. `address` is the issue's own path; pictures and links that
/// name one of its `attachments` lead there. Pictures from elsewhere become links:
/// loading them would tell their server who reads.
pub(crate) fn to_html(markdown: &str, address: &str, attachments: &[&str]) -> String {
    let local = |destination: &str| {
        let name = destination.trim_start_matches("./");
        let decoded = percent_decoded(name);
        let index = attachments
            .iter()
            .position(|&attachment| attachment == name || attachment == decoded)?;
        Some(format!("{address}/attachment/{}", index + 1))
    };
    let mut shown_pictures = Vec::new();
    let events = bounded(Parser::new_ext(markdown, OPTIONS)).map(|event| match event {
        Event::Start(Tag::Image {
            link_type,
            dest_url,
            title,
            id,
        }) => {
            let picture = local(&dest_url);
            shown_pictures.push(picture.is_some());
            match picture {
                Some(url) => Event::Start(Tag::Image {
                    link_type,
                    dest_url: url.into(),
                    title,
                    id,
                }),
                None => Event::Start(Tag::Link {
                    link_type: LinkType::Inline,
                    dest_url,
                    title: CowStr::Borrowed("A picture from elsewhere, not loaded"),
                    id,
                }),
            }
        }
        Event::End(TagEnd::Image) => match shown_pictures.pop() {
            Some(true) => Event::End(TagEnd::Image),
            _ => Event::End(TagEnd::Link),
        },
        Event::Start(Tag::Link {
            link_type,
            dest_url,
            title,
            id,
        }) => Event::Start(Tag::Link {
            link_type,
            dest_url: local(&dest_url).map_or(dest_url, CowStr::from),
            title,
            id,
        }),
        other => other,
    });
    let mut html = String::new();
    push_html(&mut html, events);
    without_controls(&sanitised(&html, &format!("{address}/attachment/")))
}

/// `html` with a mark in place of what no page shows: escape sequences for whoever
/// copies the text into a terminal. References like `&#27;` are characters by now.
fn without_controls(html: &str) -> String {
    html.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

/// The events without those that would make the page cost more than its size.
fn bounded<'a>(events: impl Iterator<Item = Event<'a>>) -> impl Iterator<Item = Event<'a>> {
    let (mut depth, mut tags) = (0, 0);
    events.filter_map(move |event| match event {
        Event::Start(_) => {
            depth += 1;
            (depth <= MAX_NESTING).then_some(event)
        }
        Event::End(_) => {
            depth -= 1;
            (depth < MAX_NESTING).then_some(event)
        }
        Event::Html(html) | Event::InlineHtml(html) => {
            tags += html.matches('<').count();
            Some(match tags <= MAX_RAW_TAGS {
                true => Event::InlineHtml(html),
                false => Event::Text(html),
            })
        }
        other => Some(other),
    })
}

fn sanitised(html: &str, own: &str) -> String {
    let own_src = own.to_owned();
    let own_href = own.to_owned();
    Builder::default()
        .url_schemes(HashSet::from(["http", "https", "mailto", "samara"]))
        .url_relative(UrlRelative::Custom(Box::new(OnlyOwn(own_href))))
        .attribute_filter(move |element, attribute, value| {
            let loads = element == "img" && attribute == "src";
            (!loads || is_own(value, &own_src)).then(|| Cow::Owned(value.to_owned()))
        })
        .link_rel(Some("noopener noreferrer nofollow"))
        .clean(html)
        .to_string()
}

/// Lets no relative address through but those of the attachments.
struct OnlyOwn(String);

impl UrlRelativeEvaluate<'_> for OnlyOwn {
    fn evaluate<'a>(&self, url: &'a str) -> Option<Cow<'a, str>> {
        is_own(url, &self.0).then_some(Cow::Borrowed(url))
    }
}

/// `own` followed by a number and nothing else.
fn is_own(url: &str, own: &str) -> bool {
    url.strip_prefix(own)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}

/// Undoes percent encoding, as far as the result is text.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::html::segment;

    fn html(markdown: &str) -> String {
        to_html(markdown, "/read/c/i", &["chart.png", "my report.pdf"])
    }

    #[test]
    fn what_newsletters_use_comes_through() {
        let out = html(
            "# Hi\n\n*a* **b** ~~c~~ `d`\n\n- e\n\n|f|\n|-|\n|g|\n\n> h\n\n[i](https://x.example/)",
        );
        for part in [
            "<h1>Hi</h1>",
            "<em>a</em>",
            "<strong>b</strong>",
            "<del>c</del>",
            "<code>d</code>",
            "<li>e</li>",
            "<td>g</td>",
            "<blockquote>",
            "href=\"https://x.example/\"",
            "noreferrer",
        ] {
            assert!(out.contains(part), "{part} in {out}");
        }
    }

    #[test]
    fn nothing_runs_and_nothing_is_loaded() {
        for hostile in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "<img src=\"https://track.example/p.gif\">",
            "<img src=\"/api/v1/status\">",
            "![p](https://track.example/p.gif)",
            "![p](//track.example/p.gif)",
            "![p](/read/c/i/attachment/1/../../x)",
            "[x](javascript:alert(1))",
            "[x](JaVaScRiPt:alert(1))",
            "<a href=\"data:text/html,x\">x</a>",
            "<svg onload=alert(1)><style>@import 'https://track.example'</style></svg>",
            "<iframe src=\"https://track.example\"></iframe>",
            "<link rel=stylesheet href=\"https://track.example\">",
            "<meta http-equiv=refresh content=\"0;url=https://track.example\">",
            "<form action=\"https://track.example\"><input name=a></form>",
            "<p style=\"background:url(https://track.example)\">x</p>",
            "<video src=\"https://track.example\" poster=\"https://track.example\"></video>",
            "<base href=\"https://track.example\">",
            "<a href=\"/?token=x\">x</a>",
            "<img srcset=\"https://track.example 1x\">",
        ] {
            let out = html(hostile).to_lowercase();
            for bad in [
                "<script",
                "onerror",
                "onload",
                "javascript:",
                "data:",
                "<iframe",
                "<meta",
                "<form",
                "<style",
                "style=",
                "<video",
                "<base",
                "<link",
                "src=",
                "<svg",
                "srcset",
                "href=\"/?token",
            ] {
                assert!(!out.contains(bad), "{hostile} left {bad}: {out}");
            }
        }
    }

    #[test]
    fn nesting_is_bounded_and_loses_no_text() {
        let nested = |n: usize| format!("{}deep", "> ".repeat(n));
        let depth = |n| html(&nested(n)).matches("<blockquote>").count();
        // The innermost is the paragraph.
        assert_eq!(depth(MAX_NESTING - 1), MAX_NESTING - 1);
        assert_eq!(depth(MAX_NESTING + 9), MAX_NESTING);
        assert!(html(&nested(MAX_NESTING + 9)).contains("deep"));
        let tags = |n| html(&"<b>x</b>".repeat(n)).matches("<b>").count();
        assert_eq!(tags(MAX_RAW_TAGS / 2), MAX_RAW_TAGS / 2);
        assert_eq!(tags(MAX_RAW_TAGS), MAX_RAW_TAGS / 2);
    }

    #[test]
    fn control_characters_are_marked() {
        let out = html("a\u{1b}[31mb &#27;[0m &#x9b;c\u{0}\u{7f}\u{85}d\te\r\n\n`f\u{8}`");
        let controls = out
            .chars()
            .filter(|c| c.is_control() && !"\n\t".contains(*c));
        assert_eq!(controls.count(), 0, "{out:?}");
        assert!(out.contains("a\u{fffd}[31mb \u{fffd}[0m"), "{out:?}");
        assert!(out.contains("d\te") && out.contains("f\u{fffd}"), "{out:?}");
    }

    #[test]
    fn a_megabyte_of_nesting_is_a_page_of_few_elements() {
        for piece in [
            ">",
            "> ",
            "<div>",
            "<div>\n\n",
            "<b>",
            "*a _b ",
            "[",
            "![",
            "- ",
        ] {
            let mut depth = (0usize, 0);
            // What the sanitiser has to go through for each of its elements.
            let markdown = piece.repeat((1 << 20) / piece.len());
            for event in bounded(Parser::new_ext(&markdown, OPTIONS)) {
                match event {
                    Event::Start(_) => depth.0 += 1,
                    Event::End(_) => depth.0 -= 1,
                    Event::InlineHtml(html) => depth.0 += html.matches('<').count(),
                    _ => {}
                }
                depth.1 = depth.1.max(depth.0);
            }
            assert!(
                depth.1 <= MAX_NESTING + MAX_RAW_TAGS,
                "{piece:?}: {depth:?}"
            );
            let elements = html(&markdown).matches('<').count();
            assert!(elements <= markdown.len(), "{piece:?}: {elements}");
        }
    }

    #[test]
    fn pictures_from_elsewhere_become_links() {
        let out = html("![a chart](https://track.example/p.gif)");
        assert!(
            out.contains("href=\"https://track.example/p.gif\""),
            "{out}"
        );
        assert!(out.contains(">a chart</a>"), "{out}");
    }

    #[test]
    fn attachments_are_found_by_name() {
        let out = html("![c](chart.png) [r](my%20report.pdf) [r2](<my report.pdf>)");
        assert!(out.contains("src=\"/read/c/i/attachment/1\""), "{out}");
        assert_eq!(out.matches("href=\"/read/c/i/attachment/2\"").count(), 2);
        assert!(!html("[n](none.pdf)").contains("href"));
    }

    #[test]
    fn decoding_undoes_a_segment() {
        for text in ["a b/ü%?", "%", "%zz", "100%"] {
            assert_eq!(percent_decoded(&segment(text)), text);
        }
    }
}
