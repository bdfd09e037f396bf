//! Dockerfiles that are made up: stages with names, and steps whose text refers to them.

use std::fmt::Write as _;

use crate::truth::chance::Chance;

/// A Dockerfile.
#[derive(Clone, Debug)]
pub(crate) struct Dockerfile {
    pub(crate) stages: Vec<Stage>,
    /// How it is written, which must not matter.
    pub(crate) layout: usize,
    next: usize,
}

/// A stage. Others refer to its number, which it keeps whatever it is called and wherever it is.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) number: usize,
    pub(crate) name: String,
    base: Base,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Image,
    Scratch,
    Stage(usize),
}

/// An instruction; `@` stands for the name of the stage it reads.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) text: String,
    reads: Option<usize>,
}

impl Dockerfile {
    pub(crate) fn new(chance: &mut Chance, paths: &[String]) -> Self {
        let mut dockerfile = Self {
            stages: Vec::new(),
            layout: 0,
            next: 0,
        };
        for _ in 0..2 + chance.below(3) {
            dockerfile.add_stage(chance, paths);
        }
        dockerfile
    }

    pub(crate) fn add_stage(&mut self, chance: &mut Chance, paths: &[String]) {
        let base = match chance.below(6) {
            0 => Base::Scratch,
            1 | 2 => match chance.position(&self.stages) {
                Some(position) => Base::Stage(self.stages[position].number),
                None => Base::Image,
            },
            _ => Base::Image,
        };
        self.stages.push(Stage {
            number: self.next,
            name: format!("stage{}", self.next),
            base,
            steps: Vec::new(),
        });
        self.next += 1;
        // Every edit shows somewhere.
        if chance.once_in(2) {
            let text = "COPY . /app/".to_owned();
            let last = self.stages.last_mut().unwrap();
            last.steps.push(Step { text, reads: None });
        }
        for _ in 0..2 + chance.below(4) {
            self.add_step(chance, self.stages.len() - 1, paths);
        }
        if self.has_shell(self.stages.len() - 1) {
            let text = format!("RUN {LISTING}");
            let last = self.stages.last_mut().unwrap();
            last.steps.push(Step { text, reads: None });
        }
    }

    pub(crate) fn add_step(&mut self, chance: &mut Chance, stage: usize, paths: &[String]) {
        let step = self.step(chance, stage, paths);
        let steps = &mut self.stages[stage].steps;
        let place = chance.below(steps.len() + 1);
        steps.insert(place, step);
    }

    pub(crate) fn replace_step(&mut self, chance: &mut Chance, stage: usize, paths: &[String]) {
        if let Some(place) = chance.position(&self.stages[stage].steps) {
            self.stages[stage].steps[place] = self.step(chance, stage, paths);
        }
    }

    /// Exchanges a stage and the one behind it, if that does not need the first.
    pub(crate) fn move_stage(&mut self, place: usize) {
        if place + 1 < self.stages.len() {
            let number = self.stages[place].number;
            if !self.stages[place + 1].needs(number) {
                self.stages.swap(place, place + 1);
            }
        }
    }

    /// Removes a stage that no other needs.
    pub(crate) fn remove_stage(&mut self, place: usize) {
        let number = self.stages[place].number;
        if self.stages.len() > 2 && !self.stages.iter().any(|stage| stage.needs(number)) {
            self.stages.remove(place);
        }
    }

    fn has_shell(&self, stage: usize) -> bool {
        match self.stages[stage].base {
            Base::Image => true,
            Base::Scratch => false,
            Base::Stage(number) => self
                .stages
                .iter()
                .position(|stage| stage.number == number)
                .is_some_and(|below| self.has_shell(below)),
        }
    }

    fn step(&self, chance: &mut Chance, stage: usize, paths: &[String]) -> Step {
        let earlier = &self.stages[..stage];
        if chance.once_in(3)
            && let Some(source) = chance.position(earlier)
        {
            let has_shells = self.has_shell(stage) && self.has_shell(source);
            return Step {
                text: reading(chance, has_shells),
                reads: Some(earlier[source].number),
            };
        }
        let text = if self.has_shell(stage) && chance.once_in(2) {
            command(chance)
        } else {
            files(chance, paths)
        };
        Step { text, reads: None }
    }

    fn name(&self, number: usize) -> &str {
        let found = self.stages.iter().find(|stage| stage.number == number);
        found.map_or("", |stage| &stage.name)
    }

    /// Writes it down.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let margin = ["", "\n", "# a remark\n", "\n\n# another\n"][self.layout % 4];
        for stage in &self.stages {
            let base = match stage.base {
                Base::Image => "base",
                Base::Scratch => "scratch",
                Base::Stage(number) => self.name(number),
            };
            let _ = writeln!(text, "{margin}FROM {base} AS {}", stage.name);
            for step in &stage.steps {
                let written = match step.reads {
                    Some(number) => step.text.replace('@', self.name(number)),
                    None => step.text.clone(),
                };
                let _ = writeln!(text, "{margin}{written}");
            }
        }
        text
    }
}

impl Stage {
    fn needs(&self, number: usize) -> bool {
        self.base == Base::Stage(number) || self.steps.iter().any(|step| step.reads == Some(number))
    }
}

const PLACES: [&str; 6] = ["/app/", "/app/src/", "/data/", "/data/deep/er/", "/", "/w/"];

/// What a command can see of a file system, times and numbers of links apart.
const LISTING: &str = "find / -xdev ! -path '/seen*' | sort > /seen.names; \
    xargs stat -c '%n %a %u %g %F' < /seen.names > /seen; \
    find / -xdev -type f ! -path '/seen*' ! -path '/bin/*' | sort | xargs md5sum >> /seen; \
    find / -xdev -type l ! -path '/bin/*' | sort | xargs -r -n1 readlink >> /seen";

fn flags(chance: &mut Chance) -> String {
    let mut flags = String::new();
    let possible = [
        ["--chown=3:4 ", "--chown=5 ", "--chown=1:1 "],
        ["--chmod=640 ", "--chmod=755 ", "--chmod=u+x,go-w "],
        ["--exclude=*.txt ", "--exclude=deep ", "--exclude=**/c* "],
        ["--link ", "--link ", "--link "],
        ["--parents ", "--parents ", "--parents "],
    ];
    for among in possible {
        if chance.once_in(6) {
            flags.push_str(chance.pick(&among));
        }
    }
    flags
}

/// Turns a path into a wildcard for it alone, which may also match nothing.
fn if_there(path: &str) -> String {
    let (start, end) = path.split_at(path.len() - 1);
    format!("{start}[{end}]")
}

/// An instruction that needs no shell.
fn files(chance: &mut Chance, paths: &[String]) -> String {
    let place = chance.pick(&PLACES);
    let flags = flags(chance);
    let number = chance.below(3);
    match chance.below(14) {
        0 | 1 => format!("COPY {flags}. {place}"),
        2 | 3 => match chance.position(paths) {
            Some(path) => format!("COPY {flags}{} {place}", if_there(&paths[path])),
            None => format!("COPY {flags}. {place}"),
        },
        4 => format!("COPY {flags}sr[c] li[b] {place}"),
        5 => format!("COPY {flags}sr[c]/*.txt *.md {place}"),
        6 => format!("COPY {flags}src/./dee[p] src/[ab]* {place}"),
        7 => format!("ADD pack.ta[r] {place}"),
        8 => format!("ADD {flags}li[b] {place}"),
        9 => format!("COPY <<END <<\"MORE\" {place}\n$A ${{K:-none}} {number}\nEND\n$A\nMORE"),
        10 => format!("WORKDIR {}{number}", chance.pick(&["/w/", "rel", "/app/"])),
        11 => format!("ENV K=value{number}"),
        12 => format!("ARG A=default{number}"),
        _ => match chance.below(4) {
            0 => format!("LABEL l={number}"),
            1 => format!("CMD [\"{number}\"]"),
            2 => format!("USER {number}\nWORKDIR /home/{number}\nUSER 0"),
            _ => "COPY --from=base /etc/base /from-base".to_owned(),
        },
    }
}

/// An instruction that reads another stage.
fn reading(chance: &mut Chance, has_shells: bool) -> String {
    let place = chance.pick(&PLACES);
    let flags = flags(chance);
    match chance.below(if has_shells { 7 } else { 4 }) {
        0 => format!("COPY {flags}--from=@ /ap[p] {place}"),
        1 => format!("COPY {flags}--from=@ /[do]* {place}"),
        2 => format!("COPY {flags}--from=@ /app/[ab]* /app/sr[c]/* {place}"),
        3 => format!("COPY {flags}--from=@ /see[n] {place}"),
        4 => {
            "RUN --mount=type=bind,from=@,source=/etc,target=/mnt cat /mnt/* > /out-etc".to_owned()
        }
        5 => "RUN --mount=type=bind,from=@,target=/mnt \
              cd /mnt && find . -xdev ! -path './bin/*' -type f | sort | xargs md5sum > /out-mnt"
            .to_owned(),
        _ => "RUN --mount=type=bind,from=@,target=/mnt,rw \
              echo gone > /mnt/written && cat /mnt/etc/base > /out-base"
            .to_owned(),
    }
}

/// An instruction that runs something.
fn command(chance: &mut Chance) -> String {
    let number = chance.below(3);
    let text = match chance.below(18) {
        0..=3 => LISTING.to_owned(),
        4 => format!("echo \"$A $K {number}\" > /out-{number}"),
        5 => "rm -rf /app/src /data/*".to_owned(),
        6 => "rm -rf /app && mkdir -p /app/src && echo new > /app/src/a.txt".to_owned(),
        7 => "chown -R 7:8 /data /app 2>/dev/null; chmod -R o-x /data 2>/dev/null; true".to_owned(),
        8 => "mkdir -p /out && echo h > /out/h1 && ln -f /out/h1 /out/h2".to_owned(),
        // Whether two files are one shows in what is copied together.
        9 => "mkdir -p /app /data && rm -rf /out-copy && mkdir /out-copy && \
              cp -a /app /data /out-copy && touch -d @7000 /out-copy"
            .to_owned(),
        10 => "mkdir -p /app && mv /app /out-moved".to_owned(),
        11 => "true".to_owned(),
        // The same files whatever the argument says, as long as it is as long.
        12 => format!("mkdir -p /fix{number}; echo \"$A\" | wc -c > /fix{number}/n; touch -d @9000 /fix{number}/n /fix{number} /"),
        13 => return format!("RUN <<END\necho {number} > /heredoc\necho $A >> /heredoc\nEND"),
        14 => return "RUN --mount=type=bind,target=/mnt cd /mnt && find . ! -type d | sort | xargs -r stat -c '%n %a %F' > /out-context; find . -type f | sort | xargs -r md5sum >> /out-context".to_owned(),
        15 => return "RUN --mount=type=bind,source=src,target=/mnt,rw echo w > /mnt/w; ls /mnt > /out-bound".to_owned(),
        16 => return format!("RUN --mount=type=cache,target=/cache,id=c{number} --mount=type=tmpfs,target=/tmp echo x >> /cache/log; echo {number} > /tmp/x; ls /cache > /cached"),
        _ => return format!("RUN --mount=type=secret,id=s{number} cat /run/secrets/* > /dev/null; echo {number} > /secret"),
    };
    format!("RUN {text}")
}
