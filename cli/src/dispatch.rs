//! From arguments to commands, and from what they return to an exit status.

use clap::CommandFactory as _;

use crate::arguments::{
    BuilderCommand, CacheCommand, Cli, Command, ContainerCommand, ImageCommand, SystemCommand,
};
use crate::builds::build;
use crate::environment::Environment;
use crate::failure::{Exit, Outcome};
use crate::{
    arguments, cache, completion, containers, history, images, info, inspect, logging, login, man,
    system, terminal, transfer, version, why,
};

/// Runs a command to its end.
pub(crate) fn dispatch(cli: Cli) -> Exit {
    if cli.version {
        return end("Error", version::short());
    }
    let environment = Environment::of_this_process();
    if let Err(failure) = logging::start(cli.is_debug(), &environment) {
        return plain_end(Err(failure));
    }
    match cli.command {
        Some(command) => one(command, &environment),
        None => {
            let help = Cli::command().render_help().to_string();
            end("Error", terminal::print(&help).map(|()| Exit::SUCCESS))
        }
    }
}

fn one(command: Command, environment: &Environment) -> Exit {
    match command {
        Command::Build(arguments) => build_end(build(&arguments, environment)),
        Command::Why(arguments) => plain_end(why::why(&arguments, environment)),
        Command::Run(arguments) => container_end(containers::run(&arguments, environment)),
        Command::Ps(arguments) => plain_end(containers::ps(&arguments, environment)),
        Command::Logs(arguments) => plain_end(containers::logs(&arguments, environment)),
        Command::Start(arguments) => plain_end(containers::start(&arguments, environment)),
        Command::Stop(arguments) => plain_end(containers::stop(&arguments, environment)),
        Command::Kill(arguments) => plain_end(containers::kill(&arguments, environment)),
        Command::Wait(arguments) => plain_end(containers::wait(&arguments, environment)),
        Command::Rm(arguments) => plain_end(containers::rm(&arguments, environment)),
        Command::Images(arguments) => plain_end(images::images(&arguments, environment)),
        Command::Tag(arguments) => plain_end(images::tag(&arguments, environment)),
        Command::Rmi(arguments) => plain_end(images::rmi(&arguments, environment)),
        Command::History(arguments) => plain_end(history::history(&arguments, environment)),
        Command::Inspect(arguments) => plain_end(inspect::inspect(&arguments, environment)),
        Command::Pull(arguments) => plain_end(transfer::pull(&arguments, environment)),
        Command::Push(arguments) => plain_end(transfer::push(&arguments, environment)),
        Command::Save(arguments) => plain_end(transfer::save(&arguments, environment)),
        Command::Load(arguments) => plain_end(transfer::load(&arguments, environment)),
        Command::Login(arguments) => plain_end(login::login(&arguments, environment)),
        Command::Logout(arguments) => plain_end(login::logout(&arguments, environment)),
        Command::Info(arguments) => plain_end(info::info(&arguments, environment)),
        Command::Version(arguments) => plain_end(version::version(&arguments)),
        Command::Completion(arguments) => {
            plain_end(completion::completion(&arguments, arguments::command()))
        }
        Command::ManPages(arguments) => plain_end(man::man_pages(&arguments, Cli::command())),
        Command::Image(ImageCommand::Prune(arguments)) => {
            plain_end(system::prune_images(&arguments, environment))
        }
        Command::Image(command) => one(of_image(command), environment),
        Command::Container(command) => of_container(command, environment),
        Command::Builder(BuilderCommand::Build(arguments)) => {
            one(Command::Build(arguments), environment)
        }
        Command::Builder(BuilderCommand::Du(arguments))
        | Command::Cache(CacheCommand::Du(arguments)) => {
            plain_end(cache::du(&arguments, environment))
        }
        Command::Builder(BuilderCommand::Prune(arguments)) => {
            plain_end(cache::prune(&arguments, "kiln builder prune", environment))
        }
        Command::Cache(CacheCommand::Prune(arguments)) => {
            plain_end(cache::prune(&arguments, "kiln cache prune", environment))
        }
        Command::Cache(CacheCommand::Verify(arguments)) => {
            plain_end(cache::verify(&arguments, environment))
        }
        Command::System(SystemCommand::Info(arguments)) => {
            one(Command::Info(arguments), environment)
        }
        Command::System(SystemCommand::Df(arguments)) => {
            plain_end(system::df(&arguments, environment))
        }
        Command::System(SystemCommand::Prune(arguments)) => {
            plain_end(system::prune_system(&arguments, environment))
        }
    }
}

/// Returns the short form of `kiln image …`.
fn of_image(command: ImageCommand) -> Command {
    match command {
        ImageCommand::Build(arguments) => Command::Build(arguments),
        ImageCommand::Ls(arguments) => Command::Images(arguments),
        ImageCommand::Tag(arguments) => Command::Tag(arguments),
        ImageCommand::Rm(arguments) => Command::Rmi(arguments),
        ImageCommand::History(arguments) => Command::History(arguments),
        ImageCommand::Inspect(arguments) => Command::Inspect(arguments.into()),
        ImageCommand::Pull(arguments) => Command::Pull(arguments),
        ImageCommand::Push(arguments) => Command::Push(arguments),
        ImageCommand::Save(arguments) => Command::Save(arguments),
        ImageCommand::Load(arguments) => Command::Load(arguments),
        // It has no short form.
        ImageCommand::Prune(arguments) => Command::Image(ImageCommand::Prune(arguments)),
    }
}

fn of_container(command: ContainerCommand, environment: &Environment) -> Exit {
    let command = match command {
        ContainerCommand::Run(arguments) => Command::Run(arguments),
        ContainerCommand::Ls(arguments) => Command::Ps(arguments),
        ContainerCommand::Logs(arguments) => Command::Logs(arguments),
        ContainerCommand::Start(arguments) => Command::Start(arguments),
        ContainerCommand::Stop(arguments) => Command::Stop(arguments),
        ContainerCommand::Kill(arguments) => Command::Kill(arguments),
        ContainerCommand::Wait(arguments) => Command::Wait(arguments),
        ContainerCommand::Rm(arguments) => Command::Rm(arguments),
        ContainerCommand::Inspect(arguments) => Command::Inspect(arguments.into()),
        ContainerCommand::Prune(arguments) => {
            return plain_end(system::prune_containers(&arguments, environment));
        }
    };
    one(command, environment)
}

fn build_end(outcome: Outcome) -> Exit {
    end("ERROR", outcome)
}

/// Before a container's process starts, failures are told from its own by a status of their own.
fn container_end(outcome: Outcome) -> Exit {
    end("kiln", outcome)
}

fn plain_end(outcome: Outcome) -> Exit {
    end("Error", outcome)
}

/// Prints what went wrong, if anything did, and returns the exit status.
pub(crate) fn end(prefix: &str, outcome: Outcome) -> Exit {
    match outcome {
        Ok(exit) => exit,
        Err(failure) => {
            terminal::tell_line(&format!("{prefix}: {}", failure.message));
            if let Some(hint) = &failure.hint {
                terminal::tell_line(&format!("hint: {hint}"));
            }
            failure.exit
        }
    }
}
