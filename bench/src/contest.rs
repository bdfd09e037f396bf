//! Rounds in which everybody takes a turn.
//!
//! Contenders alternate, so that whatever else happens on the machine happens to all of them,
//! and each round begins with another one, so that nobody always follows the same neighbour.

use std::fs::{self, File};
use std::path::Path;

use kiln_testbed::Registry;

use crate::action::Action;
use crate::area::Area;
use crate::arguments::Arguments;
use crate::builders::{self, Builder, Builders};
use crate::error::Error;
use crate::image::{Examiner, succeed};
use crate::machine::{Machine, Watch};
use crate::memory::peak_during;
use crate::meter::Meter;
use crate::report::{Kind, Report, Row, Table, Verdict, duration};
use crate::scenarios::{self, Entry, Outcome, Scenario};
use crate::{base, enclosure};

/// Everything that the scenarios of a run share.
struct Setting<'run> {
    area: &'run Area,
    registry: &'run Registry,
    meter: &'run Meter,
    examiner: &'run Examiner,
    builders: &'run [Box<dyn Builder>],
    rounds: u16,
    memory: bool,
    say: &'run dyn Fn(&str),
}

/// Runs the chosen scenarios in an enclosure's directory.
pub(crate) fn hold_all(
    arguments: &Arguments,
    directory: &Path,
    say: &dyn Fn(&str),
) -> Result<Report, Error> {
    let machine = Machine::here(directory);
    let meter = Meter::new(&enclosure::group_mounts(directory)?)?;
    let area = Area::new(directory)?;
    let examiner = Examiner::new()?;
    let registry = Registry::start()?;
    meter.leave_out(registry.process_id())?;
    base::publish(&area, &registry)?;
    let Builders { present, absent } = builders::prepare(arguments, &registry, &area)?;
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
        rounds: arguments.rounds,
        versions: versions.collect(),
        absent,
        tables: Vec::new(),
    };
    for entry in scenarios::chosen(&arguments.only) {
        report.tables.push(hold(&setting, entry)?);
    }
    Ok(report)
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
    let mut scenario = (entry.prepare)(setting.area)?;
    let mut rows = rows(setting, scenario.as_ref())?;
    let mut others = 0.0;
    let mut watch = None;
    for round in 0..=setting.rounds {
        scenario.begin_round(round)?;
        if round == 1 {
            watch = Some(Watch::begin(setting.meter)?);
        }
        let mut limits = scenario.limits()?.into_iter().map(Some).collect::<Vec<_>>();
        for turn in 0..rows.len() {
            let contender = (turn + usize::from(round)) % rows.len();
            let row = &mut rows[contender];
            if row.verdict != Verdict::Good {
                continue;
            }
            let action = match setting.builders.get(contender) {
                Some(builder) => scenario.action(builder.as_ref(), &tag(setting, entry, contender)),
                None => limits
                    .get_mut(contender - setting.builders.len())
                    .and_then(Option::take)
                    .map(|(_, action)| action)
                    .expect("a scenario has as many limits in every round"),
            };
            take_turn(setting, entry, round, row, action)?;
        }
        if let (Some(watch), true) = (&watch, round == setting.rounds) {
            others = watch.others(setting.meter)?;
        }
        if round == 0 || round == setting.rounds {
            check(setting, entry, scenario.as_mut(), &mut rows);
        }
    }
    if setting.memory {
        look_at_memory(setting, entry, scenario.as_mut(), &mut rows)?;
    }
    Ok(Table {
        name: entry.name,
        title: scenario.title(),
        others,
        rows,
    })
}

/// Returns a row for every builder, then one for every limit.
fn rows(setting: &Setting<'_>, scenario: &dyn Scenario) -> Result<Vec<Row>, Error> {
    let builders = setting
        .builders
        .iter()
        .map(|builder| Row::new(Kind::Builder, builder.name()));
    let limits = scenario.limits()?;
    let limits = limits.iter().map(|(label, _)| Row::new(Kind::Limit, label));
    Ok(builders.chain(limits).collect())
}

fn take_turn(
    setting: &Setting<'_>,
    entry: Entry,
    round: u16,
    row: &mut Row,
    action: Action,
) -> Result<(), Error> {
    let path = setting.area.unused("log");
    let log = File::create(&path).map_err(Error::at(&path))?;
    setting.area.sync()?;
    let result = setting.meter.measure(action, &log)?;
    let place = format!(
        "{}, round {round} of {}, {}",
        entry.name, setting.rounds, row.label
    );
    match result {
        Ok(sample) => {
            (setting.say)(&format!("{place}: {}", duration(sample.wall)));
            if round > 0 {
                row.samples.push(sample);
            }
        }
        Err(error) => {
            let text = fs::read_to_string(&path).unwrap_or_default();
            (setting.say)(&format!("{place}: {error}\n{text}"));
            let last = text.trim_end().lines().last().unwrap_or("nothing").trim();
            row.verdict = Verdict::Failed(format!("{error}, and said: {last}"));
        }
    }
    Ok(())
}

/// Looks into what every builder has made, and marks those that made something else.
fn check(setting: &Setting<'_>, entry: Entry, scenario: &mut dyn Scenario, rows: &mut [Row]) {
    for (contender, builder) in setting.builders.iter().enumerate() {
        let row = &mut rows[contender];
        if row.verdict != Verdict::Good {
            continue;
        }
        let outcome = Outcome {
            builder: builder.as_ref(),
            tag: &tag(setting, entry, contender),
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
    scenario: &mut dyn Scenario,
    rows: &mut [Row],
) -> Result<(), Error> {
    scenario.begin_round(setting.rounds + 1)?;
    for (contender, builder) in setting.builders.iter().enumerate() {
        let row = &mut rows[contender];
        if row.verdict != Verdict::Good {
            continue;
        }
        let action = scenario.action(builder.as_ref(), &tag(setting, entry, contender));
        let path = setting.area.unused("log");
        let log = File::create(&path).map_err(Error::at(&path))?;
        let (result, peak) = peak_during(&builder.daemons(), || action.perform(&log));
        match result {
            Ok(()) => row.peak_memory = Some(peak),
            Err(error) => row.verdict = Verdict::Failed(error.to_string()),
        }
    }
    Ok(())
}

/// Returns a name, without a tag, that leads to the registry and that no other contender uses.
fn tag(setting: &Setting<'_>, entry: Entry, contender: usize) -> String {
    let builder = setting.builders[contender].name();
    setting
        .registry
        .image(&format!("bench/{}-{builder}", entry.name))
}
