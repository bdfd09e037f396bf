//! `--memory`, `--cpus` and their kind, and what docker's engine refuses of them.

use kiln_runtime::Resources;

use super::arguments::RunArguments;
use crate::builds::set_resource;
use crate::failure::Failure;

/// Microseconds; docker's period for `--cpus`.
const CPU_PERIOD: u64 = 100_000;

/// Bytes; with less, a process is killed before it has begun.
const LEAST_MEMORY: u64 = 6 << 20;

/// Microseconds of a period that the kernel's scheduler takes, and the least that can be had of it.
const PERIODS: std::ops::RangeInclusive<u64> = 1_000..=1_000_000;
const LEAST_QUOTA: u64 = 1_000;

/// Returns the limits that a command line asks for.
pub(super) fn resources(arguments: &RunArguments) -> Result<Resources, Failure> {
    let mut resources = Resources::default();
    for (key, value) in arguments.resources.pairs() {
        set_resource(&mut resources, key, value).map_err(Failure::flag)?;
    }
    if let Some(text) = &arguments.cpus {
        if resources.cpu_quota_microseconds.is_some() || resources.cpu_period_microseconds.is_some()
        {
            return Err(Failure::flag(
                "conflicting options: --cpus and --cpu-quota or --cpu-period",
            ));
        }
        let invalid = || Failure::flag(format!("invalid number of processors: {text}"));
        let cpus: f64 = text.parse().map_err(|_| invalid())?;
        let most = processors();
        if cpus < 0.0 || cpus > f64::from(most) {
            return Err(Failure::flag(format!(
                "range of CPUs is from 0.01 to {most}.00, as there are only {most} CPUs available"
            )));
        }
        // As for docker, none is no limit.
        if cpus == 0.0 {
            return finish(resources, arguments);
        }
        if cpus < 0.01 || cpus.is_nan() {
            return Err(invalid());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "the range was checked"
        )]
        let quota = (cpus * CPU_PERIOD as f64) as u64;
        resources.cpu_period_microseconds = Some(CPU_PERIOD);
        resources.cpu_quota_microseconds = Some(quota);
    }
    finish(resources, arguments)
}

fn finish(mut resources: Resources, arguments: &RunArguments) -> Result<Resources, Failure> {
    // As for docker, none is no limit.
    for limit in [
        &mut resources.memory_bytes,
        &mut resources.memory_and_swap_bytes,
        &mut resources.cpu_period_microseconds,
        &mut resources.cpu_quota_microseconds,
    ] {
        *limit = limit.filter(|limit| *limit > 0);
    }
    if let Some(problem) = problem(&resources) {
        return Err(Failure::flag(problem));
    }
    resources.pids = match arguments.pids_limit {
        None | Some(..=0) => None,
        Some(limit) => u64::try_from(limit).ok(),
    };
    Ok(resources)
}

/// Says what docker's engine would refuse, in its words.
fn problem(resources: &Resources) -> Option<&'static str> {
    let (memory, swap) = (resources.memory_bytes, resources.memory_and_swap_bytes);
    if memory.is_some_and(|bytes| bytes < LEAST_MEMORY) {
        return Some("Minimum memory limit allowed is 6MB");
    }
    if memory.is_none() && swap.is_some() {
        return Some(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        );
    }
    if swap.is_some_and(|swap| Some(swap) < memory) {
        return Some("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    let (period, quota) = (
        resources.cpu_period_microseconds,
        resources.cpu_quota_microseconds,
    );
    if period.is_some_and(|period| !PERIODS.contains(&period)) {
        return Some(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if quota.is_some_and(|quota| quota < LEAST_QUOTA) {
        return Some("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    None
}

/// Returns how many processors this process may run on.
fn processors() -> u32 {
    match rustix::thread::sched_getaffinity(None) {
        Ok(set) => set.count(),
        // More than any machine has: the kernel will say.
        Err(_) => u32::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(arguments: RunArguments) -> Result<Resources, String> {
        resources(&arguments).map_err(|failure| failure.message)
    }

    #[test]
    fn processors_are_counted() {
        let cpus = |text: &str| {
            let mut arguments = RunArguments::default();
            arguments.cpus = Some(text.to_owned());
            let limits = limits(arguments);
            limits.map(|limits| limits.cpu_quota_microseconds)
        };
        assert_eq!(cpus("0.5"), Ok(Some(50_000)));
        assert_eq!(cpus("0"), Ok(None));
        for text in ["100000", "-1"] {
            let message = cpus(text).unwrap_err();
            assert!(
                message.starts_with("range of CPUs is from 0.01 to "),
                "{message}"
            );
            assert!(message.ends_with(" CPUs available"), "{message}");
        }
        assert!(cpus("few").is_err());
        assert!(cpus("0.001").is_err());
    }

    #[test]
    fn limits_that_docker_refuses_are_refused() {
        let memory = |memory_bytes, memory_and_swap_bytes| Resources {
            memory_bytes,
            memory_and_swap_bytes,
            ..Resources::default()
        };
        let cpu = |cpu_period_microseconds, cpu_quota_microseconds| Resources {
            cpu_period_microseconds,
            cpu_quota_microseconds,
            ..Resources::default()
        };
        for (resources, expected) in [
            (memory(Some(LEAST_MEMORY), None), None),
            (memory(Some(LEAST_MEMORY - 1), None), Some("6MB")),
            (
                memory(None, Some(1 << 30)),
                Some("always set the Memory limit"),
            ),
            (
                memory(Some(2 << 30), Some(1 << 30)),
                Some("should be larger"),
            ),
            (memory(Some(1 << 30), Some(1 << 30)), None),
            (cpu(Some(999), None), Some("cfs period")),
            (cpu(Some(1_000_001), None), Some("cfs period")),
            (cpu(Some(1_000), Some(999)), Some("cfs quota")),
            (cpu(Some(1_000), Some(1_000)), None),
        ] {
            let found = problem(&resources);
            match expected {
                Some(part) => assert!(found.unwrap_or_default().contains(part), "{resources:?}"),
                None => assert_eq!(found, None, "{resources:?}"),
            }
        }
    }
}
