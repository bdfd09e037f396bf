//! Flags of docker and buildah that kiln knows of but does not serve yet.
//!
//! They are refused by name: a build that silently went without its cache would be worse.

const BUILD: &[&str] = &[
    "--all-platforms",
    "--cache-ttl",
    "--cap-add",
    "--cap-drop",
    "--context-sub-path",
    "--creds",
    "--dns",
    "--dns-option",
    "--dns-search",
    "--from",
    "--identity-label",
    "--ignorefile",
    "--inherit-labels",
    "--logfile",
    "--manifest",
    "--omit-history",
    "--policy",
    "--registry-mirror",
    "--retry",
    "--retry-delay",
    "--save-stages",
    "--single-snapshot",
    "--tls-verify",
    "--unsetenv",
    "--unsetlabel",
    "--volume",
];

const RUN: &[&str] = &[
    "--annotation",
    "--attach",
    "--blkio-weight",
    "--cap-add",
    "--cap-drop",
    "--cgroup-parent",
    "--cgroupns",
    "--detach-keys",
    "--device",
    "--device-cgroup-rule",
    "--dns",
    "--dns-option",
    "--dns-search",
    "--domainname",
    "--expose",
    "--gpus",
    "--group-add",
    "--health-cmd",
    "--health-interval",
    "--health-retries",
    "--health-start-interval",
    "--health-start-period",
    "--health-timeout",
    "--init",
    "--ip",
    "--ip6",
    "--ipc",
    "--isolation",
    "--label-file",
    "--link",
    "--link-local-ip",
    "--log-driver",
    "--log-opt",
    "--mac-address",
    "--memory-reservation",
    "--memory-swappiness",
    "--mount",
    "--network-alias",
    "--no-healthcheck",
    "--oom-kill-disable",
    "--oom-score-adj",
    "--pid",
    "--privileged",
    "--publish",
    "--publish-all",
    "--read-only",
    "--restart",
    "--runtime",
    "--security-opt",
    "--sig-proxy",
    "--storage-opt",
    "--sysctl",
    "--tmpfs",
    "--userns",
    "--uts",
    "--volumes-from",
    "-P",
    "-a",
    "-p",
];

const OTHERS: &[(&str, &[&str])] = &[
    ("build", BUILD),
    ("run", RUN),
    ("pull", &["--all-tags", "-a"]),
    ("push", &["--all-tags", "-a"]),
    ("images", &["--tree"]),
    ("ls", &["--tree"]),
    ("rmi", &["--platform"]),
    ("rm", &["--link", "-l", "--platform"]),
    (
        "start",
        &["--attach", "--interactive", "--detach-keys", "-a", "-i"],
    ),
    ("ps", &["--size", "-s"]),
];

/// Commands of docker that kiln does not have, by the command that they belong to. What is similar
/// to one of them by its letters, as `stop` is to `top`, is not what was meant.
const COMMANDS: &[(&str, &[&str])] = &[
    (
        "kiln",
        &[
            "attach",
            "bake",
            "checkpoint",
            "commit",
            "compose",
            "config",
            "context",
            "cp",
            "create",
            "diff",
            "events",
            "exec",
            "export",
            "import",
            "init",
            "manifest",
            "network",
            "node",
            "pause",
            "plugin",
            "port",
            "rename",
            "restart",
            "search",
            "secret",
            "service",
            "stack",
            "stats",
            "swarm",
            "top",
            "trust",
            "unpause",
            "update",
            "volume",
        ],
    ),
    (
        "kiln container",
        &[
            "attach", "commit", "cp", "create", "diff", "exec", "export", "pause", "port",
            "rename", "restart", "stats", "top", "unpause", "update",
        ],
    ),
    ("kiln image", &["import"]),
    (
        "kiln builder",
        &[
            "bake",
            "create",
            "dial-stdio",
            "history",
            "imagetools",
            "inspect",
            "install",
            "ls",
            "rm",
            "stop",
            "uninstall",
            "use",
            "version",
        ],
    ),
    ("kiln system", &["dial-stdio", "events"]),
];

/// Says whether the command at `path` has a command of this name in docker, and not here.
pub(crate) fn is_command(path: &str, name: &str) -> bool {
    COMMANDS
        .iter()
        .any(|(group, names)| *group == path && names.contains(&name))
}

/// Says whether a flag of the command at `path`, such as `kiln image build`, is one to come.
pub(crate) fn is_known(path: &str, flag: &str) -> bool {
    let command = path.rsplit(' ').next().unwrap_or(path);
    let flag = flag.split('=').next().unwrap_or(flag);
    OTHERS
        .iter()
        .any(|(name, flags)| *name == command && flags.contains(&flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_is_not_listed() {
        let root = crate::arguments::command();
        for (name, flags) in OTHERS {
            let groups = ["image", "container"].map(|group| root.find_subcommand(group));
            let commands = [Some(&root)].into_iter().chain(groups).flatten();
            for command in commands.filter_map(|group| group.find_subcommand(name)) {
                for argument in command.get_arguments() {
                    let long = argument.get_long().map(|long| format!("--{long}"));
                    let short = argument.get_short().map(|short| format!("-{short}"));
                    for flag in long.iter().chain(&short) {
                        assert!(!flags.contains(&flag.as_str()), "{name} {flag}");
                    }
                }
            }
        }
    }

    #[test]
    fn commands_that_are_served_are_not_listed() {
        let root = crate::arguments::command();
        for (group, names) in COMMANDS {
            let group = match group.strip_prefix("kiln ") {
                Some(group) => root.find_subcommand(group).unwrap(),
                None => &root,
            };
            for name in *names {
                assert!(group.find_subcommand(name).is_none(), "{name}");
            }
        }
    }

    #[test]
    fn flags_are_found_with_their_values() {
        assert!(is_known("kiln image build", "--policy=file"));
        assert!(!is_known("kiln build", "--polcy"));
        assert!(!is_known("kiln run", "--policy"));
    }
}
