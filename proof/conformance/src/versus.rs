use std::fmt;
use std::fs;

use kiln_testbed::differences;

use crate::builder::{Builder, attempt};
use crate::case::Case;
use crate::judge::without_habits;
use crate::{Error, Image, Peer};

/// What a builder made of a copy at random.
#[derive(Debug, Clone)]
pub struct Made {
    /// The files of the image, as lines; none if the build failed.
    files: Option<Vec<String>>,
    /// What the builder said.
    output: String,
}

/// Builds cases, one after the other.
///
/// # Errors
///
/// Only what is not a matter of the builder.
pub fn make(builder: &dyn Builder, cases: &[Case]) -> Result<Vec<Made>, Error> {
    let made = |case: &Case| {
        let outcome = attempt(builder, case)?;
        let nothing = Image::scratch();
        Ok(Made {
            files: outcome.image.map(|image| image.tree(&nothing, &[])),
            output: outcome.output,
        })
    };
    cases.iter().map(made).collect()
}

/// What kiln and a peer made of the same cases.
#[derive(Debug)]
pub struct Contest {
    /// The peer.
    name: String,
    same: usize,
    /// Where it may differ, and why.
    excused: Vec<(String, &'static str)>,
    /// Where it may not, and how it does.
    wrong: Vec<(String, Vec<String>)>,
}

impl Contest {
    /// Compares what was made of cases.
    ///
    /// # Errors
    ///
    /// When the Dockerfile of a case cannot be read.
    pub fn of(peer: Peer, cases: &[Case], kiln: &[Made], other: &[Made]) -> Result<Self, Error> {
        let mut contest = Self {
            name: format!("{peer:?}"),
            same: 0,
            excused: Vec::new(),
            wrong: Vec::new(),
        };
        for ((case, kiln), other) in cases.iter().zip(kiln).zip(other) {
            let found = differ(peer, kiln, other);
            let path = case.directory.join("Dockerfile");
            let dockerfile = fs::read_to_string(&path).map_err(Error::at(&path))?;
            let ignored = fs::read_to_string(case.directory.join(".dockerignore"));
            let ignored = ignored.unwrap_or_default();
            match excuse(peer, &dockerfile, &ignored, kiln, other) {
                _ if found.is_empty() => contest.same += 1,
                Some(reason) => contest.excused.push((case.name.clone(), reason)),
                None => contest.wrong.push((case.name.clone(), found)),
            }
        }
        Ok(contest)
    }

    /// Says whether nothing differs without a reason.
    pub fn is_fine(&self) -> bool {
        self.wrong.is_empty()
    }
}

fn differ(peer: Peer, kiln: &Made, other: &Made) -> Vec<String> {
    let last = |made: &Made| made.output.lines().last().unwrap_or_default().to_owned();
    match (&kiln.files, &other.files) {
        (None, None) => Vec::new(),
        (None, Some(_)) => vec![format!("kiln fails: {}", last(kiln))],
        (Some(_), None) => vec![format!("it fails: {}", last(other))],
        (Some(kiln), Some(other)) if peer == Peer::Buildah => differences(
            &without_habits(kiln.clone()),
            &without_habits(other.clone()),
        ),
        (Some(kiln), Some(other)) => differences(kiln, other),
    }
}

/// Returns why a peer may make something else of a Dockerfile than kiln, which does as the newest
/// BuildKit.
fn excuse(
    peer: Peer,
    dockerfile: &str,
    ignored: &str,
    kiln: &Made,
    made: &Made,
) -> Option<&'static str> {
    let copies = || dockerfile.lines().filter(|line| !line.starts_with("FROM"));
    let uses = |part: &str| copies().any(|line| line.contains(part));
    match peer {
        _ if made.files.is_none() && uses(" --parents") => Some("knows no --parents"),
        _ if made.files.is_none() && uses(" --exclude") => Some("knows no --exclude"),
        // Docker 28.5 makes of these what kiln does.
        _ if ignored.lines().any(|line| line.starts_with('!')) => {
            Some("takes less back of what an ignore file leaves out")
        }
        // So does Docker 28.5, and it makes what kiln makes of the next ones.
        Peer::BuildKit if made.files.is_some() && kiln.output.contains(": nothing matches \"") => {
            Some("the version of 2022 lets a wildcard in a directory match nothing")
        }
        Peer::BuildKit if made.output.contains("error from sender: readdir") => {
            Some("the client of 2022 lists what is no directory")
        }
        Peer::Buildah if kiln.files.is_none() != made.files.is_none() => {
            Some("has rules of its own for wildcards without a match and links to nowhere")
        }
        _ => None,
    }
}

impl fmt::Display for Contest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (excused, wrong) = (self.excused.len(), self.wrong.len());
        let name = &self.name;
        writeln!(
            out,
            "{name}, copies at random: {} the same  {excused} excused  {wrong} DIFFER",
            self.same
        )?;
        for (case, reason) in &self.excused {
            writeln!(out, "  {case} {reason}")?;
        }
        for (case, differences) in &self.wrong {
            writeln!(out, "  {case} DIFFERS")?;
            for line in differences {
                writeln!(out, "      {line}")?;
            }
        }
        Ok(())
    }
}
