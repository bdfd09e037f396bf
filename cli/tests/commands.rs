//! The binary as people and scripts meet it: what it prints, where, and what it returns.

mod harness;

mod alone; // other processes of the machine
mod attributes; // of outputs
mod build; // results, outputs, files about them
mod cache; // what it takes, what goes
mod cache_transfer; // results that machines share
mod changing;
mod check; // looks instead of builds
mod containers; // run, ps, logs, stop, rm
mod contexts; // contexts that are no directory
mod diagnostics; // mistakes in Dockerfiles
mod download; // ADD of URLs
mod durability; // how often a build waits for the disk
mod endings; // of containers, and what is known of them
mod escapes; // text that a terminal would obey
mod git; // ADD of repositories
mod growth; // what does not grow with the store
mod images; // lists, names, templates
mod inspect; // templates, and what is empty
mod interruptions; // Ctrl-C, wherever it comes
mod logging; // what -D and KILN_LOG show
mod login; // passwords
mod mistakes; // and what to do next
mod overlayfs; // a state directory in a container
mod platforms; // several in one build
mod progress; // lines and JSON
mod reuse; // what is run again
mod shortage; // closed outputs, limits, layers that were lost
mod stacks; // files that layers have in common
mod torn; // files cut short, and directories of others
mod traced; // system calls of a command
mod transfer; // to registries and archives
mod usage; // command lines
mod verify; // twice
mod why; // reasons and plans
