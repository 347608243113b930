//! Markdown for a terminal: wrapped, with links spelled out.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use crate::terminal::{Style, Table, char_width, line, width};

/// Renders `markdown` in `columns`. Foreign text is cleaned here once more, since
/// character references (`&#27;`) can name what is not in the source.
pub(crate) fn render(markdown: &str, columns: usize, style: Style) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut page = Page {
        out: String::new(),
        columns,
        style,
        words: Vec::new(),
        looks: Vec::new(),
        blocks: Vec::new(),
        links: Vec::new(),
        code: None,
        rows: Vec::new(),
        row: Vec::new(),
    };
    for event in Parser::new_ext(markdown, options) {
        page.event(event);
    }
    page.flush();
    let end = page.out.trim_end_matches('\n').len();
    page.out.truncate(end);
    page.out.push('\n');
    page.out
}

/// What stands at the left of the lines of a block.
enum Block {
    Quote,
    List {
        next: Option<u64>,
    },
    /// `marker` until the first line is written.
    Item {
        marker: Option<String>,
        indent: usize,
    },
}

/// A piece of a line that is never broken, with its SGR codes.
struct Word {
    text: String,
    codes: String,
    /// Whether a space or a line break goes before it.
    gap: Gap,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gap {
    None,
    Space,
    Break,
}

struct Page {
    out: String,
    columns: usize,
    style: Style,
    words: Vec<Word>,
    looks: Vec<&'static str>,
    blocks: Vec<Block>,
    /// Open links: their target, and where their text begins in `words`.
    links: Vec<(String, usize)>,
    code: Option<String>,
    rows: Vec<Vec<String>>,
    row: Vec<String>,
}

impl Page {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => match &mut self.code {
                Some(code) => code.push_str(&text),
                None => self.text(&text),
            },
            Event::Code(text) | Event::InlineHtml(text) | Event::Html(text) => {
                self.looks.push("36");
                self.text(&text);
                self.looks.pop();
            }
            Event::SoftBreak => self.text(" "),
            Event::HardBreak => self.push(String::new(), Gap::Break),
            Event::Rule => {
                self.flush();
                let rule = self.style.dim("─".repeat(self.columns.min(40)));
                self.out.push_str(&rule);
                self.out.push_str("\n\n");
            }
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { level, .. } => {
                self.flush();
                self.looks.push(if level == HeadingLevel::H1 {
                    "1;4"
                } else {
                    "1"
                });
            }
            Tag::Emphasis => self.looks.push("3"),
            Tag::Strong => self.looks.push("1"),
            Tag::Strikethrough => self.looks.push("9"),
            Tag::Link { dest_url, .. } => {
                self.links.push((line(&dest_url), self.words.len()));
                self.looks.push("4");
            }
            Tag::Image { dest_url, .. } => {
                self.links.push((line(&dest_url), self.words.len()));
                self.looks.push("2");
                self.text("[picture] ");
            }
            Tag::BlockQuote(_) => {
                self.flush();
                self.blocks.push(Block::Quote);
            }
            Tag::List(next) => {
                self.flush();
                self.blocks.push(Block::List { next });
            }
            Tag::Item => {
                self.flush();
                let marker = match self.blocks.last_mut() {
                    Some(Block::List { next: Some(n) }) => {
                        let marker = format!("{n}. ");
                        *n = n.saturating_add(1);
                        marker
                    }
                    _ => "• ".to_owned(),
                };
                let indent = width(&marker);
                self.blocks.push(Block::Item {
                    marker: Some(marker),
                    indent,
                });
            }
            Tag::CodeBlock(_) => {
                self.flush();
                self.code = Some(String::new());
            }
            Tag::Paragraph | Tag::HtmlBlock | Tag::Table(_) => self.flush(),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => {
                self.flush();
                self.looks.pop();
                self.blank();
            }
            TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough => {
                self.looks.pop();
            }
            TagEnd::Link | TagEnd::Image => {
                self.looks.pop();
                if let Some((url, from)) = self.links.pop() {
                    let from = from.min(self.words.len());
                    let shown: Vec<_> = self.words[from..].iter().map(|w| &*w.text).collect();
                    if shown.join(" ") != url.trim_start_matches("mailto:") && !url.is_empty() {
                        self.text(&format!(" <{url}>"));
                    }
                }
            }
            TagEnd::Paragraph | TagEnd::HtmlBlock => {
                self.flush();
                self.blank();
            }
            TagEnd::BlockQuote(_) => {
                self.flush();
                self.blocks.pop();
                self.blank();
            }
            TagEnd::Item => {
                self.flush();
                self.blocks.pop();
            }
            TagEnd::List(_) => {
                self.blocks.pop();
                if !self.blocks.iter().any(|b| matches!(b, Block::List { .. })) {
                    self.blank();
                }
            }
            TagEnd::CodeBlock => {
                let code = self.code.take().unwrap_or_default();
                for text in code.lines() {
                    let prefix = self.prefix();
                    let text = self.style.paint("36", line(text));
                    self.out.push_str(&format!("{prefix}    {text}\n"));
                }
                self.blank();
            }
            TagEnd::TableCell => {
                let cell: Vec<_> = self.words.drain(..).map(|word| word.text).collect();
                self.row.push(cell.join(" "));
            }
            TagEnd::TableHead | TagEnd::TableRow => {
                self.rows.push(std::mem::take(&mut self.row));
            }
            TagEnd::Table => {
                let mut rows = std::mem::take(&mut self.rows).into_iter();
                let head = rows.next().unwrap_or_default();
                let head: Vec<_> = head.iter().map(String::as_str).collect();
                let mut table = Table::new(&head, &[]);
                rows.for_each(|row| table.row(row));
                let text = table.render(self.style);
                for text in text.lines() {
                    let prefix = self.prefix();
                    self.out.push_str(&format!("{prefix}{text}\n"));
                }
                self.blank();
            }
            _ => {}
        }
    }

    /// Adds inline text, word by word.
    fn text(&mut self, text: &str) {
        let text = line(text);
        let mut gap = Gap::None;
        for (n, word) in text.split(' ').enumerate() {
            if n > 0 {
                gap = Gap::Space;
            }
            if !word.is_empty() {
                self.push(word.to_owned(), gap);
                gap = Gap::None;
            }
        }
        if gap == Gap::Space {
            self.push(String::new(), gap);
        }
    }

    fn push(&mut self, text: String, gap: Gap) {
        self.words.push(Word {
            text,
            codes: self.looks.join(";"),
            gap,
        });
    }

    /// One empty line, and not two.
    fn blank(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// The left side of the next line; takes the marker of a fresh item.
    fn prefix(&mut self) -> String {
        let mut prefix = String::new();
        for block in &mut self.blocks {
            match block {
                Block::Quote => prefix.push_str("│ "),
                Block::List { .. } => {}
                Block::Item { marker, indent } => match marker.take() {
                    Some(marker) => prefix.push_str(&marker),
                    None => prefix.push_str(&" ".repeat(*indent)),
                },
            }
        }
        prefix
    }

    /// Writes what was gathered, wrapped.
    fn flush(&mut self) {
        let words = std::mem::take(&mut self.words);
        if words.iter().all(|word| word.text.is_empty()) {
            return;
        }
        let mut text = self.prefix();
        let mut used = width(&text);
        let mut fresh = true;
        let mut space = false;
        for word in words {
            space |= word.gap == Gap::Space;
            if word.gap == Gap::Break {
                self.end_line(&mut text, &mut used);
                (fresh, space) = (true, false);
            }
            if word.text.is_empty() {
                continue;
            }
            let wide = width(&word.text);
            if !fresh && space && used + 1 + wide > self.columns {
                self.end_line(&mut text, &mut used);
                fresh = true;
            }
            if space && !fresh {
                text.push(' ');
                used += 1;
            }
            // A word longer than a line (a URL, a language without spaces) is cut.
            let mut piece = String::new();
            for c in word.text.chars() {
                let w = char_width(c);
                if used + w > self.columns && used > 0 {
                    text.push_str(&self.style.paint(&word.codes, &piece));
                    piece.clear();
                    self.end_line(&mut text, &mut used);
                }
                piece.push(c);
                used += w;
            }
            text.push_str(&self.style.paint(&word.codes, &piece));
            (fresh, space) = (false, false);
        }
        self.out.push_str(text.trim_end());
        self.out.push('\n');
    }

    fn end_line(&mut self, text: &mut String, used: &mut usize) {
        self.out.push_str(text.trim_end());
        self.out.push('\n');
        *text = self.prefix();
        // Deep nesting must leave room for at least some text.
        *used = width(text).min(self.columns.saturating_sub(10));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(markdown: &str) -> String {
        render(markdown, 40, Style::PLAIN)
    }

    #[test]
    fn blocks_stand_apart_and_prose_is_wrapped() {
        assert_eq!(
            plain("# Title\n\nOne two three four five six seven eight nine ten.\nsoft\n\nNext"),
            "Title\n\nOne two three four five six seven eight\nnine ten. soft\n\nNext\n"
        );
    }

    #[test]
    fn lists_nest_and_count() {
        assert_eq!(
            plain("- a\n- b\n  1. c\n  2. d\n\nend"),
            "• a\n• b\n  1. c\n  2. d\n\nend\n"
        );
        let long = format!("- {}", "word ".repeat(12));
        assert_eq!(plain(&long).lines().nth(1).unwrap().find('w'), Some(2));
    }

    #[test]
    fn code_quotes_tables_and_rules() {
        assert_eq!(plain("```\nlet  x;\n```"), "    let  x;\n");
        assert_eq!(plain("> q\n> r"), "│ q r\n");
        assert_eq!(plain("|a|b|\n|-|-|\n|long|c|"), "a     b\nlong  c\n");
        assert!(plain("a\n\n---\n\nb").contains("────"));
    }

    #[test]
    fn links_show_where_they_lead() {
        assert_eq!(plain("[x](https://e.example/)"), "x <https://e.example/>\n");
        assert_eq!(plain("<https://e.example/>"), "https://e.example/\n");
        assert_eq!(plain("![alt](p.png)"), "[picture] alt <p.png>\n");
    }

    #[test]
    fn looks_are_codes_only_where_wanted() {
        let out = render("# T\n\n**b** `c`", 40, Style::COLOURED);
        assert!(out.contains("\u{1b}[1;4mT\u{1b}[0m") && out.contains("\u{1b}[1mb\u{1b}[0m"));
        assert_eq!(plain("a**b**c"), "abc\n");
    }

    #[test]
    fn character_references_cannot_bring_escapes_back() {
        assert_eq!(plain("a&#27;[31mb &#x9b;2Jc"), "a[31mb 2Jc\n");
        assert_eq!(plain("[x](<a&#27;]0;t&#7;b>)"), "x <ab>\n");
        assert!(!plain("`\u{1b}[1m`\n\n    \u{1b}[1mx").contains('\u{1b}'));
    }

    proptest! {
        #[test]
        fn any_markdown_renders_within_the_columns(
            markdown in "([-*>#`|\\[\\]()!_~ \n&;1a.]|word |https://x/|漢|\u{1b}){0,80}",
        ) {
            let out = render(&markdown, 40, Style::PLAIN);
            let escapes = out.contains('\u{1b}');
            prop_assert!(!escapes);
            let wide = out.lines().find(|text| width(text) > 40 && !text.contains(char::is_whitespace));
            prop_assert_eq!(wide, None);
        }
    }
}
