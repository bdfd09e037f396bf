//! Results as plain files: `type=local` and `type=tar`.

use kiln_cache::LayerStack;
use kiln_exporter as exporter;
use kiln_exporter::ExportRoot;
use kiln_registry::Client;
use kiln_snapshotter::ParentView;
use kiln_solver::{Plan, Reporter};

use crate::Error;
use crate::base_layers::{self, Watcher};
use crate::built::{Built, ResultForm};
use crate::error::of_export::export_error;
use crate::io::Io;
use crate::output::destination;
use crate::request::{FilesOptions, Output, Split};
use crate::shared_cache::fetch;
use crate::stores::Stores;

/// Writes the files of the targets, if that is what `output` is about.
pub(crate) fn export_files(
    stores: &Stores,
    client: &Client,
    plan: &Plan,
    built: &[Built<'_>],
    (form, output): (ResultForm, &Output),
    (reporter, io): (&Reporter<'_>, &Io<'_>),
) -> Result<(), Error> {
    let (Output::Local { files, .. } | Output::Tar { files, .. }) = output else {
        return Ok(());
    };
    let views: Vec<ParentView> = built
        .iter()
        .map(|built| view(stores, client, plan, &built.state, reporter))
        .collect::<Result<_, _>>()?;
    let roots: Vec<ExportRoot<'_>> = built
        .iter()
        .zip(&views)
        .map(|(built, view)| {
            let platform = built.target.platform.clone();
            if is_split(files, form) {
                ExportRoot::apart(platform, view)
            } else {
                ExportRoot::at_top(platform, view)
            }
        })
        .collect();
    let times = files.epoch.or(plan.epoch);
    match output {
        Output::Local {
            directory, stale, ..
        } => {
            let report =
                exporter::write_local(&roots, directory, *stale, times, stores.store.stop())
                    .map_err(export_error)?;
            for path in report.left_out {
                reporter.warn(format!("{path} was left out: it is a device"));
            }
            Ok(())
        }
        Output::Tar { to, .. } => Ok(destination::write_to(stores, to, io, |out| {
            exporter::write_root_tar(&roots, times, out)
        })?),
        _ => Ok(()),
    }
}

/// Returns the merged view of a state, its layers on disk.
fn view(
    stores: &Stores,
    client: &Client,
    plan: &Plan,
    state: &LayerStack,
    reporter: &Reporter<'_>,
) -> Result<ParentView, Error> {
    let mut layers = match state.base() {
        Some(manifest) => {
            let (name, image) = &plan.bases[&manifest];
            base_layers::unpacked_layers(
                stores,
                client,
                name,
                image,
                &Watcher::Build(reporter, &format!("pull {name}")),
            )?
        }
        None => Vec::new(),
    };
    layers.extend(fetch::built_layers(stores, client, state, reporter)?);
    ParentView::new(&layers).map_err(|error| Error::environment("cannot read a layer", error))
}

fn is_split(files: &FilesOptions, form: ResultForm) -> bool {
    match files.split {
        Split::Always => true,
        Split::Never => false,
        Split::Several => form == ResultForm::Index,
    }
}
