//! `kiln login` and `kiln logout`.

use std::io::{self, BufRead as _, Read as _};
use std::os::fd::AsFd as _;

use clap::Args;
use kiln_engine::verbs;
use kiln_registry::{Stored, registry_domain};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome};
use crate::{session, terminal};

/// Examples below `kiln login --help`.
const EXAMPLES: &str = "\
Examples:
  kiln login registry.example                              ask for user name and password
  echo \"$TOKEN\" | kiln login -u ci --password-stdin registry.example";

/// Authenticate to a registry.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, override_usage = "kiln login [OPTIONS] [SERVER]")]
pub(crate) struct LoginArguments {
    /// The registry (default: Docker Hub)
    #[arg(value_name = "SERVER")]
    server: Option<String>,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password or access token
    #[arg(short, long, value_name = "PASSWORD")]
    password: Option<String>,
    /// Take the password from standard input
    #[arg(long)]
    password_stdin: bool,
}

/// Logs in to a registry.
pub(crate) fn login(arguments: &LoginArguments, environment: &Environment) -> Outcome {
    let server = arguments.server.as_deref().unwrap_or_default();
    let (username, password) = credentials(arguments)?;
    let session = session::open(environment)?;
    let stored = verbs::login(&session.outside.client, server, &username, &password)?;
    if let Stored::File(path) = stored {
        terminal::tell_line(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\n\
             Configure a credential helper to remove this warning. See\n\
             https://docs.docker.com/go/credential-store/\n",
            path.display()
        ));
    }
    terminal::print_line("Login Succeeded")?;
    Ok(Exit::SUCCESS)
}

/// Finds user name and password: flags, standard input, or questions.
fn credentials(arguments: &LoginArguments) -> Result<(String, String), Failure> {
    if arguments.password.is_some() {
        terminal::tell_line(
            "WARNING! Using --password via the CLI is insecure. Use --password-stdin.",
        );
        if arguments.password_stdin {
            return Err(Failure::new(
                "--password and --password-stdin are mutually exclusive",
            ));
        }
    }
    let named = arguments.username.clone().filter(|name| !name.is_empty());
    if arguments.password_stdin {
        let username =
            named.ok_or_else(|| Failure::new("the --password-stdin option requires --username"))?;
        let mut password = String::new();
        io::stdin()
            .lock()
            .read_to_string(&mut password)
            .map_err(|error| Failure::new(format!("cannot read the password: {error}")))?;
        let password = strip_line_end(&password).to_owned();
        return Ok((username, required(password, "password")?));
    }
    if let (Some(username), Some(password)) = (&named, &arguments.password) {
        return Ok((username.clone(), required(password.clone(), "password")?));
    }
    if !terminal::stdin_is_terminal() {
        return Err(
            Failure::new("cannot perform an interactive login from a non-TTY device")
                .with_hint("give --username, and the password with --password-stdin"),
        );
    }
    let username = match named {
        Some(username) => username,
        None => required(ask("Username: ", Echo::On)?, "username")?,
    };
    let password = match &arguments.password {
        Some(password) => password.clone(),
        None => ask("Password: ", Echo::Off)?,
    };
    Ok((username, required(password, "password")?))
}

fn required(value: String, what: &str) -> Result<String, Failure> {
    if value.is_empty() {
        Err(Failure::new(format!("{what} is required")))
    } else {
        Ok(value)
    }
}

fn strip_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

/// Whether a person sees what they type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Echo {
    On,
    Off,
}

/// Asks on the terminal and reads one line.
fn ask(question: &str, echo: Echo) -> Result<String, Failure> {
    terminal::tell(question);
    let silence = match echo {
        Echo::On => None,
        Echo::Off => Some(Silence::begin()?),
    };
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    if silence.is_some() {
        // The person's own line end was not shown either.
        terminal::tell("\n");
    }
    drop(silence);
    read.map_err(|error| Failure::new(format!("cannot read the answer: {error}")))?;
    Ok(strip_line_end(&line).to_owned())
}

/// A terminal that does not show what is typed, until it is dropped.
struct Silence {
    before: Termios,
}

impl Silence {
    fn begin() -> Result<Self, Failure> {
        let failed =
            |error| Failure::new(format!("cannot keep the password off the screen: {error}"));
        let stdin = io::stdin();
        let before = tcgetattr(stdin.as_fd()).map_err(failed)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin.as_fd(), OptionalActions::Flush, &silent).map_err(failed)?;
        Ok(Self { before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that is gone need not be mended.
        let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Flush, &self.before);
    }
}

/// Log out from a registry.
#[derive(Args, Debug)]
#[command(override_usage = "kiln logout [SERVER]")]
pub(crate) struct LogoutArguments {
    /// The registry (default: Docker Hub)
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

/// Forgets a login.
pub(crate) fn logout(arguments: &LogoutArguments, environment: &Environment) -> Outcome {
    let server = arguments.server.as_deref().unwrap_or_default();
    let domain = registry_domain(server);
    let session = session::open(environment)?;
    terminal::print_line(&if verbs::logout(&session.outside.client, server)? {
        format!("Removing login credentials for {domain}")
    } else {
        format!("Not logged in to {domain}")
    })?;
    Ok(Exit::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_stripped() {
        assert_eq!(strip_line_end("a\n"), "a");
        assert_eq!(strip_line_end("a\r\n"), "a");
        assert_eq!(strip_line_end("a\n\n"), "a\n");
        assert_eq!(strip_line_end("a "), "a ");
    }
}
