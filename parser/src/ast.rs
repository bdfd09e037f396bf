//! The syntax tree: what the text says, nothing resolved and nothing expanded.

use crate::span::Span;

/// A whole Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dockerfile {
    /// The parser directives at the very top.
    pub directives: Directives,
    /// `ARG` instructions before the first `FROM`, in order.
    pub global_args: Vec<Arg>,
    /// The stages, in order.
    pub stages: Vec<Stage>,
}

/// The parser directives (`# name=value` lines at the top of the file).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// The escape token: a backslash unless `# escape=` says a backtick.
    pub escape: char,
    /// The value of `# syntax=`, if any.
    pub syntax: Option<Text>,
    /// The value of `# check=`, if any.
    pub check: Option<Text>,
}

impl Default for Directives {
    fn default() -> Self {
        Self {
            escape: '\\',
            syntax: None,
            check: None,
        }
    }
}

/// A piece of the source as it was written: quotes, escapes and variables still in it.
///
/// The value of a flag and a string of a JSON array have lost their own layer of quoting; what is
/// left is treated like any other word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// The characters, line continuations removed.
    pub raw: String,
    /// Where they stand. Covers the continuation lines between the first and the last character.
    pub span: Span,
}

/// One build stage: a `FROM` and the instructions up to the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The `FROM` line.
    pub from: From,
    /// Everything after it.
    pub instructions: Vec<Instruction>,
}

/// `FROM [--platform=P] image [AS name]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    /// The line's place, spelling and comments.
    pub site: Site,
    /// The image, stage or `scratch`, unexpanded.
    pub image: Text,
    /// The value of `--platform`, unexpanded.
    pub platform: Option<Text>,
    /// The stage's name as written (look-ups use its lower-case form).
    pub name: Option<Text>,
    /// The word `AS` as written, for the casing rule.
    pub as_keyword: Option<Text>,
}

/// Parts that every instruction has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// All lines of the instruction, heredoc bodies and terminators included.
    pub span: Span,
    /// The instruction's name as written, e.g. `run`.
    pub keyword: Text,
    /// The instruction as one logical line: continuations joined, comments dropped, trimmed.
    pub line: String,
    /// The comment lines directly above, without `#`.
    pub comments: Vec<Text>,
    /// The last line of the instruction, if a blank line stands among its continued ones.
    pub empty_continuation: Option<Span>,
}

/// An instruction inside a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Its place, spelling and comments.
    pub site: Site,
    /// What it says.
    pub kind: InstructionKind,
}

/// The instructions of docs/spec/dockerfile.md 6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstructionKind {
    /// `RUN`
    Run(Run),
    /// `CMD`
    Cmd(CommandLine),
    /// `ENTRYPOINT`
    Entrypoint(CommandLine),
    /// `COPY`
    Copy(Copy),
    /// `ADD`
    Add(Add),
    /// `ENV`
    Env(Pairs),
    /// `LABEL`
    Label(Pairs),
    /// `ARG` inside a stage
    Arg(Arg),
    /// `EXPOSE`, one text per word in file order (they are sorted before they are expanded)
    Expose(Vec<Text>),
    /// `USER`
    User(Text),
    /// `WORKDIR`
    Workdir(Text),
    /// `VOLUME`
    Volume(Vec<Text>),
    /// `STOPSIGNAL`
    StopSignal(Text),
    /// `SHELL`
    Shell(Vec<String>),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `ONBUILD`
    Onbuild(Onbuild),
    /// `MAINTAINER`
    Maintainer(Text),
}

/// A command in one of its two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// Text for the shell, verbatim.
    Shell(Text),
    /// A JSON array of strings, decoded.
    Exec(Vec<String>),
}

/// `RUN [--mount=…]… [--network=…] [--security=…] [--device=…]… command`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The command. With heredocs this is the first line, markers still in it.
    pub command: CommandLine,
    /// The heredocs whose markers stand in the command, in order.
    pub heredocs: Vec<Heredoc>,
    /// Each `--mount` value, split into fields.
    pub mounts: Vec<MountFlag>,
    /// `--network`, as written.
    pub network: Option<Text>,
    /// `--security`, as written.
    pub security: Option<Text>,
    /// Each `--device`, as written.
    pub devices: Vec<Text>,
}

/// The value of one `--mount`: comma-separated fields, quoting removed, values unexpanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFlag {
    /// The whole value.
    pub value: Text,
    /// The fields in order; keys lower-cased; a bare word has no value.
    pub fields: Vec<(String, Option<String>)>,
}

/// `COPY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// What to copy.
    pub sources: Vec<Source>,
    /// Where to, unexpanded.
    pub destination: Text,
    /// Flags that `ADD` has too.
    pub flags: CopyFlags,
    /// `--from`
    pub from: Option<Text>,
    /// `--parents`
    pub parents: bool,
}

/// `ADD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// What to add.
    pub sources: Vec<Source>,
    /// Where to, unexpanded.
    pub destination: Text,
    /// Flags that `COPY` has too.
    pub flags: CopyFlags,
    /// `--checksum`
    pub checksum: Option<Text>,
    /// `--keep-git-dir`
    pub keep_git_dir: Option<bool>,
    /// `--unpack`
    pub unpack: Option<bool>,
}

/// The flags that `COPY` and `ADD` have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFlags {
    /// `--chown`
    pub chown: Option<Text>,
    /// `--chmod`
    pub chmod: Option<Text>,
    /// `--link`
    pub link: bool,
    /// `--exclude`, in order
    pub excludes: Vec<Text>,
}

/// One source argument of `COPY` or `ADD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A path, pattern, URL or git reference, unexpanded.
    Path(Text),
    /// A file written in place.
    Heredoc(Heredoc),
}

/// A here-document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter, quotes removed: also the file's name in `COPY` and `ADD`.
    pub name: String,
    /// File descriptor in front of `<<`, 0 unless written.
    pub file_descriptor: u32,
    /// False if any part of the delimiter was quoted.
    pub expand: bool,
    /// True for `<<-`.
    pub chomp: bool,
    /// The body, leading tabs already stripped for `<<-`, line endings as they were.
    pub body: String,
    /// The body before its tabs were stripped, where that made a difference. A shell that gets the
    /// heredoc as it stands, or a stored trigger, sees this one.
    pub unstripped: Option<String>,
    /// Where the marker stands.
    pub marker: Span,
}

/// `ENV` and `LABEL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairs {
    /// Keys and values, unexpanded.
    pub pairs: Vec<(Text, Text)>,
    /// True for the legacy form without `=`.
    pub legacy: bool,
}

/// One `ARG` instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Its place, spelling and comments.
    pub site: Site,
    /// Name (unexpanded) and default (unexpanded), in order.
    pub declarations: Vec<(Text, Option<Text>)>,
}

/// `HEALTHCHECK`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`
    None,
    /// `HEALTHCHECK [flags] CMD …`
    Command {
        /// The command.
        command: CommandLine,
        /// `--interval`, nanoseconds; 0 when absent.
        interval: i64,
        /// `--timeout`, nanoseconds; 0 when absent.
        timeout: i64,
        /// `--start-period`, nanoseconds; 0 when absent.
        start_period: i64,
        /// `--start-interval`, nanoseconds; 0 when absent.
        start_interval: i64,
        /// `--retries`; 0 when absent.
        retries: i64,
    },
}

/// `ONBUILD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Onbuild {
    /// The trigger as it is stored in the image config (heredoc bodies appended, newline-joined).
    pub trigger: String,
    /// Where the trigger stands.
    pub span: Span,
}

impl Heredoc {
    /// Returns the body as it stands in the file, tabs included.
    #[must_use]
    pub fn verbatim(&self) -> &str {
        self.unstripped.as_deref().unwrap_or(&self.body)
    }
}

/// Returns the description a comment block gives of `name`: the rest of its first line that starts
/// with the name and a blank.
#[must_use]
pub fn description<'a>(comments: &'a [Text], name: &str) -> Option<&'a str> {
    if name.is_empty() {
        return None;
    }
    comments
        .iter()
        .find_map(|line| line.raw.strip_prefix(name)?.strip_prefix(' '))
}
