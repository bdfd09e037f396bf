//! Flags of docker and buildah that kiln does not have, and what does their work instead.

use super::absent::{Absent, PORTS};

/// By the command that they belong to, with or without `image` or `container` before it.
pub(super) const FLAGS: &[(&str, &[Absent])] = &[
    ("build", BUILD),
    ("run", RUN),
    ("pull", ALL_TAGS),
    ("push", ALL_TAGS),
    ("images", TREE),
    ("ls", TREE),
    ("ls", SIZES),
    ("ps", SIZES),
    ("rmi", OF_PLATFORM),
    ("rm", OF_PLATFORM),
    (
        "rm",
        &[Absent {
            names: &["--link", "-l"],
            instead: "there are no links between containers",
        }],
    ),
    (
        "start",
        &[Absent {
            names: &["--attach", "--interactive", "--detach-keys", "-a", "-i"],
            instead: "'kiln logs -f CONTAINER' follows the output of one that was started",
        }],
    ),
];

const CAPABILITIES: &str = "a RUN that needs more has 'RUN --security=insecure', with 'kiln build \
                            --allow security.insecure'; containers have docker's default";
const NAMES: &str = "add names with --add-host NAME=ADDRESS; name servers are this machine's";
const NO_CHOICE: &str = "there is nothing to choose; leave it out";
const ON_COMMAND_LINE: &str = "give each of them with a flag of its own, such as --label KEY=VALUE";
const SANDBOX: &str = "containers run in docker's default sandbox alone; leave it out";
const SHARE: &str = "share a directory or file of this machine with -v HOST:CONTAINER[:ro]";

const ALL_TAGS: &[Absent] = &[Absent {
    names: &["--all-tags", "-a"],
    instead: "name the tags one by one",
}];

const OF_PLATFORM: &[Absent] = &[Absent {
    names: &["--platform"],
    instead: "an image is removed with all its platforms",
}];

const SIZES: &[Absent] = &[Absent {
    names: &["--size", "-s"],
    instead: "'kiln system df --verbose' shows what containers take",
}];

const TREE: &[Absent] = &[Absent {
    names: &["--tree"],
    instead: "'kiln inspect NAME' shows the platforms of an index",
}];

const BUILD: &[Absent] = &[
    Absent {
        names: &["--all-platforms"],
        instead: "list them: --platform linux/amd64,linux/arm64",
    },
    Absent {
        names: &["--cache"],
        instead: "steps are always cached; --cache-repo REPOSITORY shares them",
    },
    Absent {
        names: &["--context"],
        instead: "give it as the last argument: kiln build DIRECTORY",
    },
    Absent {
        names: &["--custom-platform"],
        instead: "say --platform PLATFORM",
    },
    Absent {
        names: &["--destination"],
        instead: "say -t NAME --push",
    },
    Absent {
        names: &["--dockerfile"],
        instead: "say -f FILE",
    },
    Absent {
        names: &["--cache-ttl"],
        instead: "'kiln cache prune --filter until=24h' removes what was not used for so long",
    },
    Absent {
        names: &["--cap-add", "--cap-drop"],
        instead: CAPABILITIES,
    },
    Absent {
        names: &["--context-sub-path"],
        instead: "name the directory itself as the context, or URL#BRANCH:DIRECTORY",
    },
    Absent {
        names: &["--creds"],
        instead: "'kiln login REGISTRY' before",
    },
    Absent {
        names: &["--dns", "--dns-option", "--dns-search"],
        instead: NAMES,
    },
    Absent {
        names: &["--from"],
        instead: "replace a base by name: --build-context NAME=docker-image://OTHER",
    },
    Absent {
        names: &[
            "--cache-copy-layers",
            "--cache-run-layers",
            "--cleanup",
            "--identity-label",
            "--inherit-labels",
            "--omit-history",
            "--policy",
            "--single-snapshot",
            "--snapshot-mode",
            "--use-new-run",
        ],
        instead: "leave it out",
    },
    Absent {
        names: &["--ignorefile"],
        instead: "name the file DOCKERFILE.dockerignore, beside the Dockerfile",
    },
    Absent {
        names: &["--logfile"],
        instead: "send it to a file: --progress plain 2> FILE",
    },
    Absent {
        names: &["--manifest"],
        instead: "several platforms make an index: --platform linux/amd64,linux/arm64 -t NAME",
    },
    Absent {
        names: &["--registry-mirror"],
        instead: "name it in registries.conf; see containers-registries.conf(5)",
    },
    Absent {
        names: &["--retry", "--retry-delay"],
        instead: "what fails on the way is tried again anyway; leave it out",
    },
    Absent {
        names: &["--save-stages"],
        instead: "build a stage by itself: --target STAGE -t NAME",
    },
    Absent {
        names: &[
            "--insecure",
            "--insecure-pull",
            "--skip-tls-verify",
            "--skip-tls-verify-pull",
            "--tls-verify",
        ],
        instead: "name the registry: --insecure-registry HOST[:PORT]",
    },
    Absent {
        names: &["--unsetenv", "--unsetlabel"],
        instead: "set it empty in the Dockerfile: ENV NAME= or LABEL NAME=",
    },
    Absent {
        names: &["--volume"],
        instead: "name the directory with --build-context NAME=DIRECTORY, and have it with RUN \
                  --mount=type=bind,from=NAME,target=/DIR",
    },
];

const RUN: &[Absent] = &[
    Absent {
        names: &["--publish", "--publish-all", "--expose", "-p", "-P"],
        instead: PORTS,
    },
    Absent {
        names: &["--annotation", "--label-file"],
        instead: ON_COMMAND_LINE,
    },
    Absent {
        names: &["--attach", "--detach-keys", "-a"],
        instead: "without -d output is shown; with -d, 'kiln logs -f CONTAINER' follows it",
    },
    Absent {
        names: &[
            "--blkio-weight",
            "--memory-reservation",
            "--memory-swappiness",
            "--oom-kill-disable",
            "--oom-score-adj",
            "--storage-opt",
        ],
        instead: "limits are --memory, --memory-swap, --cpus, --cpuset-cpus and --pids-limit",
    },
    Absent {
        names: &[
            "--cap-add",
            "--cap-drop",
            "--cgroup-parent",
            "--cgroupns",
            "--ipc",
            "--isolation",
            "--pid",
            "--privileged",
            "--read-only",
            "--runtime",
            "--security-opt",
            "--sysctl",
            "--userns",
            "--uts",
        ],
        instead: SANDBOX,
    },
    Absent {
        names: &["--device", "--device-cgroup-rule", "--gpus"],
        instead: "a RUN can have devices: 'RUN --device=NAME', with 'kiln build --allow device'; \
                  containers have docker's default ones",
    },
    Absent {
        names: &[
            "--dns",
            "--dns-option",
            "--dns-search",
            "--ip",
            "--ip6",
            "--link",
            "--link-local-ip",
            "--mac-address",
            "--network-alias",
        ],
        instead: NAMES,
    },
    Absent {
        names: &["--domainname"],
        instead: "give the whole name: --hostname NAME.DOMAIN",
    },
    Absent {
        names: &["--group-add"],
        instead: "give user and group: --user UID:GID",
    },
    Absent {
        names: &[
            "--health-cmd",
            "--health-interval",
            "--health-retries",
            "--health-start-interval",
            "--health-start-period",
            "--health-timeout",
            "--no-healthcheck",
        ],
        instead: "health checks are kept in images, and run by nobody here; leave it out",
    },
    Absent {
        names: &["--init"],
        instead: "name a program that reaps processes as the command, such as tini",
    },
    Absent {
        names: &["--log-driver", "--log-opt"],
        instead: "logs are kept in files of bounded size, which 'kiln logs' shows",
    },
    Absent {
        names: &["--mount", "--tmpfs", "--volumes-from"],
        instead: SHARE,
    },
    Absent {
        names: &["--restart"],
        instead: "have whatever starts it start it again, such as a unit of systemd",
    },
    Absent {
        names: &["--sig-proxy"],
        instead: NO_CHOICE,
    },
];
