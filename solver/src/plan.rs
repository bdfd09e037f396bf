//! From a syntax tree to a graph: what the Dockerfile means.
//!
//! Pure but for one question: what an image name stands for, asked through [`Bases`]. Only the
//! stages that the target needs are planned; the others are checked as far as their `FROM` goes.
//!
//! docs/spec/dockerfile.md 4, 5, 6, 9 and 11.

mod bases; // the seam to what images are
mod context_read; // what instructions read of the context
mod history; // `created_by` texts
mod names; // what names stand for
mod options; // what is asked for
mod plan_error; // why there is no plan
mod planned; // what a plan is
mod variables; // environments
mod windows; // images that are not for Linux

mod arguments; // build arguments
mod epoch_value; // what a build's time is to stages
mod expansion; // words where they stand
mod stage_state; // what a stage has come to
mod words; // expansion of a word

mod cycles; // stages that wait for each other
mod epoch; // what a build says of its time
mod findings; // lint rules that need values
mod planner; // what is known while planning, and the platform of a FROM
mod stage; // one stage, instruction by instruction
mod stages; // which stages there are
mod survey; // all platforms: from stages to a plan

pub use arguments::DeclaredArgument;
pub use bases::{BaseError, BaseRequest, Bases};
pub use context_read::ContextRead;
pub use epoch::{epoch_stage, epoch_text};
pub use names::{ImageSource, NamedSource, context_name};
pub use options::{Entitlement, PlanOptions};
pub use plan_error::PlanError;
pub use planned::{Plan, PlannedHistory, TargetImage};
pub use survey::{StageScope, Survey, plan, survey};
