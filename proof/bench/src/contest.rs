//! Rounds in which everybody takes a turn.
//!
//! Contenders alternate, so that other work of the machine happens to all of them,
//! and each round begins with another one, so that none always follows the same neighbour.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_testbed::Registry;

use crate::action::{Action, ActionError};
use crate::area::Area;
use crate::arguments::Arguments;
use crate::builders::{self, Builder, Builders};
use crate::error::Error;
use crate::image::{Examiner, succeed};
use crate::machine::{Machine, Watch};
use crate::memory::peak_during;
use crate::meter::Meter;
use crate::report::{Report, Row, RowSubject, Skipped, Table, Verdict, duration};
use crate::scenarios::{self, Entry, Outcome, Scenario};
use crate::{base, enclosure};

/// How often a builder does unmeasured what it is going to do, at most.
const WARM_UPS: u16 = 3;

/// How long a slow builder does so.
const WARM_UP_TIME: Duration = Duration::from_secs(1);

/// Everything that the scenarios of a run share.
struct Setting<'run> {
    area: &'run Area,
    registry: &'run Registry,
    meter: &'run Meter,
    examiner: &'run Examiner,
    builders: &'run [Box<dyn Builder>],
    /// As many as the scenario deserves, unless the command line says otherwise.
    rounds: Option<u16>,
    memory: bool,
    say: &'run dyn Fn(&str),
}

/// Who takes turns, and the figures so far.
struct Contender<'run> {
    who: Who<'run>,
    row: Row,
}

#[derive(Clone, Copy)]
enum Who<'run> {
    Builder(&'run dyn Builder),
    /// One of the scenario's limits.
    Limit(usize),
}

/// Runs the chosen scenarios in an enclosure's directory.
pub(crate) fn hold_all(
    arguments: &Arguments,
    directory: &Path,
    say: &dyn Fn(&str),
) -> Result<Report, Error> {
    let machine = Machine::here(directory);
    let meter = Meter::new(&enclosure::group_mounts(directory)?)?;
    let mut area = Area::new(directory)?;
    let examiner = Examiner::new()?;
    let registry = Registry::start()?;
    meter.leave_out(registry.process_id())?;
    let entries = scenarios::chosen(&arguments.only, arguments.extent());
    let images = publish_bases(arguments, &entries, &mut area, &registry)?;
    let Builders { present, absent } = builders::prepare(arguments, &registry, &area, &images)?;
    for words in &absent {
        say(&format!("left out: {words}"));
    }
    let setting = Setting {
        area: &area,
        registry: &registry,
        meter: &meter,
        examiner: &examiner,
        builders: &present,
        rounds: arguments.rounds,
        memory: arguments.memory,
        say,
    };
    let versions = present.iter().map(|builder| version(builder.as_ref()));
    let mut report = Report {
        machine: machine.to_string(),
        versions: versions.collect(),
        absent,
        tables: Vec::new(),
        skipped: Vec::new(),
    };
    for entry in entries {
        match hold(&setting, entry) {
            Ok(table) => report.tables.push(table),
            Err(Error::Lacking(why)) => {
                say(&format!("{}: skipped: {why}", entry.name));
                report.skipped.push(Skipped {
                    name: entry.name,
                    why,
                });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(report)
}

/// Puts the images that scenarios start from into the registry, and returns the names of those
/// that are there. A scenario whose base cannot be made finds out by its root file system.
fn publish_bases(
    arguments: &Arguments,
    entries: &[Entry],
    area: &mut Area,
    registry: &Registry,
) -> Result<Vec<&'static str>, Error> {
    base::publish(area, registry)?;
    let mut images = vec![base::BUSYBOX];
    for name in [base::DEBIAN, base::NODE] {
        if !entries.iter().any(|entry| entry.base == Some(name)) {
            continue;
        }
        match base::build_and_publish(name, &arguments.kiln, area, registry) {
            Ok(rootfs) => {
                area.set_rootfs(name, Ok(rootfs));
                images.push(name);
            }
            Err(Error::Lacking(why)) => area.set_rootfs(name, Err(why)),
            Err(error) => return Err(error),
        }
    }
    Ok(images)
}

fn version(builder: &dyn Builder) -> String {
    let words = match succeed(&mut builder.version()) {
        Ok(words) | Err(words) => words,
    };
    let line = words.lines().next().unwrap_or("no version");
    format!("{}: {line}", builder.name())
}

/// Runs one scenario.
fn hold(setting: &Setting<'_>, entry: Entry) -> Result<Table, Error> {
    let rounds = setting.rounds.unwrap_or(entry.rounds);
    let mut scenario = (entry.prepare)(setting.area)?;
    scenario.begin_round(number(0, 0))?;
    let mut contenders = contenders(setting, entry, scenario.as_ref())?;
    let mut others = 0.0;
    let mut watch = None;
    for round in 0..=rounds {
        if round > 0 {
            scenario.begin_round(number(round, 0))?;
        }
        if round == 1 {
            watch = Some(Watch::begin(setting.meter)?);
        }
        let mut limits: Vec<_> = scenario.limits()?.into_iter().map(Some).collect();
        for turn in 0..contenders.len() {
            let next = (turn + usize::from(round)) % contenders.len();
            let contender = &mut contenders[next];
            if contender.row.verdict != Verdict::Good {
                continue;
            }
            if let Who::Builder(builder) = contender.who
                && let Some(before) = scenario.before(builder, &tag(setting, entry, builder))
                && !prepare_turn(setting, &mut contender.row, before)?
            {
                continue;
            }
            setting.area.sync()?;
            if let Some(files) = scenario.new_files() {
                read_all(files)?;
            }
            if scenario.is_warm() && !warm_up(setting, entry, scenario.as_mut(), contender, round)?
            {
                continue;
            }
            let action = match contender.who {
                Who::Limit(number) => limits[number].take().map(|(_, action)| action),
                Who::Builder(builder) => scenario.action(builder, &tag(setting, entry, builder)),
            };
            let action = action.expect("who takes part has something to do in every round");
            let place = format!("{}, round {round} of {rounds}", entry.name);
            take_turn(setting, &place, round, &mut contender.row, action)?;
        }
        if let (Some(watch), true) = (&watch, round == rounds) {
            others = watch.others(setting.meter)?;
        }
        if round == 0 || round == rounds {
            check(setting, entry, scenario.as_mut(), &mut contenders);
        }
    }
    if setting.memory {
        scenario.begin_round(number(rounds + 1, 0))?;
        look_at_memory(setting, entry, scenario.as_ref(), &mut contenders)?;
    }
    Ok(Table {
        name: entry.name,
        title: scenario.title(),
        target: entry.target,
        files: entry.files,
        rounds,
        others,
        rows: contenders
            .into_iter()
            .map(|contender| contender.row)
            .collect(),
        notes: scenario.notes(),
    })
}

/// Returns every builder that has something to do, then every limit.
fn contenders<'run>(
    setting: &Setting<'run>,
    entry: Entry,
    scenario: &dyn Scenario,
) -> Result<Vec<Contender<'run>>, Error> {
    let takes_part = |builder: &&dyn Builder| {
        let tag = tag(setting, entry, *builder);
        scenario.action(*builder, &tag).is_some()
    };
    let builders = setting
        .builders
        .iter()
        .map(Box::as_ref)
        .filter(takes_part)
        .map(|builder| Contender {
            who: Who::Builder(builder),
            row: Row::new(RowSubject::Builder, builder.name()),
        });
    let limits = scenario.limits()?;
    let limits = limits
        .iter()
        .enumerate()
        .map(|(number, (label, _))| Contender {
            who: Who::Limit(number),
            row: Row::new(RowSubject::Limit, label),
        });
    Ok(builders.chain(limits).collect())
}

/// Reads every file below a directory.
fn read_all(directory: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(directory).map_err(Error::at(directory))? {
        let path = entry.map_err(Error::at(directory))?.path();
        if path.is_dir() {
            read_all(&path)?;
        } else {
            let mut file = File::open(&path).map_err(Error::at(&path))?;
            io::copy(&mut file, &mut io::sink()).map_err(Error::at(&path))?;
        }
    }
    Ok(())
}

/// Lets a builder do it unmeasured before its turn; returns whether the turn can follow.
fn warm_up(
    setting: &Setting<'_>,
    entry: Entry,
    scenario: &mut dyn Scenario,
    contender: &mut Contender<'_>,
    round: u16,
) -> Result<bool, Error> {
    let begin = Instant::now();
    for time in 1..=WARM_UPS {
        scenario.begin_round(number(round, time))?;
        let action = match contender.who {
            Who::Limit(number) => Some(scenario.limits()?.swap_remove(number).1),
            Who::Builder(builder) => scenario.action(builder, &tag(setting, entry, builder)),
        };
        if let Some(action) = action
            && !prepare_turn(setting, &mut contender.row, action)?
        {
            return Ok(false);
        }
        if begin.elapsed() > WARM_UP_TIME {
            break;
        }
    }
    scenario.begin_round(number(round, 0))?;
    Ok(true)
}

/// Returns what a scenario knows a round by, or one of the times before a turn: none is like
/// another, and the first of all is 0.
fn number(round: u16, time: u16) -> u32 {
    u32::from(round) * u32::from(WARM_UPS + 1) + u32::from(time)
}

/// Does what has to be done before a turn; returns whether the turn can follow.
fn prepare_turn(setting: &Setting<'_>, row: &mut Row, action: Action) -> Result<bool, Error> {
    let path = setting.area.unused("log");
    let log = File::create(&path).map_err(Error::at(&path))?;
    match action.perform(&log) {
        Ok(()) => Ok(true),
        Err(error) => {
            row.verdict = failure(setting, &format!("before {}", row.label), &error, &path);
            Ok(false)
        }
    }
}

fn take_turn(
    setting: &Setting<'_>,
    place: &str,
    round: u16,
    row: &mut Row,
    action: Action,
) -> Result<(), Error> {
    let path = setting.area.unused("log");
    let log = File::create(&path).map_err(Error::at(&path))?;
    let place = format!("{place}, {}", row.label);
    match setting.meter.measure(action, &log)? {
        Ok(sample) => {
            (setting.say)(&format!("{place}: {}", duration(sample.wall)));
            if round > 0 {
                row.samples.push(sample);
            }
        }
        Err(error) => row.verdict = failure(setting, &place, &error, &path),
    }
    Ok(())
}

/// Reports a builder that gave up, by the last of its words.
fn failure(setting: &Setting<'_>, place: &str, error: &ActionError, log: &Path) -> Verdict {
    let text = fs::read_to_string(log).unwrap_or_default();
    (setting.say)(&format!("{place}: {error}\n{text}"));
    let last = text.trim_end().lines().last().unwrap_or("nothing").trim();
    Verdict::Failed(format!("{error}, and said: {last}"))
}

/// Looks into what every builder has made, and marks those that made something else.
fn check(
    setting: &Setting<'_>,
    entry: Entry,
    scenario: &mut dyn Scenario,
    contenders: &mut [Contender<'_>],
) {
    for Contender { who, row } in contenders {
        let (Who::Builder(builder), Verdict::Good) = (*who, &row.verdict) else {
            continue;
        };
        let outcome = Outcome {
            builder,
            tag: &tag(setting, entry, builder),
            area: setting.area,
            examiner: setting.examiner,
        };
        if let Err(what) = scenario.check(&outcome) {
            (setting.say)(&format!(
                "{}, {}: WRONG RESULT: {what}",
                entry.name, row.label
            ));
            row.verdict = Verdict::Wrong(what);
        }
    }
}

/// Lets every builder take one more turn, and notes how much memory it had at most.
fn look_at_memory(
    setting: &Setting<'_>,
    entry: Entry,
    scenario: &dyn Scenario,
    contenders: &mut [Contender<'_>],
) -> Result<(), Error> {
    for Contender { who, row } in contenders {
        let (Who::Builder(builder), Verdict::Good) = (*who, &row.verdict) else {
            continue;
        };
        let tag = tag(setting, entry, builder);
        if let Some(before) = scenario.before(builder, &tag)
            && !prepare_turn(setting, row, before)?
        {
            continue;
        }
        let Some(action) = scenario.action(builder, &tag) else {
            continue;
        };
        let path = setting.area.unused("log");
        let log = File::create(&path).map_err(Error::at(&path))?;
        let (result, peak) = peak_during(&builder.daemons(), || action.perform(&log));
        match result {
            Ok(()) => row.peak_memory = peak,
            Err(error) => {
                let place = format!("{}, looking at memory, {}", entry.name, row.label);
                row.verdict = failure(setting, &place, &error, &path);
            }
        }
    }
    Ok(())
}

/// Returns a name, without a tag, that leads to the registry and that no other contender uses.
fn tag(setting: &Setting<'_>, entry: Entry, builder: &dyn Builder) -> String {
    setting
        .registry
        .image(&format!("bench/{}-{}", entry.name, builder.name()))
}
