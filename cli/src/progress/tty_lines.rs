//! The state of a build as the lines of a terminal: a pure function, so that tests can look at it.

use std::borrow::Cow;
use std::time::Duration;

use console::Style;
use kiln_engine::VertexEnd;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::build_state::{BuildState, VertexState};
use super::palette::Palette;
use crate::clean;
use crate::terminal::TerminalSize;

/// Which steps of a build are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShownSteps {
    /// Those that fit on the screen, with output of the running ones.
    Fitting {
        /// Lines of output per running step.
        log_lines: usize,
    },
    /// Every one, however many.
    All,
}

/// Draws the build as it is `now`, counted from the start of the build.
///
/// No line is wider than the screen, and unless everything is over there are at most as many lines
/// as fit, less one for the cursor.
pub(crate) fn tty_lines(
    build: &BuildState,
    now: Duration,
    screen: TerminalSize,
    palette: &Palette,
    shown: ShownSteps,
) -> Vec<String> {
    let ended = build.vertices().iter().filter(|v| v.end.is_some()).count();
    let total = build.vertices().len();
    let over = match shown {
        ShownSteps::All => " FINISHED",
        ShownSteps::Fitting { .. } => "",
    };
    let header = format!("[+] Building {} ({ended}/{total}){over}", seconds(now));
    let header = cut(&header, screen.width).into_owned();
    let blocks: Vec<Vec<String>> = build
        .vertices()
        .iter()
        .map(|vertex| block(vertex, now, screen.width, palette, shown))
        .collect();
    let room = match shown {
        ShownSteps::All => usize::MAX,
        ShownSteps::Fitting { .. } => screen.height.saturating_sub(2),
    };
    let mut lines = vec![header];
    lines.extend(fit(build.vertices(), blocks, room));
    lines
}

/// Leaves out lines until the rest has room: finished steps first, the oldest before the others;
/// then what stands below steps, where there is most of it; then the oldest steps.
fn fit(vertices: &[VertexState], mut blocks: Vec<Vec<String>>, room: usize) -> Vec<String> {
    let mut count: usize = blocks.iter().map(Vec::len).sum();
    for (vertex, block) in vertices.iter().zip(&mut blocks) {
        let is_fine = matches!(
            vertex.end,
            Some((
                VertexEnd::Done | VertexEnd::Cached | VertexEnd::Cancelled,
                _
            ))
        );
        if count > room && is_fine {
            count -= block.len();
            block.clear();
        }
    }
    while count > room {
        // The step with most lines loses one first; the line after the name is the oldest.
        match blocks.iter_mut().max_by_key(|block| block.len()) {
            Some(longest) if longest.len() > 1 => {
                longest.remove(1);
                count -= 1;
            }
            _ => break,
        }
    }
    let lines: Vec<String> = blocks.into_iter().flatten().collect();
    let surplus = lines.len().saturating_sub(room);
    lines.into_iter().skip(surplus).collect()
}

/// Draws a step: its name, its transfers, the end of its output.
fn block(
    vertex: &VertexState,
    now: Duration,
    width: usize,
    palette: &Palette,
    shown: ShownSteps,
) -> Vec<String> {
    let (mark, style) = match &vertex.end {
        None => ("", None),
        Some((VertexEnd::Done, _)) => ("", Some(&palette.done)),
        Some((VertexEnd::Cached, _)) => ("CACHED ", Some(&palette.done)),
        Some((VertexEnd::Failed(_), _)) => ("ERROR ", Some(&palette.failed)),
        Some((VertexEnd::Cancelled, _)) => ("CANCELED ", Some(&palette.cancelled)),
    };
    let time = seconds(vertex.duration(now));
    let mut lines = vec![row(
        &format!(" => {mark}{}", vertex.name),
        &time,
        width,
        style,
    )];
    let is_shown = |took: Option<Duration>| took.is_none() || shown == ShownSteps::All;
    let is_running = vertex.end.is_none();
    for part in &vertex.parts {
        if is_running || is_shown(part.took) {
            let took = part.took.unwrap_or(now.saturating_sub(part.begun));
            let style = part.took.is_some().then_some(&palette.done);
            let took = seconds(took);
            // Digests are long, and it is the amounts that say whether it gets on.
            let amount = part.amount().map(|amount| format!(" {amount}"));
            let amount = amount.unwrap_or_default();
            let room = width.saturating_sub(took.width() + 1 + amount.width());
            let name = clean::line(&format!(" => => {}", part.name)).into_owned();
            let text = format!("{}{amount}", cut(&name, room));
            lines.push(row(&text, &took, width, style));
        }
    }
    if let (true, ShownSteps::Fitting { log_lines }) = (is_running, shown) {
        let unfinished = vertex.log.unfinished();
        let kept = log_lines.saturating_sub(usize::from(unfinished.is_some()));
        let skipped = vertex.log.lines().len().saturating_sub(kept);
        let texts = vertex.log.lines().skip(skipped).map(|line| &line.text);
        for text in texts.chain(&unfinished).take(log_lines) {
            let line = format!(" => => # {}", clean::words(text));
            lines.push(cut(&line, width).into_owned());
        }
    }
    lines
}

/// Returns `left`, cut if need be, and `right` at the right edge, in a colour if there is one.
fn row(left: &str, right: &str, width: usize, style: Option<&Style>) -> String {
    let left = clean::line(left);
    let left = cut(&left, width.saturating_sub(right.width() + 1));
    let gap = width.saturating_sub(left.width() + right.width());
    let line = format!("{left}{:gap$}{right}", "");
    match style {
        Some(style) => style.apply_to(line).to_string(),
        None => line,
    }
}

/// Cuts text to a width in columns.
fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    let room = width.saturating_sub(1);
    let mut used = 0;
    let mut short = String::new();
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > room {
            break;
        }
        short.push(character);
    }
    if width > 0 {
        short.push('…');
    }
    Cow::Owned(short)
}

/// Returns a duration in tenths of a second: `1.2s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use kiln_engine::{ProgressEvent, Stream, VertexId};

    use super::*;

    const FITTING: ShownSteps = ShownSteps::Fitting { log_lines: 3 };

    fn started(build: &mut BuildState, id: u32, name: &str, at: u64) {
        let name = name.to_owned();
        let vertex = VertexId(id);
        build.take(
            &ProgressEvent::Started { vertex, name },
            Duration::from_millis(at),
        );
    }

    fn finished(build: &mut BuildState, id: u32, end: VertexEnd, took: u64) {
        let took = Duration::from_millis(took);
        let vertex = VertexId(id);
        build.take(&ProgressEvent::Finished { vertex, end, took }, took);
    }

    fn log(build: &mut BuildState, id: u32, text: &str) {
        let event = ProgressEvent::Log {
            vertex: VertexId(id),
            stream: Stream::Stdout,
            bytes: text.as_bytes().to_vec(),
        };
        build.take(&event, Duration::from_secs(1));
    }

    fn sample() -> BuildState {
        let mut build = BuildState::default();
        started(
            &mut build,
            0,
            "[internal] load build definition from Dockerfile",
            0,
        );
        finished(&mut build, 0, VertexEnd::Done, 12);
        started(&mut build, 1, "[1/4] FROM docker.io/library/debian:12", 20);
        for (part, current, finished) in [
            ("sha256:0123", 5_000_000, true),
            ("sha256:4567", 1_050_000, false),
        ] {
            build.take(
                &ProgressEvent::Status {
                    vertex: VertexId(1),
                    part: part.to_owned(),
                    current,
                    total: Some(5_000_000),
                    finished,
                },
                Duration::from_millis(400),
            );
        }
        started(&mut build, 2, "[2/4] WORKDIR /app", 20);
        finished(&mut build, 2, VertexEnd::Cached, 0);
        started(
            &mut build,
            3,
            "[3/4] RUN apt-get update && apt-get install --yes build-essential curl",
            100,
        );
        log(
            &mut build,
            3,
            "one\ntwo\tx\n\x1b[31mred\x1b[0m 日本語日本語日本語日本語日本語日本語\nhalf",
        );
        build
    }

    fn draw(build: &BuildState, width: usize, height: usize, shown: ShownSteps) -> String {
        let screen = TerminalSize { width, height };
        let now = Duration::from_millis(1234);
        let lines = tty_lines(build, now, screen, &Palette::none(), shown);
        for line in &lines {
            assert!(line.width() <= width, "too wide: {line}");
        }
        if shown != ShownSteps::All {
            assert!(lines.len() < height.max(2), "too high: {}", lines.len());
        }
        lines.join("\n")
    }

    #[test]
    fn a_build_at_work() {
        assert_snapshot!(draw(&sample(), 60, 24, FITTING), @r"
        [+] Building 1.2s (2/4)
         => [internal] load build definition from Dockerfile    0.0s
         => [1/4] FROM docker.io/library/debian:12              1.2s
         => => sha256:0123 5MB / 5MB                            0.0s
         => => sha256:4567 1.05MB / 5MB                         0.8s
         => CACHED [2/4] WORKDIR /app                           0.0s
         => [3/4] RUN apt-get update && apt-get install --yes … 1.1s
         => => # two    x
         => => # red 日本語日本語日本語日本語日本語日本語
         => => # half
        ");
    }

    #[test]
    fn long_names_of_parts_leave_room_for_amounts() {
        let mut build = BuildState::default();
        started(&mut build, 0, "[1/4] FROM docker.io/library/debian:12", 0);
        let event = ProgressEvent::Status {
            vertex: VertexId(0),
            part: format!("extracting sha256:{}", "0123456789abcdef".repeat(4)),
            current: 1_050_000,
            total: Some(5_000_000),
            finished: false,
        };
        build.take(&event, Duration::from_millis(400));
        assert_snapshot!(draw(&build, 60, 24, FITTING), @r"
        [+] Building 1.2s (0/1)
         => [1/4] FROM docker.io/library/debian:12              1.2s
         => => extracting sha256:0123456789abcdef… 1.05MB / 5MB 0.8s
        ");
    }

    #[test]
    fn low_screens_show_running_steps() {
        assert_snapshot!(draw(&sample(), 40, 6, FITTING), @r"
        [+] Building 1.2s (2/4)
         => [1/4] FROM docker.io/library/d… 1.2s
         => => sha256:4567 1.05MB / 5MB     0.8s
         => [3/4] RUN apt-get update && ap… 1.1s
         => => # half
        ");
        assert_snapshot!(draw(&sample(), 40, 3, FITTING), @r"
        [+] Building 1.2s (2/4)
         => [3/4] RUN apt-get update && ap… 1.1s
        ");
        draw(&sample(), 1, 1, FITTING);
        draw(&sample(), 0, 0, FITTING);
    }

    #[test]
    fn finished_builds_show_every_step() {
        let mut build = sample();
        finished(&mut build, 1, VertexEnd::Cancelled, 1000);
        finished(
            &mut build,
            3,
            VertexEnd::Failed("exit code: 1".to_owned()),
            1100,
        );
        assert_snapshot!(draw(&build, 60, 4, ShownSteps::All), @r"
        [+] Building 1.2s (4/4) FINISHED
         => [internal] load build definition from Dockerfile    0.0s
         => CANCELED [1/4] FROM docker.io/library/debian:12     1.0s
         => => sha256:0123 5MB / 5MB                            0.0s
         => => sha256:4567 1.05MB / 5MB                         0.8s
         => CACHED [2/4] WORKDIR /app                           0.0s
         => ERROR [3/4] RUN apt-get update && apt-get install … 1.1s
        ");
    }
}
