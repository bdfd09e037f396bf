//! From a request to what planning and running need to know.

use kiln_parser::{is_builtin_syntax, syntax_image};
use kiln_solver::{AllowedDevices, Network, Plan, PlanOptions, SandboxContext};

use super::contexts::named_sources;
use crate::request::{BuildEntitlement, BuildRequest};
use crate::{Error, SourceText};

/// Refuses a Dockerfile that asks for another language than the one kiln knows.
pub(crate) fn check_syntax(request: &BuildRequest, source_text: &SourceText) -> Result<(), Error> {
    let given = request.build_args.get("BUILDKIT_SYNTAX").cloned();
    match given.or_else(|| syntax_image(&source_text.bytes)) {
        Some(syntax) if !is_builtin_syntax(&syntax) => Err(Error::input(format!(
                "syntax {syntax:?} is not supported: kiln has the Dockerfile language built in and runs no other frontend"
            )).with_hint("remove the line, or name docker/dockerfile:1")),
        _ => Ok(()),
    }
}

/// Returns what the plan depends on besides the Dockerfile and the time of what is new.
pub(crate) fn plan_options(request: &BuildRequest) -> Result<PlanOptions, Error> {
    Ok(PlanOptions {
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        platforms: match request.platforms.as_slice() {
            [] => vec![kiln_oci::Platform::host()],
            platforms => platforms.to_vec(),
        },
        build_platform: kiln_oci::Platform::host(),
        labels: request.labels.clone(),
        network: match request.network {
            kiln_runtime::JobNetwork::Host => Network::Default,
            kiln_runtime::JobNetwork::None => Network::None,
        },
        extra_hosts: extra_host_names(request),
        contexts: named_sources(request)?,
        epoch: None,
        allowed: entitlements(request),
    })
}

fn extra_host_names(request: &BuildRequest) -> Vec<String> {
    let mut names: Vec<String> = request
        .extra_hosts
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    names.sort_unstable();
    names
}

/// Returns what every `RUN` gets besides what its step says.
pub(super) fn sandbox_context(request: &BuildRequest, plan: &Plan) -> SandboxContext {
    SandboxContext {
        proxies: plan.proxies.clone(),
        network: request.network,
        extra_hosts: request.extra_hosts.clone(),
        shm_size_bytes: request.shm_size_bytes,
        ulimits: request.ulimits.clone(),
        resources: request.resources.clone(),
        resolv_conf: request.resolv_conf.clone(),
        device_directories: request.device_directories.clone(),
        devices: allowed_devices(request),
        secrets: request.secrets.iter().cloned().collect(),
    }
}

fn allowed_devices(request: &BuildRequest) -> AllowedDevices {
    let mut names = Vec::new();
    for allowed in &request.allowed {
        match allowed {
            BuildEntitlement::Device(None) => return AllowedDevices::All,
            BuildEntitlement::Device(Some(name)) => names.push(name.clone()),
            _ => {}
        }
    }
    AllowedDevices::Named(names)
}

fn entitlements(request: &BuildRequest) -> Vec<kiln_solver::Entitlement> {
    request
        .allowed
        .iter()
        .filter_map(|allowed| match allowed {
            BuildEntitlement::NetworkHost => Some(kiln_solver::Entitlement::NetworkHost),
            BuildEntitlement::SecurityInsecure => Some(kiln_solver::Entitlement::SecurityInsecure),
            BuildEntitlement::Device(_) | BuildEntitlement::LocalDelete => None,
        })
        .collect()
}
