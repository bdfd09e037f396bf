//! All that a build is made of, and its edits.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::truth::chance::Chance;
use crate::truth::context;
use crate::truth::dockerfile::Dockerfile;
use crate::truth::machine::{BASES, Machine, succeeded, text};

/// Longer than a stat index distrusts what it has read.
const SETTLED: Duration = Duration::from_millis(3100);

/// A Dockerfile, its context, and what the command line says.
pub(crate) struct World<'a> {
    machine: &'a Machine,
    directory: PathBuf,
    dockerfile: Dockerfile,
    /// The last one that could be built, if the current one cannot.
    sound: Option<Dockerfile>,
    /// What the Dockerfile was before, to be returned to.
    past: Vec<Dockerfile>,
    ignore: &'static str,
    argument: usize,
    base: usize,
    secret: usize,
    target: Option<usize>,
    jobs: usize,
    anew: bool,
}

/// The epoch of every build, to which all times are clamped: there is none before it.
///
/// A copy is not made again because of a time (docs/spec/dockerfile.md 12), so times may remain
/// from before. With a later epoch they would show: a directory that has to be made has the time of
/// the one around it, in the end that of an empty root, and one of WORKDIR that of the epoch.
const EPOCH: &str = "--timestamp=0";

/// What a build came to: the image's id, or why there is none.
pub(crate) type Built = Result<String, String>;

impl<'a> World<'a> {
    pub(crate) fn new(machine: &'a Machine, name: &str, seed: u64) -> Self {
        let directory = machine.directory(name);
        context::fill(&directory.join("ctx"));
        machine.state(0, &format!("{name}/state"));
        let mut chance = Chance::new(seed);
        let paths = context::paths(&directory.join("ctx"));
        Self {
            machine,
            dockerfile: Dockerfile::new(&mut chance, &paths),
            directory,
            sound: None,
            past: Vec::new(),
            ignore: "",
            argument: 0,
            base: 0,
            secret: 0,
            target: None,
            jobs: 4,
            anew: false,
        }
    }

    /// Makes one to three edits and says which.
    pub(crate) fn edit(&mut self, seed: u64) -> String {
        let mut chance = Chance::new(seed);
        self.anew = false;
        if let Some(sound) = self.sound.take() {
            self.dockerfile = sound;
            self.ignore = "";
        }
        let count = [1, 1, 1, 2, 3][chance.below(5)];
        let edits: Vec<String> = (0..count).map(|_| self.edit_once(&mut chance)).collect();
        edits.join("; ")
    }

    fn edit_once(&mut self, chance: &mut Chance) -> String {
        let context = self.context();
        if chance.once_in(2) {
            return context::edit(&context, chance);
        }
        let paths = context::paths(&context);
        // What the last stage is made of shows.
        let count = self.dockerfile.stages.len();
        let stage = if chance.once_in(2) {
            count - 1
        } else {
            chance.below(count)
        };
        let mut next = self.dockerfile.clone();
        let choice = chance.below(24);
        let what = match choice {
            0..=13 => edit_dockerfile(&mut next, choice, stage, &paths, chance),
            14 | 15 => {
                if let Some(position) = chance.position(&self.past) {
                    next = self.past[position].clone();
                }
                "an earlier Dockerfile".to_owned()
            }
            _ => self.edit_request(choice, stage, chance),
        };
        self.past
            .push(std::mem::replace(&mut self.dockerfile, next));
        if self.past.len() > 6 {
            self.past.remove(0);
        }
        what
    }

    /// Changes something of the build besides Dockerfile and context, and says what.
    fn edit_request(&mut self, choice: usize, stage: usize, chance: &mut Chance) -> String {
        match choice {
            16 => {
                let rules = [
                    "",
                    "*.md",
                    "src/deep",
                    "src\n!src/a.txt",
                    "**/*.txt\n!lib",
                    "*",
                ];
                self.ignore = chance.pick(&rules);
                format!("ignore {:?}", self.ignore)
            }
            17 => {
                self.argument = chance.below(4);
                format!("build argument {}", self.argument)
            }
            18 => {
                self.base = chance.below(BASES.len());
                let state = self.directory.join("state");
                succeeded(
                    self.machine
                        .kiln(&state)
                        .args(["tag", BASES[self.base], "base"]),
                );
                format!("base is {}", BASES[self.base])
            }
            19 => {
                self.secret = chance.below(3);
                format!("secret {}", self.secret)
            }
            20 => {
                let stages = &self.dockerfile.stages;
                self.target = chance.position(stages).map(|at| stages[at].number);
                if chance.once_in(2) {
                    self.target = None;
                }
                "another target".to_owned()
            }
            21 => {
                self.jobs = 1 + chance.below(4);
                format!("{} jobs", self.jobs)
            }
            22 => {
                self.anew = true;
                format!("--no-cache-filter of stage {stage}")
            }
            _ => {
                if chance.once_in(3) {
                    std::thread::sleep(SETTLED);
                }
                "a pause".to_owned()
            }
        }
    }

    fn context(&self) -> PathBuf {
        self.directory.join("ctx")
    }

    /// Builds with what earlier builds left.
    pub(crate) fn build(&mut self) -> Built {
        let built = self.build_in(&self.directory.join("state"), &[]);
        if built.is_err() {
            self.sound = self.past.last().cloned();
        }
        built
    }

    /// Builds with nothing but the base images.
    pub(crate) fn build_from_nothing(&self) -> Built {
        let state = self.fresh();
        let built = self.build_in(&state, &[]);
        let _ = fs::remove_dir_all(state);
        built
    }

    /// Returns the files that builds with and without the past come to, as two archives.
    pub(crate) fn files(&self) -> [PathBuf; 2] {
        let fresh = self.fresh();
        [(self.directory.join("state"), "past"), (fresh, "fresh")].map(|(state, name)| {
            let archive = self.directory.join(format!("{name}.tar"));
            let output = format!("type=tar,dest={}", archive.display());
            self.build_in(&state, &["-o", &output]).unwrap();
            archive
        })
    }

    fn fresh(&self) -> PathBuf {
        let name = self.directory.file_name().unwrap().to_str().unwrap();
        let state = format!("{name}/fresh");
        let _ = fs::remove_dir_all(self.machine.join(&state));
        self.machine.state(self.base, &state)
    }

    fn build_in(&self, state: &Path, arguments: &[&str]) -> Built {
        let dockerfile = self.directory.join("Dockerfile");
        fs::write(&dockerfile, self.dockerfile.text()).unwrap();
        let ignore = self.directory.join("Dockerfile.dockerignore");
        fs::write(ignore, self.ignore).unwrap();
        let mut command = self.machine.kiln(state);
        command.args(["build", "--quiet", "--rewrite-timestamp", EPOCH]);
        command.arg(format!("--jobs={}", self.jobs));
        command.arg(format!("--secret=id=s{},env=SECRET", self.secret));
        command.env("SECRET", format!("secret {}", self.secret));
        if self.argument > 0 {
            command.arg(format!("--build-arg=A=argument{}", self.argument));
        }
        let name = |number| {
            let mut stages = self.dockerfile.stages.iter();
            stages.find(|stage| Some(stage.number) == number)
        };
        if let Some(stage) = name(self.target) {
            command.arg("--target").arg(&stage.name);
        }
        if self.anew {
            command.arg("--no-cache-filter");
            command.arg(&self.dockerfile.stages[0].name);
        }
        command.arg("-f").arg(dockerfile).args(arguments);
        let output = command.arg(self.context()).output().unwrap();
        if output.status.success() {
            // A step that is run may warn; one that is found has nothing to say.
            Ok(String::from_utf8_lossy(&output.stdout)
                .trim_end()
                .to_owned())
        } else {
            Err(reason(&text(&output)))
        }
    }

    /// Says what the build is made of.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{}\nignore {:?}, base {}, argument {}, target {:?}\nfiles: {:?}",
            self.dockerfile.text(),
            self.ignore,
            BASES[self.base],
            self.argument,
            self.target,
            context::paths(&self.context()),
        )
    }
}

/// Changes the stages or steps of a Dockerfile and says how.
fn edit_dockerfile(
    next: &mut Dockerfile,
    choice: usize,
    stage: usize,
    paths: &[String],
    chance: &mut Chance,
) -> String {
    match choice {
        0..=4 => {
            next.add_step(chance, stage, paths);
            format!("add a step to stage {stage}")
        }
        5 | 6 => {
            next.replace_step(chance, stage, paths);
            format!("replace a step of stage {stage}")
        }
        7 => {
            let steps = &mut next.stages[stage].steps;
            if let Some(place) = chance.position(steps) {
                steps.remove(place);
            }
            format!("remove a step of stage {stage}")
        }
        8 => {
            let steps = &mut next.stages[stage].steps;
            if let Some(place) = chance.position(steps) {
                steps.swap(0, place);
            }
            format!("exchange steps of stage {stage}")
        }
        9 => {
            next.stages[stage].name = format!("renamed{}", chance.below(1000));
            format!("rename stage {stage}")
        }
        10 => {
            next.move_stage(stage);
            format!("move stage {stage} down")
        }
        11 => {
            if next.stages.len() < 5 {
                next.add_stage(chance, paths);
            }
            "add a stage".to_owned()
        }
        12 => {
            next.remove_stage(stage);
            format!("remove stage {stage}")
        }
        _ => {
            next.layout += 1;
            "other blank lines and comments".to_owned()
        }
    }
}

/// Returns what is the same whenever a build fails for the same reason.
fn reason(text: &str) -> String {
    let lines = text.lines().filter(|line| line.starts_with("ERROR:"));
    lines.collect::<Vec<_>>().join("\n")
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
