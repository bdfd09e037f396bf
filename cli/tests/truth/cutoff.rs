//! What a build need not do again: everything behind a step that came to the same files, and
//! everything that is only written differently.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use kiln_testbed::need;

use crate::truth::machine::{Machine, text};

/// A Dockerfile, a context and a state directory.
struct Project {
    machine: Machine,
    context: PathBuf,
    state: PathBuf,
}

impl Project {
    fn new(machine: Machine) -> Self {
        let context = machine.directory("ctx");
        let state = machine.state(0, "state");
        Self {
            machine,
            context,
            state,
        }
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.context.join(name), content).unwrap();
    }

    /// Builds and returns the instructions that ran.
    #[track_caller]
    fn ran(&self, dockerfile: &str) -> Vec<String> {
        let file = self.machine.join("Dockerfile");
        fs::write(&file, dockerfile).unwrap();
        let mut command = self.machine.kiln(&self.state);
        command.args(["build", "--progress=plain", "-o", "type=cacheonly", "-f"]);
        let output = command.arg(file).arg(&self.context).output().unwrap();
        let text = text(&output);
        assert!(output.status.success(), "{text}");
        let steps = text.lines().filter_map(|line| {
            let (number, name) = line.split_once(" [")?;
            let (place, instruction) = name.split_once("] ")?;
            let is_cached = text.contains(&format!("\n{number} CACHED\n"));
            let is_base = instruction.starts_with("FROM");
            (place != "internal" && !is_base && !is_cached).then(|| instruction.to_owned())
        });
        // Steps that run side by side are named again when they go on.
        steps.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

fn machine() -> Result<Machine, kiln_testbed::Skip> {
    Machine::own().or_else(|_| Machine::of_user())
}

#[test]
fn steps_behind_the_same_files_are_found() {
    let project = Project::new(need!(machine()));
    let measure =
        "RUN --mount=type=bind,target=/tmp wc -c < /tmp/version > /size; touch -d @9000 /size";
    let dockerfile = format!("FROM base\n{measure}\nRUN echo behind > /behind\nWORKDIR /w\n");
    project.write("version", "1.0");
    assert_eq!(project.ran(&dockerfile).len(), 3);
    project.write("version", "1.1");
    assert_eq!(project.ran(&dockerfile), [measure]);
    // Found by what it was made from, it is known by name, too.
    assert_eq!(project.ran(&dockerfile), [""; 0]);
    project.write("version", "1.10");
    assert_eq!(project.ran(&dockerfile).len(), 3);
}

#[test]
fn a_copy_from_a_stage_is_known_by_what_it_copies() {
    let project = Project::new(need!(machine()));
    let dockerfile = "FROM base AS made\nCOPY version /version\n\
        RUN mkdir /out; wc -c < /version > /out/size; cat /version > /beside\n\
        FROM base\nCOPY --from=made /out/size /size\nRUN cat /size\n";
    project.write("version", "1.0");
    assert_eq!(project.ran(dockerfile).len(), 4);
    project.write("version", "1.1");
    let again = project.ran(dockerfile);
    assert_eq!(again.len(), 2, "{again:?}");
    assert!(
        !again.iter().any(|step| step.contains("size /size")),
        "{again:?}"
    );
    project.write("version", "1.10");
    assert_eq!(project.ran(dockerfile).len(), 4);
}

#[test]
fn how_and_where_it_is_written_does_not_count() {
    let project = Project::new(need!(machine()));
    project.write("file", "f");
    let one = "FROM base AS one\nCOPY file /one\nRUN cat /one > /copy\n";
    let two = "FROM base AS two\nWORKDIR /two\nRUN echo two > made\n";
    let end = "FROM base\nCOPY --from=one /copy /a\nCOPY --from=two /two/made /b\n";
    let first = project.ran(&format!("{one}{two}{end}"));
    assert_eq!(first.len(), 6, "{first:?}");
    let nothing: [String; 0] = [];
    let reordered = format!("{two}{one}{end}");
    assert_eq!(project.ran(&reordered), nothing);
    let renamed = reordered
        .replace("AS one", "AS uno")
        .replace("=one", "=uno");
    assert_eq!(project.ran(&renamed), nothing);
    let numbered = reordered.replace("=one", "=1").replace("=two", "=0");
    assert_eq!(project.ran(&numbered), nothing);
    let spaced = renamed
        .replace('\n', "\n\n# a remark\n   ")
        .replace("COPY ", "copy    ")
        .replace("RUN cat", "RUN   cat")
        .replace("/copy /a", "/copy \\\n  # another\n  /a");
    assert_eq!(project.ran(&spaced), nothing);
    let more = format!("{renamed}LABEL a=b\nEXPOSE 80\nCMD [\"x\"]\n");
    assert_eq!(project.ran(&more), nothing);
    let unused = more.replacen("FROM", "FROM base AS unused\nRUN false\nFROM", 1);
    assert_eq!(project.ran(&unused), nothing);
    // The same files in a stage that goes on elsewhere.
    let split = reordered.replace("RUN cat", "FROM one AS further\nRUN cat");
    let split = split.replace("--from=one", "--from=further");
    assert_eq!(project.ran(&split), nothing);
}

/// What became a file of its own was still the same inode as the file it had been a name of, and a
/// command that moved both made them one again.
#[test]
fn a_name_that_became_a_file_is_one() {
    let project = Project::new(need!(machine()));
    let dockerfile = |relation: &str| {
        format!(
            "FROM base\nCOPY . /app/\n\
             RUN [ $(stat -c %i /app/a) {relation} $(stat -c %i /app/b) ]\n"
        )
    };
    project.write("a", "same");
    fs::hard_link(project.context.join("a"), project.context.join("b")).unwrap();
    assert_eq!(project.ran(&dockerfile("=")).len(), 2);
    fs::remove_file(project.context.join("b")).unwrap();
    fs::copy(project.context.join("a"), project.context.join("b")).unwrap();
    assert_eq!(project.ran(&dockerfile("!=")).len(), 2);
}
