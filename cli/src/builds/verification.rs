//! `--verify`: what differs between two builds of the same, file by file.

use kiln_engine::{
    BuildRequest, Comparison, ConfigDifference, ContextSource, Destination, DifferenceCause,
    DifferentFile, FileChange, FileKind, FileTimes, ImageVerdict, Output, StepDifference,
};
use kiln_oci::Timestamp;

use super::arguments::BuildArguments;
use crate::failure::{Exit, Failure};
use crate::terminal;

/// Lines about one step. Who needs more than these looks at the files themselves.
const MOST_FILES: usize = 50;

/// Refuses what cannot be built twice.
pub(super) fn check(request: &BuildRequest) -> Result<(), Failure> {
    match request.context {
        ContextSource::Archive { .. } => Err(Failure::flag(
            "--verify reads the context twice: it cannot come from standard input",
        )),
        _ => Ok(()),
    }
}

/// Says how the builds compare, and returns how the command ends.
pub(super) fn deliver(
    comparison: &Comparison,
    request: &BuildRequest,
    arguments: &BuildArguments,
) -> Result<Exit, Failure> {
    let text = describe(comparison);
    match (arguments.is_quiet(), comparison.verdict) {
        (true, ImageVerdict::Reproducible) => {}
        (true, ImageVerdict::Different) => terminal::tell(&text),
        (false, _) if writes_to_stdout(request) => terminal::tell(&text),
        (false, _) => terminal::print(&text)?,
    }
    Ok(match comparison.verdict {
        ImageVerdict::Reproducible => Exit::SUCCESS,
        ImageVerdict::Different => Exit::FAILURE,
    })
}

/// Says whether standard output is to hold an archive, and so nothing else.
pub(super) fn writes_to_stdout(request: &BuildRequest) -> bool {
    request.outputs.iter().any(|output| match output {
        Output::Oci { to, .. } | Output::Docker { to, .. } | Output::Tar { to, .. } => {
            *to == Destination::Stream
        }
        _ => false,
    })
}

fn describe(comparison: &Comparison) -> String {
    if comparison.verdict == ImageVerdict::Reproducible {
        return format!("reproducible: {}\n", comparison.result.descriptor.digest);
    }
    let mut lines = vec![format!("not reproducible: {}", summary(comparison))];
    for step in &comparison.steps {
        match step.cause {
            DifferenceCause::Step => {
                lines.push(step.name.clone());
                lines.extend(step.files.iter().take(MOST_FILES).map(file));
                if let Some(more @ 1..) = step.files.len().checked_sub(MOST_FILES) {
                    lines.push(format!("  and {} more", count(more, "file")));
                }
            }
            DifferenceCause::Inputs => lines.push(format!(
                "{}: {} because of an earlier step",
                step.name,
                count(step.files.len(), "file")
            )),
        }
    }
    if !comparison.config.is_empty() {
        lines.push("config of the image".to_owned());
        lines.extend(comparison.config.iter().map(field));
    }
    lines.extend(hints(comparison).map(|hint| format!("hint: {hint}")));
    lines.join("\n") + "\n"
}

fn summary(comparison: &Comparison) -> String {
    let own = |step: &&StepDifference| step.cause == DifferenceCause::Step;
    let steps: Vec<_> = comparison.steps.iter().filter(own).collect();
    let files: usize = steps.iter().map(|step| step.files.len()).sum();
    match files {
        0 => "the image's config differs".to_owned(),
        1 => "1 file in 1 step differs".to_owned(),
        _ => format!("{files} files in {} differ", count(steps.len(), "step")),
    }
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

fn file(difference: &DifferentFile) -> String {
    let what: Vec<String> = difference.what.iter().map(change).collect();
    format!("  {}: {}", difference.path, what.join(", "))
}

fn change(change: &FileChange) -> String {
    match change {
        FileChange::OnlyFirst => "only the first build made it".to_owned(),
        FileChange::OnlySecond => "only the second build made it".to_owned(),
        FileChange::Kind(one, other) => format!("{}, then {}", kind(*one), kind(*other)),
        FileChange::Content { sizes, offset } => {
            let place = match offset {
                Some(offset) => format!("content differs at byte {offset}"),
                None => "content differs".to_owned(),
            };
            match sizes {
                (one, other) if one == other => format!("{place} of {one}"),
                (one, other) => format!("{place} ({one} bytes, then {other})"),
            }
        }
        FileChange::Mode(one, other) => format!("mode {one:04o}, then {other:04o}"),
        FileChange::Owner((user, group), (other_user, other_group)) => {
            format!("owner {user}:{group}, then {other_user}:{other_group}")
        }
        FileChange::ModificationTime(one, other) => {
            format!("modified {}, then {}", time(*one), time(*other))
        }
        FileChange::Target(one, other) => format!("leads to {one}, then to {other}"),
        FileChange::Nature => "another device, or it hides what is below it only once".to_owned(),
        FileChange::Attributes => "extended attributes differ".to_owned(),
    }
}

fn kind(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "a file",
        FileKind::HardLink => "a further name of a file",
        FileKind::Directory => "a directory",
        FileKind::Symlink => "a symbolic link",
        FileKind::Device => "a device",
        FileKind::Fifo => "a named pipe",
        FileKind::Removal => "removed",
    }
}

fn time(time: Timestamp) -> String {
    match jiff::Timestamp::from_second(time.seconds) {
        Ok(time) => time.to_string(),
        // Beyond the year 9999.
        Err(_) => time.seconds.to_string(),
    }
}

fn field(difference: &ConfigDifference) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    let ConfigDifference {
        field,
        first,
        second,
    } = difference;
    format!("  {field}: {}, then {}", value(first), value(second))
}

/// Says what would make the builds more alike.
fn hints(comparison: &Comparison) -> impl Iterator<Item = &'static str> {
    let is_time = |change: &FileChange| matches!(change, FileChange::ModificationTime(..));
    let mut changes = comparison
        .steps
        .iter()
        .flat_map(|step| &step.files)
        .flat_map(|file| &file.what);
    let has_times = changes.any(is_time);
    let has_created = comparison
        .config
        .iter()
        .any(|field| field.field.ends_with("created"));
    let epoch = (!comparison.has_epoch && (has_times || has_created))
        .then_some("set SOURCE_DATE_EPOCH or --timestamp, so that what is new has one time");
    let clamp = (has_times && comparison.file_times == FileTimes::Keep)
        .then_some("use --rewrite-timestamp, so that no new file is later than that time");
    epoch.into_iter().chain(clamp)
}
