//! The meaning of the fields of a mount.

use crate::clean::clean;
use nom::character::complete::{digit1, one_of, space0};
use nom::combinator::{all_consuming, opt, recognize};
use nom::sequence::preceded;
use nom::{IResult, Parser};

use super::error::{KEYS, MountError, TYPES};
use crate::boolean;
use crate::suggest::suggest;

/// One mount of a `RUN`, all values expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountSpec {
    /// What is mounted.
    pub kind: MountKind,
    /// Where, if the value says so; relative to the working directory. A secret's default is
    /// filled in; the others' depends on the step.
    pub target: Option<String>,
    /// The path in `from` that is mounted.
    pub source: Option<String>,
    /// The stage, named context or image it comes from.
    pub from: Option<String>,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// The types of mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    Bind,
    /// A directory that outlives the build.
    Cache {
        /// Its name; the cleaned target unless given.
        id: Option<String>,
        /// Who may use it at the same time.
        sharing: Sharing,
        /// Owner and mode of a new directory.
        owner: FileOwner,
    },
    /// An empty directory in memory.
    Tmpfs {
        /// Most bytes it may hold.
        size_bytes: Option<u64>,
    },
    /// A secret, as a file or a variable.
    Secret {
        /// The secret's name.
        id: String,
        /// The variable it is put in. Without a target there is no file then.
        env: Option<String>,
        /// Owner and mode of the file.
        owner: FileOwner,
        /// Whether its absence fails the step.
        required: bool,
    },
    /// An agent's socket.
    Ssh {
        /// The agent's name.
        id: String,
        /// Owner and mode of the socket.
        owner: FileOwner,
        /// Whether its absence fails the step.
        required: bool,
    },
}

/// Owner and mode a mount asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileOwner {
    /// The permission bits; the type's default unless given.
    pub mode: u32,
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// The steps that may use a cache at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Any number of steps at the same time.
    #[default]
    Shared,
    /// One user; a second one gets a fresh directory.
    Private,
    /// One user; a second one waits.
    Locked,
}

/// The fields as they come in.
#[derive(Default)]
struct Fields {
    kind: Type,
    target: Option<String>,
    source: Option<String>,
    from: Option<String>,
    id: Option<String>,
    env: Option<String>,
    read_only: Option<bool>,
    required: bool,
    size_bytes: Option<u64>,
    sharing: Option<Sharing>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Type {
    #[default]
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

impl Type {
    fn name(self) -> &'static str {
        TYPES[self as usize]
    }
}

impl MountSpec {
    /// Reads the fields of a mount, in order, their values expanded.
    ///
    /// # Errors
    /// The first field that is wrong, or what is wrong with all of them together. Keys that belong
    /// to one type are judged by the type named so far.
    pub fn from_fields(fields: &[(String, Option<String>)]) -> Result<Self, MountError> {
        let mut read = Fields::default();
        for (key, value) in fields {
            match value {
                None => read.bare(key)?,
                Some(value) => read.pair(key, value)?,
            }
        }
        read.finish()
    }
}

impl Fields {
    fn bare(&mut self, key: &str) -> Result<(), MountError> {
        match key {
            "readonly" | "ro" => self.read_only = Some(true),
            "readwrite" | "rw" => self.read_only = Some(false),
            "required" => {
                self.only_for(key, &[Type::Secret, Type::Ssh])?;
                self.required = true;
            }
            _ => return Err(MountError::NotAPair(key.to_owned())),
        }
        Ok(())
    }

    fn pair(&mut self, key: &str, value: &str) -> Result<(), MountError> {
        let text = || Some(value.to_owned()).filter(|value| !value.is_empty());
        match key {
            "type" => self.kind = mount_type(value)?,
            "from" => self.from = text(),
            "source" | "src" => self.source = text(),
            "target" | "dst" | "destination" => self.target = text(),
            "id" => self.id = text(),
            "readonly" | "ro" => self.read_only = Some(truth(key, value)?),
            "readwrite" | "rw" => self.read_only = Some(!truth(key, value)?),
            "required" => {
                self.only_for(key, &[Type::Secret, Type::Ssh])?;
                self.required = truth(key, value)?;
            }
            "size" => {
                self.only_for(key, &[Type::Tmpfs])?;
                self.size_bytes = Some(size(value).ok_or_else(|| invalid(key, value))?);
            }
            "env" => {
                self.only_for(key, &[Type::Secret])?;
                self.env = text();
            }
            "sharing" => self.sharing = Some(sharing(value)?),
            "mode" => self.mode = Some(number(key, value, 8)?),
            "uid" => self.uid = Some(id(key, value)?),
            "gid" => self.gid = Some(id(key, value)?),
            _ => {
                return Err(MountError::UnknownKey {
                    key: key.to_owned(),
                    field: format!("{key}={value}"),
                    suggestion: suggest(key, KEYS).map(str::to_owned),
                });
            }
        }
        Ok(())
    }

    fn only_for(&self, key: &str, types: &[Type]) -> Result<(), MountError> {
        if types.contains(&self.kind) {
            return Ok(());
        }
        Err(MountError::WrongType {
            key: key.to_owned(),
            kind: self.kind.name(),
        })
    }

    fn finish(mut self) -> Result<MountSpec, MountError> {
        let kind = self.kind.name();
        if matches!(self.kind, Type::Bind | Type::Tmpfs) {
            for (key, value) in [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)] {
                if value.is_some() {
                    return Err(MountError::Owner { key, kind });
                }
            }
        }
        if self.kind == Type::Secret && self.from.is_some() {
            return Err(MountError::SecretFrom);
        }
        if self.sharing.is_some() && self.kind != Type::Cache {
            return Err(match self.kind {
                Type::Secret => MountError::SecretSharing,
                _ => MountError::SharingOnOther(kind),
            });
        }
        let writable_by_default = matches!(self.kind, Type::Cache | Type::Tmpfs);
        let owner = |mode| FileOwner {
            mode: self.mode.unwrap_or(mode),
            uid: self.uid.unwrap_or(0),
            gid: self.gid.unwrap_or(0),
        };
        let kind = match self.kind {
            Type::Bind => MountKind::Bind,
            Type::Cache => MountKind::Cache {
                id: self.id,
                sharing: self.sharing.unwrap_or_default(),
                owner: match &self.source {
                    // A part of a cache has the owner that it was made with.
                    Some(part) if clean(&format!("/{part}")) != "/" => FileOwner {
                        mode: 0o755,
                        uid: 0,
                        gid: 0,
                    },
                    _ => owner(0o755),
                },
            },
            Type::Tmpfs => MountKind::Tmpfs {
                size_bytes: self.size_bytes,
            },
            Type::Ssh if self.source.is_some() => return Err(MountError::SshSource),
            Type::Ssh => MountKind::Ssh {
                owner: owner(0o600),
                id: self.id.unwrap_or_else(|| "default".to_owned()),
                required: self.required,
            },
            Type::Secret => {
                let owner = owner(0o400);
                let name = match (self.source.take(), self.id) {
                    (Some(_), Some(_)) => return Err(MountError::SecretTwoNames),
                    (name, None) | (None, name) => name,
                };
                let id = match (name, &self.target) {
                    (Some(name), _) => name,
                    (None, Some(target)) => base_name(target).to_owned(),
                    (None, None) => return Err(MountError::SecretNameless),
                };
                if self.target.is_none() && self.env.is_none() {
                    self.target = Some(format!("/run/secrets/{}", base_name(&id)));
                }
                MountKind::Secret {
                    id,
                    env: self.env,
                    owner,
                    required: self.required,
                }
            }
        };
        Ok(MountSpec {
            kind,
            target: self.target,
            source: self.source,
            from: self.from,
            read_only: self.read_only.unwrap_or(!writable_by_default),
        })
    }
}

fn base_name(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn mount_type(value: &str) -> Result<Type, MountError> {
    match value.to_lowercase().as_str() {
        "bind" => Ok(Type::Bind),
        "cache" => Ok(Type::Cache),
        "tmpfs" => Ok(Type::Tmpfs),
        "secret" => Ok(Type::Secret),
        "ssh" => Ok(Type::Ssh),
        _ => Err(MountError::Type(value.to_owned())),
    }
}

fn sharing(value: &str) -> Result<Sharing, MountError> {
    match value.to_lowercase().as_str() {
        "shared" => Ok(Sharing::Shared),
        "private" => Ok(Sharing::Private),
        "locked" => Ok(Sharing::Locked),
        _ => Err(MountError::Sharing(value.to_owned())),
    }
}

fn truth(key: &str, value: &str) -> Result<bool, MountError> {
    boolean::parse(value).ok_or_else(|| invalid(key, value))
}

fn invalid(key: &str, value: &str) -> MountError {
    MountError::Value {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

fn number(key: &str, value: &str, radix: u32) -> Result<u32, MountError> {
    let wrong = || MountError::Number {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    if value.starts_with('+') {
        return Err(wrong());
    }
    u32::from_str_radix(value, radix).map_err(|_| wrong())
}

/// Reads a user or group id. The largest number is none: it tells chown(2) to change nothing.
fn id(key: &str, value: &str) -> Result<u32, MountError> {
    match number(key, value, 10)? {
        u32::MAX => Err(MountError::Number {
            key: key.to_owned(),
            value: value.to_owned(),
        }),
        id => Ok(id),
    }
}

/// Reads `64m`, `1.5 GiB`, `100`: units are powers of 1024.
fn size(text: &str) -> Option<u64> {
    let parsed: IResult<&str, (&str, &str, Option<char>, _, _)> = all_consuming((
        recognize((
            digit1,
            opt(preceded(nom::character::complete::char('.'), digit1)),
        )),
        space0,
        opt(one_of("kKmMgGtTpP")),
        opt(one_of("iI")),
        opt(one_of("bB")),
    ))
    .parse(text);
    let (_, (amount, _, unit, binary, byte)) = parsed.ok()?;
    // `i` stands between a unit and `B` only.
    if binary.is_some() && (unit.is_none() || byte.is_none()) {
        return None;
    }
    let power = unit.map_or(0, |unit| match unit.to_ascii_lowercase() {
        'k' => 1,
        'm' => 2,
        'g' => 3,
        't' => 4,
        _ => 5,
    });
    let scale = 1_u64 << (10 * power);
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, "0"));
    let fraction = format!("0.{fraction}").parse::<f64>().ok()? * scale as f64;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(scale)?
        .checked_add(fraction as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::split;

    fn parse(text: &str) -> Result<MountSpec, String> {
        MountSpec::from_fields(&split(text).unwrap()).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        assert_eq!(parse(text).unwrap_err(), expected);
    }

    #[test]
    fn df_101_bind_is_the_default() {
        let bind = parse("target=.").unwrap();
        assert_eq!(bind.kind, MountKind::Bind);
        assert_eq!(bind.target.as_deref(), Some("."));
        assert!(bind.read_only);
        assert!(!parse("rw").unwrap().read_only);
        assert!(!parse("ro=false").unwrap().read_only);
        assert!(parse("rw=0").unwrap().read_only);
        let from = parse("src=/a,from=base,dst=/b").unwrap();
        assert_eq!(
            (from.source.as_deref(), from.from.as_deref()),
            (Some("/a"), Some("base"))
        );
    }

    #[test]
    fn cache_mounts_are_understood() {
        let cache = parse("type=cache,target=/c,sharing=LOCKED,id=x,mode=0700,uid=5").unwrap();
        let owner = FileOwner {
            mode: 0o700,
            uid: 5,
            gid: 0,
        };
        let expected = MountKind::Cache {
            id: Some("x".into()),
            sharing: Sharing::Locked,
            owner,
        };
        assert_eq!(cache.kind, expected);
        assert!(!cache.read_only);
        assert!(parse("type=cache,target=/c,ro").unwrap().read_only);
    }

    #[test]
    fn df_106_tmpfs_size() {
        #[track_caller]
        fn check(text: &str, expected: Option<u64>) {
            assert_eq!(size(text), expected, "{text}");
        }
        check("100", Some(100));
        check("64m", Some(64 << 20));
        check("1.5 GiB", Some(3 << 29));
        check("2KB", Some(2048));
        check("7b", Some(7));
        for wrong in [
            "",
            "m",
            "1x",
            "1 i",
            "-1",
            "1.",
            "1ib",
            "99999999999999999999",
            "99999999p",
        ] {
            check(wrong, None);
        }
        let tmpfs = parse("type=tmpfs,size=64m,target=/t").unwrap();
        assert_eq!(
            tmpfs.kind,
            MountKind::Tmpfs {
                size_bytes: Some(64 << 20)
            }
        );
    }

    #[test]
    fn df_107_df_108_secrets() {
        #[track_caller]
        fn check(text: &str, id: &str, target: Option<&str>, env: Option<&str>) {
            let secret = parse(text).unwrap();
            assert_eq!(secret.target.as_deref(), target, "{text}");
            let MountKind::Secret {
                id: found,
                env: variable,
                owner,
                ..
            } = secret.kind
            else {
                panic!("{text} is no secret")
            };
            assert_eq!((found.as_str(), variable.as_deref()), (id, env), "{text}");
            assert_eq!(owner.mode, 0o400);
        }
        check("type=secret,id=a/b", "a/b", Some("/run/secrets/b"), None);
        check("type=secret,source=x", "x", Some("/run/secrets/x"), None);
        check("type=secret,target=/etc/y", "y", Some("/etc/y"), None);
        check("type=secret,id=x,env=V", "x", None, Some("V"));
        check(
            "type=secret,id=x,env=V,target=/z",
            "x",
            Some("/z"),
            Some("V"),
        );
    }

    #[test]
    fn ssh_mounts_are_understood() {
        let ssh = parse("type=ssh,required").unwrap();
        let owner = FileOwner {
            mode: 0o600,
            uid: 0,
            gid: 0,
        };
        assert_eq!(
            ssh.kind,
            MountKind::Ssh {
                id: "default".into(),
                owner,
                required: true
            }
        );
        check_error("type=ssh,source=x", "ssh does not support source");
    }

    #[test]
    fn df_112_messages() {
        check_error("type=foo", "unsupported mount type \"foo\"");
        check_error(
            "type=cach",
            "unsupported mount type \"cach\" (did you mean cache?)",
        );
        check_error(
            "type=cache,sharing=foo",
            "unsupported sharing value \"foo\"",
        );
        check_error("sharing=shared", "invalid cache sharing set for bind mount");
        check_error(
            "foo=bar",
            "unexpected key 'foo' in 'foo=bar' (did you mean from?)",
        );
        check_error("foo", "invalid field 'foo' must be a key=value pair");
        check_error("mode=0755", "mode not allowed for \"bind\" type mounts");
        check_error(
            "type=tmpfs,uid=1",
            "uid not allowed for \"tmpfs\" type mounts",
        );
        check_error("size=1", "unexpected key 'size' for mount type 'bind'");
        check_error(
            "size=1,type=tmpfs",
            "unexpected key 'size' for mount type 'bind'",
        );
        check_error(
            "required",
            "unexpected key 'required' for mount type 'bind'",
        );
        check_error("type=tmpfs,size=x", "invalid value for size: x");
        check_error("ro=maybe", "invalid value for ro: maybe");
        check_error("type=cache,mode=9", "invalid value 9 for mode");
        check_error("type=cache,uid=+1", "invalid value +1 for uid");
        check_error(
            "type=cache,uid=4294967295",
            "invalid value 4294967295 for uid",
        );
        check_error(
            "type=cache,gid=4294967295",
            "invalid value 4294967295 for gid",
        );
        check_error(
            "type=secret",
            "invalid secret mount. one of source, target required",
        );
        check_error(
            "type=secret,id=a,source=b",
            "both source and id can't be set",
        );
        check_error(
            "type=secret,id=a,from=b",
            "secret mount should not have a from",
        );
        check_error(
            "type=secret,id=a,sharing=shared",
            "secret mount should not define sharing",
        );
    }
}
