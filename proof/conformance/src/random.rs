//! Copies at random: contexts, ignore files and COPY or ADD instructions that a seed decides on.
//!
//! No expectation is written down for them. kiln and the other builders have to make the same files
//! of each, or fail at it alike.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::case::Case;

/// Names of files and directories: few, so that patterns meet them.
const NAMES: [&str; 6] = ["a", "b", "c", "x.go", "y.txt", ".env"];

/// Components of patterns.
const WILDCARDS: [&str; 8] = ["*", "?", "*.go", "*.txt", "[ab]", ".*", "a*", "[^a]"];

/// Where links lead: to files, directories, themselves, and nowhere.
const TARGETS: [&str; 8] = [
    "a", "../b", "b/x.go", "/a", "/c/b", "nowhere", "../y.txt", ".",
];

/// Numbers that a seed decides on.
// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % limit as u64).expect("below a usize")
    }

    /// Says yes once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn one_of(&mut self, words: &[&'static str]) -> &'static str {
        words[self.below(words.len())]
    }

    fn path(&mut self, deepest: usize) -> String {
        let component = |chance: &mut Self| match chance.below(5) {
            0 | 1 => chance.one_of(&WILDCARDS),
            _ => chance.one_of(&NAMES),
        };
        let names: Vec<&str> = (0..=self.below(deepest)).map(|_| component(self)).collect();
        names.join("/")
    }

    fn pattern(&mut self) -> String {
        let path = self.path(3);
        match self.below(6) {
            0 => format!("**/{path}"),
            1 => format!("{path}/**"),
            _ => path,
        }
    }

    /// Makes some files in a directory, and sometimes more directories in it.
    fn files(&mut self, directory: &Path, depth: usize) -> Result<(), Error> {
        for name in NAMES {
            let path = directory.join(name);
            let made = match self.below(10) {
                0..=2 if depth < 3 => {
                    fs::create_dir(&path).map_err(Error::at(&path))?;
                    self.files(&path, depth + 1)?;
                    Ok(())
                }
                3 => symlink(self.one_of(&TARGETS), &path),
                4..=6 => {
                    let content = format!("{name} {}\n", self.below(2));
                    let mode = [0o644, 0o755][self.below(2)];
                    fs::write(&path, content)
                        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
                }
                _ => Ok(()),
            };
            made.map_err(Error::at(&path))?;
        }
        Ok(())
    }

    fn ignore_file(&mut self) -> String {
        let line = |chance: &mut Self, number| {
            if number > 0 && chance.below(5) < 2 {
                format!("!{}\n", chance.pattern())
            } else {
                format!("{}\n", chance.pattern())
            }
        };
        (0..=self.below(5))
            .map(|number| line(self, number))
            .collect()
    }

    fn instruction(&mut self, is_from_stage: bool) -> String {
        let mut text = if is_from_stage {
            "COPY --from=0".to_owned()
        } else {
            self.one_of(&["COPY", "COPY", "ADD"]).to_owned()
        };
        let has_parents = text.starts_with("COPY") && self.once_in(4);
        if has_parents {
            text += " --parents";
        }
        if self.once_in(5) {
            text += &format!(" --exclude={}", self.pattern());
        }
        if self.once_in(4) {
            text += &format!(" --chown={}:{}", self.below(3), self.below(3));
        }
        for _ in 0..=self.below(2) {
            let source = match (has_parents, self.below(6)) {
                (true, 0 | 1) => format!("{}/./{}", self.path(1), self.pattern()),
                (true, _) => self.pattern(),
                (false, 0) => ".".to_owned(),
                (false, _) => self.path(3),
            };
            text += &format!(" {source}");
        }
        format!("{text} {}\n", self.one_of(&["/d/", "/d", "/d/e/", "/"]))
    }

    fn dockerfile(&mut self, has_ignore_file: bool) -> String {
        if has_ignore_file {
            return "FROM scratch\nCOPY . /d/\n".to_owned();
        }
        let is_from_stage = self.once_in(2);
        let mut text = if is_from_stage {
            "FROM scratch\nCOPY . /\nFROM scratch\n".to_owned()
        } else {
            "FROM scratch\n".to_owned()
        };
        // An image without any layer cannot be saved by all.
        text += "WORKDIR /w\n";
        for _ in 0..=self.below(2) {
            text += &self.instruction(is_from_stage);
        }
        text
    }
}

/// Makes the case of a seed in a directory.
///
/// # Errors
///
/// Those of writing its files.
pub fn random_case(seed: u64, parent: &Path) -> Result<Case, Error> {
    let directory: PathBuf = parent.join(format!("random-{seed}"));
    fs::create_dir(&directory).map_err(Error::at(&directory))?;
    let mut chance = Chance(seed);
    chance.files(&directory, 0)?;
    let has_ignore_file = chance.once_in(3);
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        fs::write(&path, text).map_err(Error::at(&path))
    };
    if has_ignore_file {
        write(".dockerignore", chance.ignore_file())?;
    }
    write("Dockerfile", chance.dockerfile(has_ignore_file))?;
    Ok(Case::at(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_one_case() {
        let text = |seed| {
            let scratch = kiln_testbed::Scratch::new();
            let case = random_case(seed, scratch.path()).unwrap();
            fs::read_to_string(case.directory.join("Dockerfile")).unwrap()
        };
        for seed in 1..30 {
            assert_eq!(text(seed), text(seed));
        }
        assert!((1..30).any(|seed| text(seed) != text(30)));
    }
}
