//! A link as a QR code (ISO/IEC 18004), to be scanned off the screen.

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};
use samara_node::shorter_link;

/// Modules of white around the code. The standard asks for four; readers make do with
/// two, and the screen is narrow.
const QUIET: usize = 2;

/// A code, and the link that is in it.
#[derive(Debug)]
pub(super) struct Scannable {
    pub(super) link: String,
    /// Lines of half blocks, dark on light.
    code: Vec<String>,
}

impl Scannable {
    /// The link with as many of its ways in as make a code that fits into `columns`, at
    /// least one; none if no code can hold it.
    pub(super) fn fitting(link: &str, columns: usize) -> Option<Self> {
        let mut link = link.to_owned();
        loop {
            let fits = encode(&link).filter(|code| code.width() + 2 * QUIET <= columns);
            let code = match (fits, shorter_link(&link)) {
                (Some(code), _) => code,
                (None, Some(shorter)) => {
                    link = shorter;
                    continue;
                }
                (None, None) => encode(&link)?,
            };
            let code = draw(&code);
            return Some(Self { link, code });
        }
    }

    /// Columns that it takes.
    pub(super) fn width(&self) -> usize {
        self.code.first().map_or(0, |line| line.chars().count())
    }

    /// The code; `coloured` black on white, else for a dark screen.
    pub(super) fn render(&self, coloured: bool) -> String {
        let line = |line: &String| match coloured {
            true => format!("\u{1b}[30;107m{line}\u{1b}[0m\n"),
            false => line.chars().map(inverted).chain(['\n']).collect(),
        };
        self.code.iter().map(line).collect()
    }
}

/// In capitals a link is of the alphanumeric kind, which takes 5.5 bits a character
/// instead of 8; its scheme and its token do not mind.
fn encode(link: &str) -> Option<QrCode> {
    QrCode::with_error_correction_level(link.to_ascii_uppercase(), EcLevel::L).ok()
}

fn draw(code: &QrCode) -> Vec<String> {
    let width = code.width();
    let mut renderer = code.render::<Dense1x2>();
    // Half blocks are drawn on the dark modules.
    renderer
        .dark_color(Dense1x2::Dark)
        .light_color(Dense1x2::Light)
        .quiet_zone(false);
    let blank = " ".repeat(width + 2 * QUIET);
    let edge = std::iter::repeat_n(blank, QUIET.div_ceil(2));
    let side = " ".repeat(QUIET);
    let text = renderer.build();
    let rows = text.lines().map(|row| format!("{side}{row}{side}"));
    edge.clone().chain(rows).chain(edge).collect()
}

/// Light where it was dark.
fn inverted(block: char) -> char {
    match block {
        ' ' => '█',
        '█' => ' ',
        '▀' => '▄',
        '▄' => '▀',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test vectors of docs/protocol.md.
    const PLAIN: &str = "samara:aeaidmnx2zwwf57zlhickfddpgy4pujatmnxvoqt7ivcw3eo43l2hcqbqgy3pvtnml37swoqeukgg6nry7isbgy3pk5bh6rkfnwi5zwxuofadcui4poxicprsx6vfwznhs5f24wkm4e36hmucin7g5eiag2a6324aicmaaacaeijebraaeg3qaaaaaaaaaaaaaaaaaaabccjii36fwy";

    #[test]
    fn a_link_fits_an_ordinary_screen_and_keeps_its_shape() {
        let code = Scannable::fitting(PLAIN, 80).unwrap();
        assert_eq!(code.link, PLAIN);
        assert!(code.width() <= 80, "{}", code.width());
        assert!(code.code.iter().all(|l| l.chars().count() == code.width()));
        // Two modules a character: twice as many lines would be square.
        let height = 2 * code.code.len();
        assert!(height.abs_diff(code.width()) <= 2, "{height}");
        let plain = code.render(false);
        assert!(!plain.contains('\u{1b}') && plain.starts_with("███"));
        assert!(code.render(true).starts_with("\u{1b}[30;107m   "));
    }

    #[test]
    fn what_is_no_link_is_drawn_as_it_is_and_what_is_too_long_is_not() {
        assert_eq!(Scannable::fitting("hello", 10).unwrap().link, "hello");
        assert!(Scannable::fitting(&"x".repeat(5_000), 80).is_none());
    }
}
