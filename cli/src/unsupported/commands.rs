//! Commands of docker that kiln does not have, and what does their work instead.

use super::absent::Absent;

/// By the command that they belong to. What is similar to one of them by its letters, as `stop` is
/// to `top`, is not what was meant.
pub(super) const COMMANDS: &[(&str, &[Absent])] = &[
    ("kiln", CONTAINERS),
    ("kiln", OTHERS),
    ("kiln container", CONTAINERS),
    (
        "kiln image",
        &[Absent {
            names: &["import"],
            instead: IMPORT,
        }],
    ),
    ("kiln builder", BUILDERS),
    (
        "kiln system",
        &[
            Absent {
                names: &["dial-stdio"],
                instead: NO_DAEMON,
            },
            Absent {
                names: &["events"],
                instead: EVENTS,
            },
        ],
    ),
];

const EVENTS: &str = "'kiln ps -a' shows what became of containers, 'kiln wait CONTAINER' waits for \
                      the end of one";
const IMPORT: &str = "build it from 'FROM scratch' and 'ADD archive.tar /', or read an archive of \
                      images with 'kiln load'";
const LIMITS: &str = "limits are given when a container is made: 'kiln run --memory 512m --cpus 2'";
const NO_DAEMON: &str = "there is no daemon to speak with: every command does its work itself";
const ONE_MACHINE: &str = "kiln builds and runs on this machine alone: 'kiln build' and 'kiln run'";
const PROCESSES: &str = "processes of containers are in this machine's lists, from the process id \
                         that 'kiln inspect -f {{.State.Pid}} CONTAINER' shows on";
const VOLUMES: &str =
    "a directory of this machine can be shared: 'kiln run -v \"$PWD/data:/data\"'";

/// What is done to containers, with `container` before it or not.
const CONTAINERS: &[Absent] = &[
    Absent {
        names: &["attach"],
        instead: "'kiln logs -f CONTAINER' follows its output",
    },
    Absent {
        names: &["commit"],
        instead: "write the change as RUN into a Dockerfile 'FROM' the image, and 'kiln build' it",
    },
    Absent {
        names: &["cp"],
        instead: "share a directory from the start with 'kiln run -v \"$PWD:/dir\"', or take an \
                  image's files with 'kiln build -o DIRECTORY'",
    },
    Absent {
        names: &["create"],
        instead: "'kiln run -d IMAGE' makes a container and starts it",
    },
    Absent {
        names: &["diff", "export"],
        instead: "'kiln build -o DIRECTORY' writes the files of an image, 'kiln save' the image",
    },
    Absent {
        names: &["exec"],
        instead: "start another container of the image with 'kiln run --rm -it IMAGE sh', with the \
                  same -v, or see what the first one does with 'kiln logs CONTAINER'",
    },
    Absent {
        names: &["pause", "unpause"],
        instead: "'kiln stop CONTAINER' ends it, and 'kiln start CONTAINER' starts it with the \
                  files that it had",
    },
    Absent {
        names: &["port"],
        instead: super::absent::PORTS,
    },
    Absent {
        names: &["rename"],
        instead: "a name is given when a container is made: 'kiln run --name NAME'",
    },
    Absent {
        names: &["restart"],
        instead: "'kiln stop CONTAINER', then 'kiln start CONTAINER'",
    },
    Absent {
        names: &["stats", "top"],
        instead: PROCESSES,
    },
    Absent {
        names: &["update"],
        instead: LIMITS,
    },
];

const OTHERS: &[Absent] = &[
    Absent {
        names: &["bake", "compose"],
        instead: "build each image with 'kiln build', and start each container with 'kiln run -d'",
    },
    Absent {
        names: &["checkpoint"],
        instead: "'kiln stop CONTAINER' and 'kiln start CONTAINER' keep its files",
    },
    Absent {
        names: &["config", "node", "service", "stack", "swarm"],
        instead: ONE_MACHINE,
    },
    Absent {
        names: &["context"],
        instead: NO_DAEMON,
    },
    Absent {
        names: &["events"],
        instead: EVENTS,
    },
    Absent {
        names: &["import"],
        instead: IMPORT,
    },
    Absent {
        names: &["init"],
        instead: "write a Dockerfile; 'kiln build --check .' says what is doubtful in it",
    },
    Absent {
        names: &["manifest"],
        instead: "'kiln build --platform linux/amd64,linux/arm64 -t NAME --push .' makes an index, \
                  'kiln inspect NAME' shows it",
    },
    Absent {
        names: &["network"],
        instead: "a container has this machine's network, or none: 'kiln run --network host|none'",
    },
    Absent {
        names: &["plugin", "trust"],
        instead: "'kiln --help' lists what there is",
    },
    Absent {
        names: &["prune"],
        instead: "'kiln system prune', 'kiln image prune', 'kiln container prune' and 'kiln cache \
                  prune' each say what they would remove, and ask",
    },
    Absent {
        names: &["search"],
        instead: "look on the registry's pages, then 'kiln pull NAME'",
    },
    Absent {
        names: &["secret"],
        instead: "a build is given secrets with 'kiln build --secret id=ID,src=FILE'",
    },
    Absent {
        names: &["volume"],
        instead: VOLUMES,
    },
];

const BUILDERS: &[Absent] = &[
    Absent {
        names: &["bake"],
        instead: "build each target with 'kiln build --target STAGE -t NAME .'",
    },
    Absent {
        names: &[
            "create",
            "dial-stdio",
            "inspect",
            "install",
            "ls",
            "rm",
            "stop",
            "uninstall",
            "use",
        ],
        instead: "there are no builders to set up or choose from: 'kiln build' works as it is, and \
                  'kiln info' shows what it has",
    },
    Absent {
        names: &["history"],
        instead: "'kiln why' shows what the last build ran, and why",
    },
    Absent {
        names: &["imagetools"],
        instead: "'kiln inspect NAME' shows an index that was pulled or built; 'kiln tag' and 'kiln \
                  push' give it another name",
    },
    Absent {
        names: &["version"],
        instead: "'kiln version' shows it",
    },
];
