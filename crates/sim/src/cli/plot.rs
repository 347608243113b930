//! Peers complete over time, against the fluid bound, as an SVG.

use std::fmt::Write;

use samara_sim::swarm::Outcome;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const MARGIN: f64 = 48.0;

/// A step for every peer that completes; a dashed line at the bound.
pub(crate) fn svg(outcome: &Outcome, title: &str) -> String {
    let mut times: Vec<f64> = (outcome.finished.iter().flatten())
        .filter(|time| !time.is_zero())
        .map(|time| time.as_secs_f64())
        .collect();
    times.sort_by(f64::total_cmp);
    let bound = outcome.bound.as_secs_f64();
    let end = times.last().copied().unwrap_or(0.0).max(bound) * 1.05;
    let x = |seconds: f64| MARGIN + (WIDTH - 2.0 * MARGIN) * seconds / end;
    let y = |share: f64| HEIGHT - MARGIN - (HEIGHT - 2.0 * MARGIN) * share;
    let all = times.len().max(1) as f64;
    let mut line = format!("M{:.1} {:.1}", x(0.0), y(0.0));
    for (i, time) in times.iter().enumerate() {
        let share = (i + 1) as f64 / all;
        let _ = write!(line, " H{:.1} V{:.1}", x(*time), y(share));
    }
    let _ = write!(line, " H{:.1}", x(end));
    let (left, right, top, bottom) = (x(0.0), x(end), y(1.0), y(0.0));
    let (at, middle) = (x(bound), WIDTH / 2.0);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>
<text x="{middle}" y="24" text-anchor="middle">{title}</text>
<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="black"/>
<path d="M{at:.1} {top}V{bottom}" stroke="gray" stroke-dasharray="4"/>
<text x="{at:.1}" y="{under}" text-anchor="middle" fill="gray">fluid bound, {bound:.2} s</text>
<text x="{right}" y="{below}" text-anchor="end">{end:.2} s</text>
<text x="{left}" y="{above}" text-anchor="middle">{count} complete</text>
<path d="{line}" fill="none" stroke="#06c" stroke-width="2"/>
</svg>
"##,
        under = bottom + 16.0,
        below = bottom + 32.0,
        above = top - 8.0,
        count = times.len(),
    )
}
