use std::process::Command;

use super::{Outcome, Scenario};
use crate::action::Action;
use crate::builders::Builder;
use crate::error::Error;
use crate::image::succeed;

/// The program starts, says which version it is, and ends.
pub(super) struct Version;

impl Scenario for Version {
    fn title(&self) -> String {
        "--version".to_owned()
    }

    fn begin_round(&mut self, _: u32) -> Result<(), Error> {
        Ok(())
    }

    fn is_warm(&self) -> bool {
        true
    }

    fn action(&self, builder: &dyn Builder, _: &str) -> Option<Action> {
        Some(Action::program(builder.version()))
    }

    fn limits(&self) -> Result<Vec<(&'static str, Action)>, Error> {
        Ok(vec![("true", Action::program(Command::new("true")))])
    }

    fn check(&mut self, outcome: &Outcome<'_>) -> Result<(), String> {
        let said = succeed(&mut outcome.builder.version())?;
        let numbers = said.split(|character: char| !character.is_ascii_digit());
        if numbers.filter(|number| !number.is_empty()).count() < 2 {
            return Err(format!("it said {said:?}, which is no version"));
        }
        Ok(())
    }
}
